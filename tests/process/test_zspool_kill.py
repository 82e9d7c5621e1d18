"""A process is killed at each crash window, and at each atomic step, of all that it may do with a ZsPool: whoever recovers finds
each object of the living once, with its bytes, none of the dead process's but what it gave to the pool, and no page lost."""

import contextlib
import gc
import itertools
import os
import re
import signal
from pathlib import Path

import pytest
from children import start, status_of

from mempools import Arena
from mempools.check import steps

CORE = Path(__file__).parents[2] / "src" / "mempools"
MODULES = (
    *(
        f"pools/{name}"
        for name in (
            "zstable",
            "zspin",
            "zspage",
            "zsalloc",
            "zsretire",
            "zsdefer",
            "zscompact",
            "zsrehome",
            "zsunback",
            "zsmend",
        )
    ),
    "layout/offline",
    "parts/ownertail",
)
NBYTES = 2000  # two objects a page


class Scene:
    """An arena with a pool in which this process has three objects in three zspages, each half full."""

    def __init__(self):
        self.arena = Arena.anonymous("1M")
        self.pool = self.arena.zspool("objs")
        handles = [self.pool.put(bytes([i]) * NBYTES) for i in range(6)]
        self.pool.free_bulk(handles[1::2])
        self.mine = {handle: bytes([2 * i]) * NBYTES for i, handle in enumerate(handles[::2])}
        self.loose = next(iter(self.mine))  # another process may free it, or write to it
        self.pages = self.free_pages()

    def free_pages(self):
        return self.arena.stats().pools[1].avail

    def open(self):
        return self.arena.zspool("objs")

    def check(self, left):
        """After recovery. `left`: how many objects the dead process may have given to the pool."""
        assert len(self.arena.processes()) == 1
        self.pool.check()
        self.arena.check()
        for handle, data in self.mine.items():
            if handle == self.loose:
                with contextlib.suppress(ValueError):
                    found = self.pool.read_bytes(handle)
                    assert found in (data, b"w" * NBYTES)
            else:
                assert self.pool.read_bytes(handle) == data
        stats = self.pool.stats()
        assert len(self.mine) - 1 <= stats.objects <= len(self.mine) + left
        # The pool is as good as new: two objects a page, and every page is a zspage's or free.
        self.pool.compact()
        stats = self.pool.stats()
        assert stats.pages_freeable == 0
        assert stats.zspages <= (stats.objects + 1) // 2 + 1  # what it kept may be of another class
        more = [self.pool.put(b"m" * NBYTES) for _ in range(4)]
        assert len(set(more) | set(self.mine)) == 4 + len(self.mine)
        self.pool.free_bulk(more)
        self.pool.compact()
        self.pool.check()

    def close(self):
        self.pool.destroy(force=True)
        gc.collect()
        self.arena.check()
        assert sum(info.nbytes for info in self.pool_infos()) == 0
        self.arena.close()

    def pool_infos(self):
        return [info for info in self.arena.pools() if info.kind == "zspool"]


# ---- what a process does: before the yield where it is not killed


def alloc(scene):
    pool = scene.open()
    yield 0
    pool.alloc_bulk([NBYTES] * 4)  # fills the three and makes a new zspage


def alloc_another_class(scene):
    pool = scene.open()
    yield 0
    pool.alloc(100)


def keep(scene):
    pool = scene.open()
    yield 1
    pool.keep(pool.put(b"k" * NBYTES))


def free_own(scene):
    pool = scene.open()
    handles = pool.alloc_bulk([NBYTES] * 7)
    yield 0
    pool.free_bulk(handles)  # two zspages become empty, one of them ends


def free_another_s(scene):
    pool = scene.open()
    yield 0
    pool.free(scene.loose)


def defer_own(scene):
    pool = scene.open()
    handles = pool.alloc_bulk([NBYTES] * 3)
    yield 0
    for handle in handles:  # the first makes the queue
        pool.free_deferred(handle)


def defer_another_s(scene):
    pool = scene.open()
    pool.free_deferred(pool.alloc(24))
    yield 0
    pool.free_deferred(scene.loose)


def drain(scene):
    pool = scene.open()
    handles = [*pool.alloc_bulk([NBYTES] * 7), pool.alloc(100), scene.loose]
    for handle in handles:
        pool.free_deferred(handle)
    yield 0
    pool.drain()


def read(scene):
    pool = scene.open()
    yield 0
    with pool.read(scene.loose) as view:
        assert len(view) == NBYTES


def write(scene):
    pool = scene.open()
    yield 0
    pool.write(scene.loose, b"w" * NBYTES)


def compact(scene):
    pool = scene.open()
    yield 0
    pool.compact()


def scattered(scene):
    """A pool with chunks that are nearly empty, and objects in them."""
    pool = scene.open()
    large = pool.alloc_bulk([60_000] * 3)
    pool.alloc_bulk([NBYTES] * 9)
    large += pool.alloc_bulk([60_000] * 3)
    pool.free_bulk(large)
    pool.compact()
    return pool


def rehome(scene):
    pool = scattered(scene)
    yield 0
    assert pool.rehome()


