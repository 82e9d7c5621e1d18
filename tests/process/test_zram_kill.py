"""A process is killed at each crash window, and at each atomic step, of all that it may do with a Zram: whoever recovers finds
each page as it was or as it was to be, nobody's lock, no object and no block of the backing file lost."""

import contextlib
import itertools
import random
import re
import signal
from pathlib import Path

import pytest
from children import start, status_of
from fastcodec import FAST

from mempools import Arena
from mempools.check import steps

POOLS = Path(__file__).parents[2] / "src" / "mempools" / "pools"
MODULES = "zramtable", "zramslot", "zrammend"
PAGE = 4096
TEXT = (b"%06d " * 585 % tuple(range(585)))[:PAGE].ljust(PAGE, b".")
NOISE = random.Random(1).randbytes(PAGE)
NEW = TEXT[::-1]


class Scene:
    """A device with a page of each kind: text, noise, of one word, written back; and one that was never written."""

    def __init__(self, tmp_path):
        self.path = tmp_path / "backing"
        self.path.write_bytes(bytes(8 * PAGE))
        self.arena = Arena.anonymous("2M")
        self.device = self.arena.zram(
            "pages", 8 * PAGE, codec=FAST, recompress=["zstd:3"], backing=self.path, strict=True
        )
        self.pages = {0: TEXT, 1: NOISE, 2: b"12345678" * 512, 3: NOISE[::-1], 4: bytes(PAGE)}
        for index, data in self.pages.items():
            if index != 4:
                self.device.write_page(index, data)
        assert self.device.writeback(pages=[3]).written == 1
        self.device.idle()
        self.allowed = {index: {data} for index, data in self.pages.items()}

    def open(self):
        return self.arena.zram("pages")

    def check(self):
        """After recovery."""
        assert len(self.arena.processes()) == 1
        self.device.check()
        self.arena.check()
        for index, allowed in self.allowed.items():
            assert self.device.read_page(index) in allowed, index
        for index, data in self.pages.items():  # it works as if nothing had happened
            self.device.write_page(index, data)
            assert self.device.read_page(index) == data
        self.device.idle()
        self.device.recompress()
        assert self.device.writeback("idle").error is None
        self.device.check()
        stats = self.device.stats()
        assert stats.bd_count + stats.same_pages == len(self.pages)
        self.device.discard(0, 8 * PAGE)
        self.device.compact()
        self.device.check()
        assert self.device.stats().mem_used_total == 0

    def close(self):
        self.device.destroy(force=True)
        self.arena.check()
        self.arena.close()


# ---- what a process does: yields when it may be killed


def write(scene, index, data):
    scene.allowed[index] = {scene.pages[index], data}
    device = scene.open()
    device.read_page(0)  # so that its page of pins is there
    yield
    device.write_page(index, data)


def write_text(scene):
    yield from write(scene, 0, NEW)


def write_over_noise(scene):
    yield from write(scene, 1, TEXT)


def write_same(scene):
    yield from write(scene, 0, b"abcdefgh" * 512)


def write_over_same(scene):
    yield from write(scene, 2, NEW)


def write_over_written_back(scene):
    yield from write(scene, 3, NEW)


def write_never_written(scene):
    yield from write(scene, 4, NEW)


def write_part(scene):
    scene.allowed[1] = {NOISE, NOISE[:100] + b"part" + NOISE[104:]}
    device = scene.open()
    yield
    device.write(PAGE + 100, b"part")


def discard(scene):
    scene.allowed[0] = {TEXT, bytes(PAGE)}
    scene.allowed[3] = {scene.pages[3], bytes(PAGE)}
    device = scene.open()
    yield
    device.discard(0, PAGE)
    device.notify_free(3)


def read(scene):
    device = scene.open()
    yield
    for index in range(5):
        device.read_page(index)


def idle(scene):
    device = scene.open()
    yield
    device.idle()
    device.read_page(0)


def recompress(scene):
    device = scene.open()
    yield
    device.recompress()


def writeback(scene):
    device = scene.open()
    yield
    device.writeback("idle")


def limited(scene):
    device = scene.open()
    device.mem_limit = device.stats().mem_used_total
    scene.allowed[4] = {bytes(PAGE), NOISE}
    yield
    with contextlib.suppress(MemoryError):
        device.write_page(4, NOISE)


