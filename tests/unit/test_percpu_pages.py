"""PerCpu: pages that come and go with the areas, who may wait for them, what is counted and charged."""

import asyncio
import gc
import itertools
import os
import signal
import threading

import pytest
from children import until

from mempools import Arena, Exhausted, Maintained, PerCpuStats, Quota, WaitForbidden, WouldBlock, noio
from mempools.check import steps

PAGE = 4096
NR_UNITS = 3


@pytest.fixture
def pool(arena):
    """Eight pages a unit; nobody maintains it but who says so."""
    return arena.percpu("pages", nr_units=NR_UNITS, unit_nbytes=8 * PAGE, shares=0, balance=False)


def memory(arena):
    """Bytes that the system has given to the arena's file."""
    return os.fstat(arena._mapping.fd).st_blocks * 512


def test_pages_come_with_the_areas_and_go_with_them(arena, pool):
    before = memory(arena)
    assert pool.stats().populated_bytes == NR_UNITS * PAGE  # of the first request, when the pool was made
    areas = [pool.alloc(PAGE) for _ in range(24)]
    assert pool.stats().populated_bytes == 24 * NR_UNITS * PAGE
    assert (
        memory(arena) == before + 7 * NR_UNITS * PAGE
    )  # the other chunks' pages were the arena's before, and went and came
    full = memory(arena)
    for area, unit in itertools.product(areas, range(NR_UNITS)):
        assert area.read(unit) == bytes(PAGE)
    areas.clear()
    del area
    assert memory(arena) == full, "a free gives nothing back by itself"
    done = pool.maintain()
    assert done == Maintained(0, 16, True)
    assert memory(arena) == full - 16 * NR_UNITS * PAGE
    pool.check()
    again = [pool.alloc(PAGE) for _ in range(24)]
    assert memory(arena) == full
    assert all(area.read(NR_UNITS - 1) == bytes(PAGE) for area in again)


def test_the_thresholds(pool):
    """More than HIGH = 4 empty pages beside a chunk's own, a quarter of a chunk at least, and never the first chunk."""
    areas = [pool.alloc(PAGE) for _ in range(24)]
    kept = areas[9]  # in the second chunk: the first one's eight, then this chunk's second page
    assert [chunk.nr_alloc for chunk in pool.stats().chunks] == [8, 8, 8]
    del areas[16:]
    assert pool.maintain() == Maintained(0, 0, True), "nobody else has an empty page"
    areas.clear()
    assert pool.maintain() == Maintained(0, 7 + 8, True)
    first, second, third = pool.stats().chunks
    assert (first.state, first.empty_pop_pages, first.populated_pages) == ("first", 8, 8)
    assert (second.state, second.nr_alloc, second.populated_pages) == ("sidelined", 1, 1)
    assert (third.state, third.populated_pages) == ("", 0)
    assert kept.read(0) == bytes(PAGE)
    pool.check()
    held = [pool.alloc(PAGE) for _ in range(8)]  # from the first
    more = [pool.alloc(16)]  # from the sidelined one rather than from the empty one
    assert [chunk.state for chunk in pool.stats().chunks] == ["first", "", ""]
    assert len(held) + len(more) == pool.stats().nr_cur_alloc - 1


def test_who_may_not_wait_has_populated_pages_only(pool):
    held = [pool.alloc(PAGE, wait=False)]
    with pytest.raises(WouldBlock, match="wait=True"):
        pool.alloc(4, wait=False)
    assert pool.maintain() == Maintained(4, 0, True)
    held += [pool.alloc(PAGE, wait=False) for _ in range(4)]
    with pytest.raises(WouldBlock):
        pool.alloc(8, wait=False)
    assert pool.stats().nr_chunks == 1
    pool.maintain()  # three pages are left in this chunk: one more is added for the fourth
    assert (pool.stats().nr_chunks, pool.stats().empty_pop_pages) == (2, 4)
    pool.check()


