"""L5: what works on many pages of a Zram: recompression and writeback.

Both choose pages in a first pass, which marks them, and in a second take the largest first. Whoever reads, writes or discards a
page in between takes the mark away, so the page is passed by: the last step, under the page's lock, asks for the mark and for the
very object that was looked at. Codecs and files are used without any lock.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mempools import codecs
from mempools.errors import Busy
from mempools.objects import zramprocess, zramscan
from mempools.objects.zramobject import HUGE, PAGE

if TYPE_CHECKING:
    from mempools.zram import Zram

MAX_BATCH = 1 << 16
_INDEX = (1 << 40) - 1
_BUCKET = 40 + 6  # of 64 bytes of size
_FLAGS = {
    None: 0,
    "idle": zramprocess.IDLE,
    "huge": zramprocess.HUGE,
    "huge_idle": zramprocess.HUGE | zramprocess.IDLE,
    "incompressible": zramprocess.INCOMPRESSIBLE,
}


@dataclass(frozen=True)
class RecompressInfo:
    """What `Zram.recompress` has done: pages `tried`; `recompressed`, and by how many bytes smaller (`saved`); newly marked
    `incompressible`; `passed` by, because somebody touched them or there was no room for both."""

    tried: int
    recompressed: int
    saved: int
    incompressible: int
    passed: int


@dataclass(frozen=True)
class WritebackInfo:
    """What `Zram.writeback` has done: pages `written` to the backing file; `passed` by, because somebody touched them; `failed`
    to be written, and the last `error`. `stopped`: "budget" or "space" if that was used up before the pages were."""

    written: int
    passed: int
    failed: int
    stopped: str | None
    error: OSError | None


@contextmanager
def _chosen(device: "Zram", found: Iterable[int]) -> Iterator[list[int]]:
    """The pages' indices, largest first."""
    indices = [entry & _INDEX for entry in sorted(found, key=lambda entry: entry >> _BUCKET, reverse=True)]
    try:
        yield indices
    finally:
        zramprocess.unchoose(device._pages, indices)


@contextmanager
def _processing(device: "Zram") -> Iterator[None]:
    if not zramprocess.begin_processing(device._pages):
        raise Busy(f"zram {device.name!r}: another recompression or writeback is on its way")
    try:
        yield
    finally:
        zramprocess.end_processing(device._pages)


# ---- recompression


def _priorities(device: "Zram", priority: int | None, codec: str | None) -> range:
    highest = len(device._codecs) - 1
    if codec is not None:
        names = [known.name for known in device._codecs[1:]]
        wanted = codecs.get(codec).name
        if wanted not in names or priority not in (None, names.index(wanted) + 1):
            raise ValueError(
                f"zram {device.name!r} has for recompression {names}, not {codec!r} of priority {priority}"
            )
        priority = names.index(wanted) + 1
    if priority is None:
        if not highest:
            raise ValueError(f"zram {device.name!r} has no codec for recompression: make it with recompress=[...]")
        return range(1, highest + 1)
    if not 1 <= priority <= highest:
        raise ValueError(f"zram {device.name!r} has codecs of the priorities 1 to {highest}, not {priority}")
    return range(priority, priority + 1)


def recompress(
    device: "Zram", which: str | None, threshold: int, max_pages: int | None, priority: int | None, codec: str | None
) -> RecompressInfo:
    if which not in (None, "idle", "huge", "huge_idle"):
        raise ValueError(f"recompress {which!r}: idle, huge, huge_idle, or None")
    if not 0 <= threshold < device.huge_class_size:
        raise ValueError(
            f"threshold {threshold}: less than {device.huge_class_size}, from which on pages are stored as they are"
        )
    priorities = _priorities(device, priority, codec)
    tried = done = saved = marked = passed = 0
    with _processing(device):
        found = zramprocess.choose(
            device._pages,
            0,
            device._pages.nr_pages,
            _FLAGS[which],
            zramprocess.INCOMPRESSIBLE,
            threshold,
            priorities[-1],
        )
        with _chosen(device, found) as indices:
            for index in indices:
                if max_pages is not None and tried >= max_pages:
                    break
                if not zramprocess.is_chosen(device._pages, index):
                    passed += 1
                    continue
                tried += 1
                less = _recompress_page(device, index, priorities, threshold)
                if less is None:
                    passed += 1
                elif less > 0:
                    done += 1
                    saved += less
                elif less == 0:
                    marked += 1
    return RecompressInfo(tried, done, saved, marked, passed)