def make(scene):
    yield
    scene.arena.zram("other", "64K", codec=FAST)


def recover(scene):
    yield
    scene.arena.recover()


OPERATIONS = (
    write_text,
    write_over_noise,
    write_same,
    write_over_same,
    write_over_written_back,
    write_never_written,
    write_part,
    discard,
    read,
    idle,
    recompress,
    writeback,
    limited,
    make,
)


def kill_in(scene, operation, n, **which):
    """A process dies before the n-th step of the operation: False if there are fewer steps, and it has left without a word."""

    def work():
        running = operation(scene)
        next(running)
        with steps.kill_at(n, **which):
            next(running, None)

    status = status_of(start(work))
    assert status in (0, -signal.SIGKILL)
    return status != 0


def mend(scene, operation):
    next(operation(scene)) if operation is not recover else None  # what is allowed now
    scene.arena.recover()
    if operation is limited:
        scene.device.mem_limit = 0
    if operation is make:
        other = scene.arena.zram("other", "64K", codec=FAST)
        other.write_page(0, TEXT)
        other.check()
        other.destroy(force=True)
    scene.check()


@contextlib.contextmanager
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.close()


def test_every_window_of_the_modules_is_among_those(tmp_path):
    labels = set()
    for module in MODULES:
        labels |= set(re.findall(r'window\(b"(D:.*)"\)', (POOLS / f"{module}.py").read_text()))
    visited = set()

    def visit(place, operation):
        running = operation(place)
        next(running)
        with steps.trace(op="window") as hook:
            next(running, None)
        visited.update(site for _, site in hook.steps)

    for operation in set(OPERATIONS) - {make}:
        with scene(tmp_path) as place:
            visit(place, operation)
    for site in ("D:zramslot.written", "D:zramslot.committed"):
        with scene(tmp_path) as place:
            assert kill_in(place, write_text, 1, op="window", site=site)
            visit(place, recover)
    assert labels
    assert labels <= visited


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_in_any_window(operation, tmp_path):
    for n in itertools.count(1):
        with scene(tmp_path) as place:
            died = kill_in(place, operation, n, op="window")
            mend(place, operation)
        if not died:
            break
    assert n > 1


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_at_any_step(operation, tmp_path):
    """Each of the first hundred; ever fewer of the many that only look at one word after the other."""
    n, died = 1, True
    while died:
        with scene(tmp_path) as place:
            died = kill_in(place, operation, n)
            mend(place, operation)
        n += 1 + n // 100
    assert n > 5


DEATHS = {
    "has claimed an entry": (write_text, "D:zramtable.claimed"),
    "has the page": (write_text, "D:zramtable.locked"),
    "has let the page go": (read, "D:zramtable.unlocked"),
    "has told the journal": (write_text, "D:zramslot.journaled"),
    "has moved the blocks": (write_over_written_back, "D:zramslot.blocks"),
    "has moved its block": (writeback, "D:zramslot.blocks"),
    "has written the word": (write_text, "D:zramslot.written"),
    "has changed the page": (write_text, "D:zramslot.committed"),
    "has kept the object": (write_text, "D:zramslot.kept"),
}


OFTEN = "has moved its block", "has written the word", "has changed the page"


@pytest.mark.parametrize(
    "death", [death if death in OFTEN else pytest.param(death, marks=pytest.mark.slow) for death in DEATHS]
)
def test_a_kill_in_any_window_of_recovery(death, tmp_path):
    operation, site = DEATHS[death]
    for n in itertools.count(1):
        with scene(tmp_path) as place:
            assert kill_in(place, operation, 1, op="window", site=site)
            died = kill_in(place, recover, n, op="window")
            mend(place, operation)
        if not died:
            break
    assert n > 2


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS)
def test_a_kill_at_steps_of_recovery(death, tmp_path):
    operation, site = DEATHS[death]
    for n in itertools.count(1, 41):
        with scene(tmp_path) as place:
            assert kill_in(place, operation, 1, op="window", site=site)
            died = kill_in(place, recover, n)
            mend(place, operation)
        if not died:
            break
    assert n > 100