def test_a_thread_keeps_pages_ready(arena):
    pool = arena.percpu("balanced", nr_units=NR_UNITS, unit_nbytes=8 * PAGE, shares=0)
    held = []
    for _ in range(20):  # each time it is as if nobody had waited
        until(lambda: not pool.balancer.busy)
        held.append(pool.alloc(PAGE, wait=False))
    until(lambda: not pool.balancer.busy)
    assert pool.stats().empty_pop_pages >= 2
    held.clear()  # more than a unit's worth came back: it is woken again
    until(lambda: not pool.balancer.busy)
    assert pool.stats().empty_pop_pages < 20
    pool.check()


def test_a_thread_that_finds_no_room_ends(arena):
    pool = arena.percpu("balanced", nr_units=NR_UNITS, unit_nbytes=64 * PAGE, shares=0)
    rest = arena.genpool("rest", granule=PAGE)
    blocks = []
    with pytest.raises(Exhausted):
        while True:
            blocks.append(rest.alloc(PAGE))
    held = [pool.alloc(PAGE) for _ in range(64)]
    for _ in range(3):
        with pytest.raises(WouldBlock):
            pool.alloc(PAGE, wait=False)
        until(lambda: not pool.balancer.busy)
    with pytest.raises(Exhausted, match="no room for one more chunk"):
        pool.alloc(PAGE)
    assert len(held) == pool.stats().nr_cur_alloc
    assert not pool.maintain().complete


def test_a_forked_childs_thread_is_its_own(arena):
    pool = arena.percpu("balanced", nr_units=NR_UNITS, unit_nbytes=8 * PAGE, shares=0)
    held = pool.alloc(PAGE, wait=False)
    until(lambda: not pool.balancer.busy)  # else the child may ask before this process's thread has made pages
    pid = os.fork()
    if pid == 0:
        try:
            mine = []
            for _ in range(6):
                until(lambda: not pool.balancer.busy)
                mine.append(pool.alloc(PAGE, wait=False))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    until(lambda: not pool.balancer.busy)
    arena.recover()
    assert pool.stats().nr_cur_alloc == 1
    held.free()


# ---- a system without memory