def _recompress_page(device: "Zram", index: int, priorities: range, threshold: int) -> int | None:
    """How many bytes fewer it has; 0: no codec helps; -1: not these; None: somebody has touched it, or there is no room."""
    pages = device._pages
    kind, payload, word = pages.get(index, False)
    if kind > HUGE:
        return None  # somebody has written it
    before = len(payload)
    plain = payload if kind == HUGE else device._decode(index, kind, payload)
    for priority in priorities:
        if kind != HUGE and priority <= kind:
            continue
        stored = device._codecs[priority].compress(plain)
        nbytes = len(stored)
        # The kernel leaves the second question out: what needs a page of its own then counts as smaller, and saves nothing.
        if (
            pages.class_of(nbytes)[0] < pages.class_of(before)[0]
            and nbytes < device.huge_class_size
            and (not threshold or nbytes < threshold)
        ):
            try:
                return before - nbytes if pages.put(index, priority, stored, kind, word, True) else None
            except MemoryError:
                return None  # no room for both: the old one stays
    if priorities[-1] < len(device._codecs) - 1:
        return -1  # a higher one may do better
    return 0 if zramprocess.mark_incompressible(pages, index, word) else None


# ---- writeback


def _ranges(device: "Zram", pages: Iterable[int | tuple[int, int]] | None) -> list[tuple[int, int]]:
    """(first, end), exclusive. The device's size is what it is for ever, so it cannot change after the look at it."""
    nr = device._pages.nr_pages
    found = []
    for item in [(0, nr - 1)] if pages is None else pages:
        first, last = (item, item) if isinstance(item, int) else item
        if not 0 <= first <= last < nr:
            raise IndexError(f"zram {device.name!r} has the pages 0 to {nr - 1}, not {first} to {last}")
        found.append((first, last + 1))
    return found


def writeback(device: "Zram", which: str | None, pages: Iterable[int | tuple[int, int]] | None) -> WritebackInfo:
    if which not in _FLAGS or (which is None and pages is None):
        raise ValueError(f"writeback {which!r}: idle, huge, huge_idle, incompressible, or pages=[...]")
    ranges = _ranges(device, pages)
    fd = device._backing()
    with _processing(device):
        found = {  # each once
            entry
            for first, end in ranges
            for entry in zramprocess.choose(device._pages, first, end, _FLAGS[which], 0, 0, 4)
        }
        with _chosen(device, found) as indices:
            return _Writer(device, fd).write(indices)


class _Writer:
    """One writeback: batches of pages, each with its block."""

    def __init__(self, device: "Zram", fd: int) -> None:
        self.device = device
        self.fd = fd
        self.written = self.passed = self.failed = 0
        self.stopped: str | None = None
        self.error: OSError | None = None

    def write(self, indices: list[int]) -> WritebackInfo:
        size = max(1, min(self.device.writeback_batch_size, MAX_BATCH))
        at = 0
        while at < len(indices) and self.stopped is None:
            self._batch(indices[at : at + size])
            at += size
        return WritebackInfo(self.written, self.passed, self.failed, self.stopped, self.error)

    def _batch(self, indices: list[int]) -> None:
        batch: list[tuple[int, int, int, bytes]] = []  # block, index, word, bytes
        try:
            for index in indices:
                if not self._take(index, batch):
                    break
            batch.sort()
            while batch:
                run = 1
                while run < len(batch) and batch[run][0] == batch[0][0] + run:
                    run += 1
                self._submit(batch[:run])
                del batch[:run]
        finally:  # of an exception: what was reserved and not used
            for block, *_ in batch:
                self._give_back(block)

    def _take(self, index: int, batch: list[tuple[int, int, int, bytes]]) -> bool:
        """Reads a page and reserves its block: False if there is none, or no budget."""
        pages = self.device._pages
        if not zramprocess.is_chosen(pages, index):
            self.passed += 1
            return True
        if not zramprocess.take_budget(pages, 1):
            self.stopped = "budget"
            return False
        block = zramprocess.claim_block(pages)
        if block < 0:
            zramprocess.give_budget(pages, 1)
            self.stopped = "space"
            return False
        try:
            kind, payload, word = pages.get(index, False)
            if kind > HUGE:
                self._give_back(block)
                self.passed += 1
                return True
            if kind < HUGE and not self.device._compressed_writeback:
                payload = self.device._decode(index, kind, payload)
        except BaseException:
            self._give_back(block)
            raise
        batch.append((block, index, word, payload.ljust(PAGE, b"\0")))
        return True

    def _submit(self, run: list[tuple[int, int, int, bytes]]) -> None:
        """Writes neighbours, and says so page by page."""
        try:
            nbytes = os.pwritev(self.fd, [data for *_, data in run], run[0][0] * PAGE)
            if nbytes != len(run) * PAGE:
                raise OSError(f"{nbytes} of {len(run) * PAGE} bytes were written")
        except OSError as error:
            self.error = error
            self.failed += len(run)
            for block, *_ in run:
                self._give_back(block)
            return
        pages = self.device._pages
        zramscan.note_blocks(pages, 0, len(run))
        for block, index, word, _ in run:
            if zramprocess.write_back(pages, index, block, word, self.device._compressed_writeback):
                self.written += 1
            else:  # somebody has touched it: the block is of no use
                zramprocess.release_block(pages, block)
                self.passed += 1

    def _give_back(self, block: int) -> None:
        zramprocess.release_block(self.device._pages, block)
        zramprocess.give_budget(self.device._pages, 1)