def grow_again(scene):
    pool = scattered(scene)
    pool.rehome()
    yield 0
    pool.alloc_bulk([60_000] * 6)


def more_cells(scene):
    pool = scene.open()
    pool.alloc_bulk([24] * 506)
    yield 0
    pool.alloc_bulk([24] * 8)


def more_descriptors(scene):
    pool = scene.open()
    pool.alloc_bulk([4096] * 59)
    yield 0
    pool.alloc_bulk([4096] * 3)


def make(scene):
    yield 0
    scene.arena.zspool("other")


def recover(scene):
    yield 0
    scene.arena.recover()


OPERATIONS = (
    alloc,
    alloc_another_class,
    keep,
    free_own,
    free_another_s,
    defer_own,
    defer_another_s,
    drain,
    read,
    write,
    compact,
    rehome,
    grow_again,
    more_cells,
    more_descriptors,
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
    scene.arena.recover()
    if operation is make:
        other = scene.arena.zspool("other")
        other.free(other.put(b"x"))
        other.check()
        other.destroy()
    scene.check(operation is keep)


@contextlib.contextmanager
def scene():
    made = Scene()
    yield made
    made.close()


def test_every_window_of_the_modules_is_among_those():
    labels = set()
    for module in MODULES:
        labels |= set(re.findall(r'window\(b"(D:.*)"\)', (CORE / f"{module}.py").read_text()))
    visited = set()

    def visit(place, operation):
        running = operation(place)
        next(running)
        with steps.trace(op="window") as hook:
            next(running, None)
        visited.update(site for _, site in hook.steps)

    for operation in set(OPERATIONS) - {make}:
        with scene() as place:
            visit(place, operation)
    with scene() as place:
        kill_in(place, alloc, 2, op="window", site="D:zsalloc.filled")
        visit(place, recover)
    with scene() as place:
        pid = start(lambda: leave_to(place))
        assert status_of(pid) == -signal.SIGKILL
        view = place.pool.read(int.from_bytes(place.pool.read_bytes(place.loose)[:8], "little"))
        visit(place, recover)
        view.close()
        place.pool.write(place.loose, place.mine[place.loose])
        place.check(0)
    assert labels
    assert labels <= visited


def leave_to(place):
    """Dies with an object that another process is to find: its handle is in one of the living's."""
    handle = place.open().put(b"t" * NBYTES)
    place.open().write(place.loose, handle.to_bytes(8, "little"))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_in_any_window(operation):
    for n in itertools.count(1):
        with scene() as place:
            died = kill_in(place, operation, n, op="window")
            mend(place, operation)
        if not died:
            break
    assert n > 1 or operation in (read, write)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_at_any_step(operation):
    """Each of the first hundred; ever fewer of the many that only look at one word after the other."""
    n, died = 1, True
    while died:
        with scene() as place:
            died = kill_in(place, operation, n)
            mend(place, operation)
        n += 1 + n // 100
    assert n > 5


DEATHS = {
    "allocates": (alloc, "D:zsalloc.filled", 1),
    "has allocated": (alloc, "D:zsalloc.alive", 1),
    "makes a zspage": (alloc, "D:zspage.named", 1),
    "ends a zspage": (compact, "D:zspage.leaving", 1),
    "has ended a zspage": (compact, "D:zspage.unnamed", 1),
    "moves": (compact, "D:zscompact.copied", 1),
    "has moved": (compact, "D:zscompact.moved", 1),
    "frees": (free_another_s, "D:zsalloc.claimed", 1),
    "has freed": (free_another_s, "D:zsalloc.ended", 1),
    "takes pages offline": (rehome, "D:offline.leaving", 1),
    "has closed a chunk": (rehome, "D:offline.closed", 1),
    "has shortened a chunk": (rehome, "D:offline.shortened", 1),
    "gives pages": (rehome, "D:ownertail.cut", 1),
    "takes pages": (grow_again, "D:ownertail.extend", 1),
    "has taken pages": (grow_again, "D:offline.extended", 1),
    "brings granules back": (grow_again, "D:offline.opening", 1),
    "is about to defer": (defer_another_s, "D:zsdefer.entered", 1),
    "has deferred": (defer_another_s, "D:zsdefer.doomed", 1),
    "drains": (drain, "D:zsdefer.ended", 2),
    "makes a table": (more_cells, "D:zstable.named", 1),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_kill_in_any_window_of_recovery(death):
    operation, site, at = DEATHS[death]
    for n in itertools.count(1, 101 if operation is more_cells else 1):  # which leaves five hundred objects to be freed
        with scene() as place:
            assert kill_in(place, operation, at, op="window", site=site)
            died = kill_in(place, recover, n, op="window")
            mend(place, operation)
        if not died:
            break
    assert n > 2


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS)
def test_a_kill_at_steps_of_recovery(death):
    operation, site, at = DEATHS[death]
    for n in itertools.count(1, 41):
        with scene() as place:
            assert kill_in(place, operation, at, op="window", site=site)
            died = kill_in(place, recover, n)
            mend(place, operation)
        if not died:
            break
    assert n > 100