def fill(path):
    """A file that takes all that the file system has left."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            pass


def test_a_page_that_the_system_has_not_is_an_exception_and_no_signal(small_tmpfs):
    with Arena.create("a", "1M") as arena:
        pool = arena.percpu("pages", nr_units=NR_UNITS, unit_nbytes=8 * PAGE, balance=False)
        held = [pool.alloc(PAGE)]
        fill(small_tmpfs / "rest")
        with pytest.raises(Exhausted, match="the system has no memory"):
            pool.alloc(PAGE)
        assert not pool.maintain().complete
        assert pool.stats().nr_cur_alloc == 1
        os.unlink(small_tmpfs / "rest")
        held.append(pool.alloc(PAGE))
        assert held[1].read(2) == bytes(PAGE)
        pool.check()
        held.clear()
        Arena.unlink("a")


def test_holes_that_a_pool_leaves_are_reserved_before_another_has_them(small_tmpfs):
    with Arena.create("a", "1M") as arena:
        pool = arena.percpu("pages", nr_units=NR_UNITS, unit_nbytes=8 * PAGE, balance=False)
        pool.destroy()
        fill(small_tmpfs / "rest")
        blocks = arena.genpool("blocks", granule=PAGE)
        held = []
        with pytest.raises(Exhausted):
            while True:
                held.append(blocks.alloc(PAGE))
                with memoryview(held[-1]) as view:
                    view[:] = b"x" * PAGE
        before = len(held)
        os.unlink(small_tmpfs / "rest")
        for _ in range(20):  # there was room in the arena, but no memory in the system
            held.append(blocks.alloc(PAGE))
            with memoryview(held[-1]) as view:
                view[:] = b"x" * PAGE
        assert len(held) == before + 20
        held.clear()
        Arena.unlink("a")


# ---- contexts


def test_noio_may_wait_and_the_event_loop_may_not(pool):
    held = [pool.alloc(PAGE) for _ in range(8)]
    with noio():
        held.append(pool.alloc(PAGE))  # a chunk is added
        pool.maintain()

    async def main():
        with pytest.raises(WaitForbidden, match="wait=False"):
            pool.alloc(8)
        with pytest.raises(WaitForbidden, match="thread"):
            pool.maintain()
        return pool.alloc(8, wait=False)

    held.append(asyncio.run(main()))
    assert pool.stats().nr_cur_alloc == len(held)


class OneMutex:
    """What the kernel had before seed 001: one mutex for allocating and for freeing."""

    def __init__(self):
        self.mutex = threading.Lock()
        self.areas = set()

    def alloc(self, area, reclaim):
        with self.mutex:
            reclaim()
            self.areas.add(area)

    def free(self, area):
        if not self.mutex.acquire(blocking=False):
            raise RuntimeError("deadlock: the mutex is held by the allocation that this free interrupts")
        self.areas.remove(area)
        self.mutex.release()


def test_the_bug_of_seed_001_with_one_mutex():
    one = OneMutex()
    one.alloc("first", lambda: None)
    with pytest.raises(RuntimeError, match="deadlock"):
        one.alloc("second", lambda: one.free("first"))


class Cycle:
    """Holds an area until the collector comes."""

    def __init__(self, area):
        self.area = area
        self.me = self


@pytest.mark.parametrize("operation", ["alloc", "no wait", "maintain"])
def test_a_free_at_any_step_of_another_operation_waits_for_nothing(arena, operation):
    """Also while that holds both locks: what a destructor, a callback or a signal handler does in the middle of it."""
    do = {
        "alloc": lambda pool: pool.alloc(PAGE),
        "no wait": lambda pool: pool.alloc(8, wait=False),
        "maintain": lambda pool: pool.maintain(),
    }[operation]
    seen = 0
    for n in itertools.count(1, 7):  # every seventh step: a scan of a map is steps, too
        pool = arena.percpu("pages", nr_units=2, unit_nbytes=2 * PAGE, shares=0, balance=False)
        full = pool.alloc(2 * PAGE)
        others = [pool.alloc(PAGE), pool.alloc(4)]
        Cycle(others.pop())
        with steps.call_at(n, lambda: (others.pop().free(), gc.collect())) as hook:  # noqa: B023
            try:
                result = do(pool)
            except WouldBlock:
                result = None
        fired = hook.fired
        del result
        full.free()
        gc.collect()
        pool.check()
        assert pool.stats().nr_cur_alloc == len(others)
        others.clear()
        pool.destroy()
        if not fired:
            break
        seen += 1
    assert seen > 10


def test_a_wait_can_be_interrupted(arena, pool):
    """The alloc lock is held by this process, in the middle of a maintenance; a child that waits for it gets Ctrl-C."""
    pool.alloc(4).free()

    def child():
        pid = os.fork()
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            return
        try:
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            pool.alloc(PAGE)
        except KeyboardInterrupt:
            os._exit(7)
        finally:
            os._exit(1)

    held = [pool.alloc(PAGE) for _ in range(8)]
    with steps.call_at(1, child, site="D:percpupages.reserved"):
        held.append(pool.alloc(PAGE))
    arena.recover()
    assert pool.stats().nr_cur_alloc == 9
    pool.check()


# ---- numbers, accounts, events


def test_the_statistics_are_percpu_stats(pool):
    areas = [pool.alloc(nbytes) for nbytes in (100, 4, 4000, 20, 60)]
    areas[1].free()
    areas[3].free()
    stats = pool.stats()
    assert isinstance(stats, PerCpuStats)
    assert (stats.unit_size, stats.dyn_size, stats.atom_size, stats.alloc_size) == (
        8 * PAGE,
        8 * PAGE,
        PAGE,
        8 * PAGE * NR_UNITS,
    )
    assert (stats.static_size, stats.reserved_size) == (0, 0)
    assert (stats.nr_alloc, stats.nr_dealloc, stats.nr_cur_alloc, stats.nr_max_alloc) == (6, 3, 3, 5)
    assert (stats.min_alloc_size, stats.max_alloc_size, stats.nr_chunks, stats.nr_max_chunks) == (4, 4000, 1, 1)
    (chunk,) = stats.chunks
    assert (chunk.state, chunk.nr_alloc, chunk.max_alloc_size) == ("first", 3, 4000)
    assert (chunk.cur_min_alloc, chunk.cur_med_alloc, chunk.cur_max_alloc) == (60, 100, 4000)
    assert (chunk.sum_frag, chunk.max_frag) == (4 + 24, 24)
    assert chunk.free_bytes == 8 * PAGE - 4160
    assert stats.empty_pop_pages == 0
    assert chunk.first_bit == 25
    assert chunk.contig_bytes == 8 * PAGE - 4188


def test_a_quota_is_charged_before_and_given_back_on_every_path(arena):
    quota = Quota(1000 * NR_UNITS)
    pool = arena.percpu("charged", nr_units=NR_UNITS, unit_nbytes=PAGE, shares=2, balance=False, quota=quota)
    assert pool.quota is quota and quota.used == 0
    area = pool.alloc(601)
    assert quota.used == 604 * NR_UNITS
    with pytest.raises(Exhausted, match="quota"):
        pool.alloc(400)
    assert pool.stats().nr_cur_alloc == 1
    quota.limit = 10**9
    with pytest.raises(WouldBlock):
        pool.alloc(4000, wait=False)
    assert quota.used == 604 * NR_UNITS
    area.free()
    assert quota.used == 0
    with pool.alloc(40):
        assert quota.used == 40 * NR_UNITS
    dropped = pool.alloc(8)
    del dropped
    gc.collect()
    assert quota.used == 0
    counter = pool.counter()
    assert quota.used == 128 * NR_UNITS
    del counter
    gc.collect()
    assert "0 of" in repr(quota)


def test_an_account_of_ones_own(arena):
    class Account:
        def __init__(self):
            self.calls = []

        def charge(self, nbytes):
            self.calls.append(nbytes)
            if len(self.calls) > 1:
                raise PermissionError("no more")

        def uncharge(self, nbytes):
            self.calls.append(-nbytes)

    account = Account()
    pool = arena.percpu("charged", nr_units=2, unit_nbytes=PAGE, balance=False, quota=account)
    area = pool.alloc(4)
    with pytest.raises(PermissionError):
        pool.alloc(4)
    area.free()
    assert account.calls == [8, 8, -8]


def test_a_quota_that_destructors_give_back_to_in_the_middle_of_a_charge(arena):
    quota = Quota("1M")
    pool = arena.percpu("charged", nr_units=2, unit_nbytes=PAGE, balance=False, quota=quota)
    Cycle(pool.alloc(8))
    with quota._lock:  # as inside charge
        gc.collect()
    assert quota.used == 0


def test_events(pool):
    seen = []
    pool.on_event = lambda *event: seen.append(event)
    area = pool.alloc(100)
    offset = area.offset
    area.free()
    held = pool.alloc(PAGE, wait=False)
    with pytest.raises(WouldBlock):
        pool.alloc(PAGE, wait=False)
    pool.maintain()
    held.free()
    assert seen[:3] == [("alloc", offset, 100), ("free", offset, 100), ("alloc", held.offset, PAGE)]
    assert seen[3:5] == [("alloc_fail", 0, PAGE), ("populate", 0, 4 * PAGE)]
    pool.on_event = None
    pool.alloc(4)
    assert len(seen) == 6
