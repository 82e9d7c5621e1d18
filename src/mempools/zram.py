"""L5: Zram: pages by index, compressed, in an arena, shared by processes (drivers/block/zram of the kernel).

The table of pages is in pools/zramtable.py, behind objects/zramobject.py; this module adds codecs, partial reads and writes, the
backing file, statistics in the kernel's columns. What works on many pages at a time is in zramwork.py, the file object in
zramfile.py. Nothing here knows where the bytes lie.
"""

import math
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mempools import codecs, sizes, zramwork
from mempools.errors import Corrupt, PoolError
from mempools.objects import zramprocess, zramscan
from mempools.objects.settling import what_stays
from mempools.objects.zramobject import HUGE, NEVER, PAGE, SAME, WRITTEN_BACK, ZramPages
from mempools.objects.zramopen import open_zram
from mempools.zramstats import ZramStats, stats_of
from mempools.zramwork import RecompressInfo, WritebackInfo

if TYPE_CHECKING:
    from mempools.zramfile import ZramFile

WB_COMPRESSED = 1
STRICT = 2
DEFAULT_BATCH = 32
_ZEROS = bytes(PAGE)


class Zram:
    """Pages of 4096 bytes by index, each compressed, in an arena (the kernel's zram).

    Made by `arena.zram(name, disksize=...)`. A page that was never written, or was discarded, reads as zeros; one that repeats a
    word of 8 bytes takes no memory; one that does not get smaller is stored as it is. `read`, `write` and `discard` take offsets
    in bytes; `open` gives a file object.

    Every change of one page is one step for all others, and for whoever looks after the changing process was killed: a reader
    sees the old page or the new one, whole; of a write of several pages, each by itself. Writes of parts of a page are not lost
    beside each other. `Exhausted`, a MemoryError, changes nothing of the page: while it is replaced there must be room for both.

    No codec runs while a page is locked. A codec's context belongs to a thread, where it needs one (codecs.py): no process waits
    for another's, and one that dies takes its own along, so there is no retry as for the kernel's streams of a CPU. Thread-safe,
    process-safe; waits for other users of the same page a moment, so not for C signal handlers; `notify_free` is for destructors
    and others that may not wait."""

    def __init__(self, arena: Any, pages: ZramPages) -> None:
        self._arena = arena
        self._name = pages.name
        self._opened: dict[int, int] = {}
        self._use(pages)

    def _use(self, pages: ZramPages) -> None:
        config = pages.config()
        self._pages = pages
        self._get = pages.get
        self._put = pages.put
        self._put_same = pages.put_same
        self._codecs = [codecs.of_word(word) for word in config["codecs"] if word]
        if not self._codecs or b"\0" in config["path"]:
            raise Corrupt(f"zram {self._name!r}: its root names no codec, or no file")
        self._compress = self._codecs[0].compress
        self._huge = pages.huge_class_size
        self._compressed_writeback = bool(config["options"] & WB_COMPRESSED)
        self._strict = bool(config["options"] & STRICT)
        self._path = os.fsdecode(config["path"])
        self._file = config["file"]

    # ---- pages

    def read_page(self, index: int, /) -> bytes:
        """The 4096 bytes of a page. IndexError outside the device; Corrupt if it cannot be decoded; OSError from the backing
        file. Any context but C signal handlers."""
        while True:
            kind, payload, word = self._get(index)
            data = self._content(index, kind, payload, word)
            if data is not None:
                return data

    def write_page(self, index: int, data: Any, /) -> None:
        """Replaces a page by 4096 bytes. IndexError, ValueError for another size; Exhausted, which leaves it as it was."""
        try:
            self._write(index, data, -1, 0)
        except (MemoryError, PoolError):
            zramscan.note_failed(self._pages, True)
            raise

    def _write(self, index: int, data: Any, kind: int, word: int) -> bool:
        done = self._put_same(index, data, kind, word)
        if done is None:
            stored = self._compress(data)
            if len(stored) < self._huge:
                done = self._put(index, 0, stored, kind, word)
            else:
                done = self._put(index, HUGE, data, kind, word)
        return done

    def _content(self, index: int, kind: int, payload: Any, word: int) -> bytes | None:
        """A page from what `get` gave; None: it was in the backing file and is not any more."""
        try:
            if kind < HUGE:
                return self._decode(index, kind, payload)
            if kind == HUGE:
                return payload
            if kind in (SAME, NEVER):
                return payload.to_bytes(8, sys.byteorder) * (PAGE // 8) if payload else _ZEROS
            return self._read_back(index, payload, word)
        except (PoolError, OSError):
            zramscan.note_failed(self._pages, False)
            raise

    def _decode(self, index: int, priority: int, stored: Any) -> bytes:
        if priority >= len(self._codecs):
            raise Corrupt(f"zram {self._name!r}: page {index} has codec {priority}, the device {len(self._codecs)}")
        codec = self._codecs[priority]
        try:
            page = codec.decompress(stored, PAGE)
        except MemoryError:
            raise
        except Exception as error:
            raise Corrupt(
                f"zram {self._name!r}, page {index}: codec {codec.name} cannot read its {len(stored)} stored bytes: {error}"
            ) from error
        if len(page) != PAGE:
            raise Corrupt(
                f"zram {self._name!r}, page {index}: codec {codec.name} made {len(page)} bytes of it, not {PAGE}"
            )
        return page

    # ---- bytes

    def _span(self, offset: int, nbytes: int) -> Iterator[tuple[int, int, int]]:
        """(page, first byte in it, how many) of a range of bytes, which is in the device."""
        while nbytes > 0:
            at = offset % PAGE
            here = min(PAGE - at, nbytes)
            yield offset // PAGE, at, here
            offset += here
            nbytes -= here

    def _inside(self, offset: int, nbytes: int) -> None:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.disksize:
            raise IndexError(f"zram {self._name!r} has {self.disksize} bytes: {nbytes} at {offset} are not all in it")

    def read(self, offset: int, nbytes: int, /) -> bytes:
        """Bytes from an offset on; each page by itself. Errors as of `read_page`."""
        self._inside(offset, nbytes)
        if nbytes == PAGE and offset % PAGE == 0:
            return self.read_page(offset // PAGE)
        return b"".join(self.read_page(page)[at : at + here] for page, at, here in self._span(offset, nbytes))

    def write(self, offset: int, data: Any, /) -> None:
        """Replaces bytes from an offset on; each page is one step. Errors as of `write_page`: the pages before the one that
        failed have been written."""
        view = memoryview(data).cast("B")
        self._inside(offset, len(view))
        done = 0
        for page, at, here in self._span(offset, len(view)):
            part = view[done : done + here]
            if here == PAGE:
                self.write_page(page, part)
            else:
                self._write_part(page, at, part)
            done += here

    def _write_part(self, index: int, at: int, part: memoryview) -> None:
        """Reads the page, and writes it unless it has been written meanwhile: then again."""
        try:
            while True:
                kind, payload, word = self._get(index)
                old = self._content(index, kind, payload, word)
                if old is None:
                    continue
                new = bytearray(old)
                new[at : at + len(part)] = part
                if self._write(index, new, kind, word):
                    return
        except (MemoryError, PoolError):
            zramscan.note_failed(self._pages, True)
            raise

    def discard(self, offset: int, nbytes: int, /) -> int:
        """The whole pages in a range of bytes are as if they had never been written: how many; parts at its edges stay."""
        self._inside(offset, nbytes)
        first, last = -(-offset // PAGE), (offset + nbytes) // PAGE
        for index in range(first, last):
            self._pages.discard(index)
        return max(0, last - first)

    def notify_free(self, index: int, /) -> bool:
        """As `discard` of one page, for destructors and callbacks that may not wait (swap_slot_free_notify): False, and counted
        in `miss_free`, if somebody has the page at the moment. It stays then until it is written or discarded."""
        return self._pages.trydiscard(index)

    def open(self) -> "ZramFile":
        """A raw, unbuffered file object over the whole device, of this size for ever: for `io.BufferedRandom` and all that takes
        files. Each has its own position."""
        from mempools.zramfile import ZramFile

        return ZramFile(self)

    # ---- the backing file

    def _backing(self) -> int:
        """Its descriptor in this process."""
        known = self._opened.get(0)
        if known is not None:
            return known
        if not self._path:
            raise PoolError(f"zram {self._name!r} has no backing file: it is made with backing=PATH")
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != self._file:
            os.close(fd)
            raise PoolError(f"zram {self._name!r}: {self._path} is not the file any more that it writes back to")
        if self._opened.setdefault(0, fd) != fd:  # another thread was faster
            os.close(fd)
        return self._opened[0]

    def _read_back(self, index: int, how: int, word: int) -> bytes | None:
        """A page from its block, if it was the page's all the time: a block goes to another page as soon as its own is
        written."""
        data = os.pread(self._backing(), PAGE, (word & 0xFFFFFFFF) * PAGE)
        zramscan.note_blocks(self._pages, 1, 0)
        kind, _, now = self._get(index)
        if kind != WRITTEN_BACK or now != word:
            return None
        if len(data) != PAGE:
            raise OSError(f"zram {self._name!r}: {self._path} has become shorter")
        if how >> 18 & 1:
            return data
        return self._decode(index, how >> 16 & 3, data[: how & 0x1FFF])

    @property
    def backing(self) -> str | None:
        """Path of the backing file."""
        return self._path or None

    # ---- many pages

    def idle(self, age: float | None = None) -> int:
        """Marks the pages in memory that nobody has touched for `age` seconds, which are counted whole, or all, as idle: how
        many were not. Whoever reads or writes a page takes the mark away."""
        if age is not None and age < 0:
            raise ValueError(f"an age is not negative: {age}")
        return zramprocess.mark_idle(self._pages, 0 if age is None else math.ceil(age))

    def recompress(
        self,
        which: str | None = None,
        *,
        threshold: int = 0,
        max_pages: int | None = None,
        priority: int | None = None,
        codec: str | None = None,
    ) -> RecompressInfo:
        """Compresses pages again, by a codec of a higher priority (zram's recompress).

        `which`: "idle", "huge", "huge_idle", or all. Only what has at least `threshold` bytes now, and then fewer. `max_pages`:
        how many are tried. `priority` 1 to 3, or the name of its `codec`: that one alone; else each above the page's, until one
        does. A page gets the new content only if that lies in a smaller size class; one that no codec improves is marked
        incompressible, and not tried again. Whoever touches a page meanwhile keeps it as it is.

        ValueError for a threshold of huge_class_size or more, for a priority or codec that the device has not; Busy while another
        recompression or writeback runs. Takes long: not for event loops. Thread-safe, process-safe."""
        return zramwork.recompress(self, which, threshold, max_pages, priority, codec)

    def writeback(
        self, which: str | None = None, *, pages: Iterable[int | tuple[int, int]] | None = None
    ) -> WritebackInfo:
        """Moves pages from memory to the backing file (zram's writeback).

        `which`: "idle", "huge", "huge_idle" or "incompressible"; or `pages`: indices, or (first, last) pairs, inclusive; or both.
        Largest first. Stops when the file is full or the budget is used up. What cannot be written stays in memory: the result
        has the last error. PoolError without a backing file; Busy and the rest as of `recompress`."""
        return zramwork.writeback(self, which, pages)

    def compact(self, max_pages: int | None = None) -> int:
        """Moves objects together and gives pages back to the system: how many. As ZsPool.compact."""
        return self._pages.compact(max_pages)

    def rehome(self) -> int:
        """Gives pages back to the arena, for its other pools: how many. As ZsPool.rehome."""
        return self._pages.rehome()

    # ---- settings

    @property
    def mem_limit(self) -> int:
        """Bytes of memory that the pages may take, 0: no limit; any time. A device that is made with strict=True never has more;
        else the limit is held against what has been allocated, as in the kernel: the write that goes beyond it fails, and what it
        took, given back at once, counts in `mem_used_max`."""
        return zramscan.settings(self._pages)["limit_pages"] * PAGE

    @mem_limit.setter
    def mem_limit(self, limit: int | str) -> None:
        nbytes = 0 if limit == 0 else sizes.parse(limit)
        zramscan.put_setting(self._pages, "limit_pages", -(-nbytes // PAGE))

    def reset_peak(self) -> None:
        """`mem_used_max` is what there is now."""
        zramscan.reset_peak(self._pages)

    @property
    def writeback_limit(self) -> int | None:
        """How much may still be written back, in units of 4 KiB; None: as much as there is."""
        settings = zramscan.settings(self._pages)
        return settings["wb_budget"] if settings["wb_limited"] else None

    @writeback_limit.setter
    def writeback_limit(self, units: int | None) -> None:
        zramscan.put_setting(self._pages, "wb_budget", units or 0)
        zramscan.put_setting(self._pages, "wb_limited", units is not None)

    @property
    def writeback_batch_size(self) -> int:
        """How many pages are written to the backing file together, at most; at least 1."""
        return zramscan.settings(self._pages)["wb_batch"]

    @writeback_batch_size.setter
    def writeback_batch_size(self, nr: int) -> None:
        if not 1 <= nr <= zramwork.MAX_BATCH:
            raise ValueError(f"a batch has 1 to {zramwork.MAX_BATCH} pages, not {nr}")
        zramscan.put_setting(self._pages, "wb_batch", nr)

    # ---- looking

    def stats(self) -> ZramStats:
        """Sizes now, and counts: see ZramStats. Walks the table, 16 bytes a page; a moment's picture, exact while nobody writes.
        Thread-safe, process-safe, takes no lock."""
        return stats_of(self._pages)

    def mm_stat(self) -> str:
        """The line that the kernel's file of this name has; so the four that follow."""
        s = self.stats()
        return (
            f"{s.orig_data_size:8} {s.compr_data_size:8} {s.mem_used_total:8} {s.mem_limit:8} {s.mem_used_max:8} "
            f"{s.same_pages:8} {s.pages_compacted:8} {s.huge_pages:8} {s.huge_pages_since:8}\n"
        )

    def io_stat(self) -> str:
        s = self.stats()
        return f"{s.failed_reads:8} {s.failed_writes:8} {0:8} {s.notify_free:8}\n"

    def bd_stat(self) -> str:
        s = self.stats()
        return f"{s.bd_count:8} {s.bd_reads:8} {s.bd_writes:8}\n"

    def debug_stat(self) -> str:
        return f"version: 1\n{0:8} {self.stats().miss_free:8}\n"

    def block_state(self, first: int = 0, last: int | None = None) -> str:
        """A line for each page from `first` to `last`, exclusive, that was written: index, seconds of the monotonic clock when it
        was last accessed, and flags: s same, w written back, h huge, i idle, r recompressed, n incompressible."""
        end = self._pages.nr_pages if last is None else last
        return "".join(
            f"{index:12} {time:12} {letters}\n" for index, time, letters in zramscan.states(self._pages, first, end)
        )

    def check(self) -> None:
        """Walks everything; Corrupt, with what contradicts itself, if it stays so, up to 5 s, while other threads or
        processes are there. Locks each page for a look at it."""
        problems = what_stays(lambda: zramscan.check(self._pages), self._pages.mapping)
        if problems:
            raise Corrupt(f"zram {self._name!r}: " + "; ".join(problems))

    # ---- the device

    @property
    def name(self) -> str:
        """Its name in the arena."""
        return self._name

    @property
    def arena(self) -> Any:
        return self._arena

    @property
    def disksize(self) -> int:
        """Bytes of the device."""
        return self._pages.nr_pages * PAGE

    @property
    def codec(self) -> str:
        """The codec that pages are written with."""
        return self._codecs[0].name

    @property
    def recompress_codecs(self) -> tuple[str, ...]:
        """Those for recompression, of the priorities 1, 2 and 3."""
        return tuple(codec.name for codec in self._codecs[1:])

    @property
    def huge_class_size(self) -> int:
        """Bytes from which on a page is stored as it is, for it would take a page of its own anyway."""
        return self._huge

    def reset(self) -> None:
        """Frees every page, and sets statistics and limits back. Busy while another process has the device open: no process can
        open it meanwhile. No other thread may be inside a call of the device. What was written back is lost."""
        config = self._pages.config() | {"wb_batch": DEFAULT_BATCH}
        self._pages.destroy(True)
        self._use(open_zram(self._arena, self._arena._mapping, self._name, config))

    def destroy(self, force: bool = False) -> None:
        """Gives the device's memory back to the arena. Busy while another process has it open or, unless `force`, while pages are
        stored in memory."""
        self._pages.destroy(force)

    def __repr__(self) -> str:
        return f"<mempools.Zram {self._name!r}, {sizes.text(self.disksize)}, {self.codec}, in {self._arena!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from mempools.zramopening import attach_zram

        return attach_zram, (self._arena, self._name)

    def __del__(self) -> None:
        for fd in getattr(self, "_opened", {}).values():
            os.close(fd)
