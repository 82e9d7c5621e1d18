"""PerCpuPool: what may never wait is served from the reserve; who may not wait for a refill is told so, and why."""

import asyncio
import contextvars
import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mempools import (
    Arena,
    Exhausted,
    LayoutMismatch,
    LockOrder,
    Mempool,
    PerCpuPool,
    PoolError,
    WaitForbidden,
    WouldBlock,
    lockdep,
    noio,
)

NBYTES = 1024  # four to a unit of 4096 bytes


@pytest.fixture
def arena():
    with Arena.anonymous("512K") as arena:
        yield arena
        gc.collect()
        arena.check()


def open_pool(arena, low=2, high=4, reclaim=None, nbytes=NBYTES, name="spare"):
    percpu = arena.percpu("stats", nr_units=2, unit_nbytes=4096)
    return arena.percpu_pool(name, nbytes=nbytes, low=low, high=high, percpu=percpu, reclaim=reclaim)


def settle(pool):
    """No refill is under way, nor the one that its end may have started."""
    while pool._work_now.ticket:
        time.sleep(0.001)


def fill_up(arena):
    """Takes all the room that the arena has; what gives it back."""
    room = arena.stats().free_bytes
    while True:
        try:
            ballast = arena.genpool("ballast", granule=4096, size=room)
        except Exhausted:
            room -= 4096
        else:
            return ballast.destroy


# ---- allocating


def test_the_reserve_serves_and_then_there_is_none(arena):
    pool = open_pool(arena, low=0)
    assert (pool.level, pool.low, pool.high, pool.nbytes) == (4, 0, 4, NBYTES)
    areas = [pool.alloc() for _ in range(5)]
    assert areas[4] is None
    assert len({area.offset for area in areas[:4]}) == 4
    stats = pool.stats()
    assert (stats.level, stats.low_water, stats.hits, stats.misses, stats.refilled) == (0, 0, 4, 1, 4)
    pool.check()
    for area in areas[:4]:
        area.free()
    assert pool.level == 0  # they are not the reserve's any more
    assert pool.refill() == 4
    assert pool.level == 4
    assert pool.refill() == 0


def test_areas_are_zeroed(arena):
    pool = open_pool(arena, low=0, high=1)
    for _ in range(3):
        area = pool.alloc()
        assert all(area.read(unit) == bytes(NBYTES) for unit in range(2))
        with memoryview(area) as view:
            for unit in range(2):
                view[unit, 0] = view[unit, NBYTES - 1] = 1
        area.free()
        pool.refill()


def test_a_worker_fills_what_is_below_the_low_mark(arena):
    pool = open_pool(arena)
    held = [pool.alloc(), pool.alloc()]
    assert not pool._work_now.ticket  # two are left
    held.append(pool.alloc())
    settle(pool)
    assert pool.level == 4
    refill = pool.refill_async()
    assert refill.wait() == 0
    assert refill.done
    assert refill.error is None


def test_consumers_that_are_faster_than_the_refill(arena):
    pool = open_pool(arena)
    seen = []

    def consume():
        for _ in range(60):
            area = pool.alloc()
            seen.append(area is None)
            if area is not None:
                area.free()

    threads = [threading.Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settle(pool)
    pool.refill()
    stats = pool.stats()
    assert (stats.hits, stats.misses, stats.level) == (seen.count(False), seen.count(True), 4)
    assert stats.refilled == stats.hits + 4
    assert pool.percpu.size - pool.percpu.avail == 4 * NBYTES


def test_two_openings_are_one_pool(arena):
    pool, other = open_pool(arena), open_pool(arena, low=0)
    assert other.alloc() is not None
    assert pool.level == other.level == 3
    with pytest.raises(LayoutMismatch, match="areas of 1024 bytes"):
        open_pool(arena, nbytes=64)
    with pytest.raises(LayoutMismatch, match="4 areas"):
        open_pool(arena, high=5)
    with pytest.raises(LayoutMismatch, match="a percpu"):
        arena.mempool("stats", nbytes=64, min_nr=1)


def test_one_without_a_percpu_of_its_own_gets_one(arena):
    with Arena("16M") as private:
        pool = private.percpu_pool("spare", nbytes="64", low=1, high=2)
        assert pool.percpu.name == "spare.percpu"
        assert isinstance(pool, PerCpuPool)
        assert "spare" in repr(pool) and "64 bytes for each cpu" in repr(pool)
        assert pool.alloc().nbytes == 64
        assert pool.arena is private
        assert {each.kind for each in private.pools()} == {"pages", "percpu", "percpu_pool"}


@pytest.mark.parametrize(
    "wrong", [{"low": -1}, {"low": 5}, {"low": 0, "high": 0}, {"high": 1 << 21}, {"nbytes": 4097}, {"nbytes": 0}]
)
def test_values_that_make_no_pool(arena, wrong):
    with pytest.raises(ValueError):
        open_pool(arena, **wrong)


def test_things_that_make_no_pool(arena):
    with pytest.raises(TypeError, match="it is called"):
        open_pool(arena, reclaim=1)
    with Arena("1M") as other, pytest.raises(ValueError, match="is not in"):
        other.percpu_pool("spare", nbytes=8, low=0, high=1, percpu=arena.percpu("stats"))


def test_a_closed_arena_and_a_destroyed_percpu_are_errors():
    arena = Arena.anonymous("512K")
    pool = open_pool(arena)
    arena.close()
    for call in (pool.alloc, pool.refill, pool.stats, pool.check):
        with pytest.raises(PoolError):
            call()
    refill = pool.refill_async()
    with pytest.raises(PoolError):
        refill.wait()


# ---- no room


def test_no_room(arena):
    """The pool says None, not more; refills say why; when there is room again the worker fills it."""
    pool = open_pool(arena, high=4)
    give_back = fill_up(arena)
    held = [pool.alloc() for _ in range(5)]
    settle(pool)
    stats = pool.stats()
    assert stats.failures >= 1
    assert stats.error.startswith("Exhausted")
    assert held[4] is None or stats.level == 0
    with pytest.raises(Exhausted):
        pool.refill()
    with pytest.raises(Exhausted):
        pool.alloc(wait=True)
    with pytest.raises(Exhausted):
        pool.refill_async().wait()
    with pytest.raises(Exhausted):
        open_pool(arena, name="another").refill()
    give_back()
    pool._next_try = 0.0
    assert pool.alloc() is None
    settle(pool)
    assert pool.level == 4
    assert pool.alloc(wait=True) is not None


def test_reclaim_makes_room(arena):
    calls = []

    def reclaim():
        calls.append(threading.get_ident())
        if len(calls) == 1:
            give_back()
        return len(calls) == 1

    pool = open_pool(arena, low=0, reclaim=reclaim)
    held = [pool.alloc() for _ in range(4)]
    give_back = fill_up(arena)
    assert pool.alloc(wait=True).nbytes == NBYTES
    assert calls == [threading.get_ident()]
    assert pool.refill() == 4
    assert len(held) == 4
    while True:  # what there is goes, and reclaim has no more
        try:
            held.append(pool.alloc(wait=True))
        except Exhausted:
            break
    assert len(calls) == 2


def test_a_worker_that_raises_is_told_of_and_replaced(arena):
    def reclaim():
        raise KeyError("reclaim")

    pool = open_pool(arena, low=0, reclaim=reclaim)
    held = [pool.alloc() for _ in range(4)]
    give_back = fill_up(arena)
    refill = pool.refill_async()
    with pytest.raises(KeyError):
        refill.wait()
    assert isinstance(refill.error, KeyError)
    assert pool.stats().error == "KeyError: 'reclaim'"
    give_back()
    assert pool.refill_async().wait() == 4
    assert pool.stats().failures == 1
    assert len(held) == 4


# ---- who may not wait


def ways_to_wait(pool):
    """Each of them is refused also when it need not wait."""
    yield pool.refill
    yield lambda: pool.alloc(wait=True)
    yield pool.refill_async().wait
    yield lambda: pool.refill_async().wait(10)
    yield pool.destroy


def is_refused(pool, match):
    for way in ways_to_wait(pool):
        with pytest.raises(WaitForbidden, match=match):
            way()


def test_inside_noio(arena):
    pool = open_pool(arena)
    with noio():
        is_refused(pool, "inside noio: the refill may need I/O or growth")
        assert pool.alloc() is not None
    settle(pool)
    with noio():
        other = open_pool(arena, name="made in noio")
    settle(other)
    assert other.level == 4


def test_inside_a_callback_of_a_pool(arena):
    pool = open_pool(arena)
    done = []

    def backend():
        is_refused(pool, "inside a callback of <mempools.*Mempool")
        done.append(pool.alloc())
        return []

    Mempool(1, backend, name="another")
    assert done[0] is not None
    settle(pool)


def test_inside_the_refill(arena):
    """reclaim is a callback of the pool, in the worker or in the caller."""
    done = []

    def reclaim():
        is_refused(pool, "refill worker|inside a callback of <mempools.PerCpuPool 'spare'")
        assert pool.alloc() is None
        done.append(1)

    pool = open_pool(arena, low=0, reclaim=reclaim)
    held = [pool.alloc() for _ in range(4)]
    fill_up(arena)
    with pytest.raises(Exhausted):
        pool.refill()
    with pytest.raises(Exhausted):
        pool.refill_async().wait()
    assert len(done) == 2
    assert len(held) == 4


def test_on_an_event_loop(arena):
    pool = open_pool(arena)

    async def main():
        is_refused(pool, "event loop")
        return pool.alloc()

    assert asyncio.run(main()) is not None
    settle(pool)


def test_a_thread_that_the_scope_was_handed_to(arena):
    pool = open_pool(arena)
    with noio(), ThreadPoolExecutor(1) as executor:
        executor.submit(contextvars.copy_context().run, is_refused, pool, "inside noio").result()


def test_a_wait_may_end_before_the_refill(arena):
    going, on = threading.Event(), threading.Event()

    def reclaim():
        going.set()
        on.wait(10)

    pool = open_pool(arena, low=0, reclaim=reclaim)
    held = [pool.alloc() for _ in range(4)]
    fill_up(arena)
    refill = pool.refill_async()
    assert going.wait(10)
    assert pool.refill_async() is refill
    with pytest.raises(WouldBlock, match="not over within"):
        refill.wait(0.001)
    assert pool.alloc() is None  # never waits
    on.set()
    with pytest.raises(Exhausted):
        refill.wait()
    assert len(held) == 4


class Allocating:
    """Not inside the test: free-threaded 3.13 never frees a class."""

    def __init__(self, pool, got):
        self.pool, self.got = pool, got

    def __del__(self):
        self.got.append(self.pool.alloc())


def test_destructors_and_signal_handlers_may_allocate(arena):
    pool = open_pool(arena, low=4)
    got = []
    Allocating(pool, got)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(pool.alloc()))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert None not in got and len(got) == 2
    settle(pool)
    assert pool.level == 4


# ---- the size, and the end


def test_resize(arena):
    pool = open_pool(arena)
    pool.resize(1, 8)
    assert (pool.low, pool.high, pool.level) == (1, 8, 4)
    assert pool.refill() == 4
    pool.resize(0, 2)
    assert (pool.high, pool.level) == (2, 2)
    assert pool.percpu.size - pool.percpu.avail == 2 * NBYTES
    with pytest.raises(ValueError):
        pool.resize(3, 2)
    pool.resize(100, 100)  # more cells than the root has
    pool.check()


def test_shrinking_while_a_refill_runs_leaves_no_more(arena):
    going, on = threading.Event(), threading.Event()

    def reclaim():
        going.set()
        on.wait(10)
        give_back()
        return True

    pool = open_pool(arena, low=0, high=8, reclaim=reclaim)
    give_back = fill_up(arena)
    pool.resize(0, 12)
    refill = pool.refill_async()
    assert going.wait(10)
    pool.resize(0, 3)
    on.set()
    refill.wait()
    assert pool.level == 3
    assert pool.percpu.size - pool.percpu.avail == 3 * NBYTES


def test_destroy_cancels_a_refill_and_waits_for_its_end(arena):
    going, on, calls = threading.Event(), threading.Event(), []

    def reclaim():
        calls.append(1)
        going.set()
        on.wait(10)
        return True  # and would be called for ever

    pool = open_pool(arena, low=0, reclaim=reclaim)
    held = [pool.alloc() for _ in range(4)]
    give_back = fill_up(arena)
    refill = pool.refill_async()
    assert going.wait(10)
    destroyer = threading.Thread(target=pool.destroy)
    destroyer.start()
    while not pool._closing:
        time.sleep(0.001)
    assert pool.refill_async() is refill
    assert not refill.done
    on.set()
    destroyer.join()
    assert refill.done and len(calls) == 1
    give_back()
    with pytest.raises(PoolError, match="destroyed"):
        pool.alloc()
    assert "percpu_pool" not in {each.kind for each in arena.pools()}
    assert [area.free() for area in held] == [None] * 4  # they outlive it
    assert open_pool(arena).level == 4


def test_a_forked_child_has_a_worker_of_its_own(arena):
    going, on = threading.Event(), threading.Event()

    def reclaim():
        going.set()
        on.wait(10)

    pool = open_pool(arena, reclaim=reclaim)
    held = [pool.alloc(), pool.alloc()]
    give_back = fill_up(arena)
    held.append(pool.alloc())
    held.append(pool.alloc())
    assert going.wait(10)
    refill = pool.refill_async()
    give_back()
    pid = os.fork()
    if pid == 0:
        try:
            with pytest.raises(WaitForbidden, match="from which this one was forked"):
                refill.wait()
            mine = pool.refill_async()
            assert mine is not refill
            assert mine.wait() == 4
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    on.set()
    settle(pool)
    assert pool.level == 4
    assert len(held) == 4


# ---- seed 003: statistics of groups of keys, made in the I/O path of a store


class Device:
    """Writes go through a queue, under its lock, in noio: memory may be waiting for them. Who writes belongs to a group, whose
    statistics are an area, made at its first write."""

    def __init__(self, arena, make):
        self.store = arena.store("disk", codec="none", size="128K")
        self.queue = lockdep.Lock("queue")
        self.groups = {}
        self.skipped = 0
        self.make = make
        self.cache = arena.genpool("cache", granule=4096, size="32K")

    def write(self, key, value):
        with noio(), self.queue:
            group = key.partition("/")[0]
            if group not in self.groups:
                area = self.make()
                if area is None:
                    self.skipped += 1  # opportunistic: at the next write
                else:
                    self.groups[group] = area.word()
            if group in self.groups:
                self.groups[group].add(len(value))
            self.store[key] = value

    def reclaim(self):
        """Memory comes back when what is cached has been written."""
        if self.cache is None:
            return False
        self.write("cache/0", b"dirty")
        self.cache.destroy()
        self.cache = None
        return True


@pytest.fixture
def device(arena):
    """With room for four groups, and for more once the cache has been written."""
    device = Device(arena, lambda: None)
    device.pool = open_pool(arena, low=1, reclaim=device.reclaim)
    ballast = fill_up(arena)
    yield device
    device.groups.clear()
    ballast()


def test_statistics_that_are_made_in_the_io_path_by_reclaiming(device):
    """Without the pool: an allocation that may reclaim, in the I/O path. It waits for its own queue."""

    def make():
        try:
            return device.pool.percpu.alloc(NBYTES)
        except Exhausted:
            device.reclaim()

    device.make = make
    with lockdep.checking(), pytest.raises(LockOrder, match="would wait for 'queue' while it holds 'queue'"):
        device.write("a/0", b"12")
    assert "a" not in device.groups


@pytest.mark.parametrize("debugging", [False, True])
def test_statistics_from_the_pool(device, debugging):
    """The worker reclaims, through the same queue, while writes go on; all groups have their statistics in the end."""
    device.make = device.pool.alloc
    with lockdep.checking():
        if not debugging:
            lockdep.disable()
        for nr in range(7):
            device.write(f"{nr}/0", b"1234")
        while len(device.groups) < 8:
            settle(device.pool)
            for nr in range(7):
                device.write(f"{nr}/1", b"1234")
            time.sleep(0.001)  # for _RETRY
            device.write("cache/1", b"1")
        assert lockdep.report().violations == ()
    assert device.cache is None
    assert device.groups["0"].sum() % 4 == 0
    assert len(device.store) >= 14


def test_asking_the_pool_to_wait_in_the_io_path(device):
    device.make = lambda: device.pool.alloc(wait=True)
    with pytest.raises(WaitForbidden, match="inside noio"):
        device.write("a/0", b"12")
    device.make = lambda: device.pool.refill_async().wait()
    with pytest.raises(WaitForbidden, match="inside noio"):
        device.write("a/0", b"12")
    settle(device.pool)


def test_waiting_for_the_worker_while_holding_what_it_needs(device):
    """As before, but nobody has said noio. The worker has needed the queue once; it does not need it now (I18)."""
    with lockdep.checking():
        held = [device.pool.alloc() for _ in range(4)]
        settle(device.pool)
        assert device.cache is None
        with device.queue, pytest.raises(LockOrder) as raised:
            device.pool.refill_async().wait()
        assert "would wait for the refill of PerCpuPool 'spare' while it holds 'queue'" in str(raised.value)
        assert "has waited for 'queue'" in str(raised.value)
        with device.queue, pytest.raises(LockOrder, match="would wait for I/O while it holds 'queue'"):
            device.pool.alloc(wait=True)
        with device.queue:
            device.pool.alloc()
        settle(device.pool)
    assert len(held) == 4


def test_a_hand_over_to_a_worker_of_ones_own_hides_nothing(device):
    with lockdep.checking(), lockdep.watch(ThreadPoolExecutor(1), "helper") as helper:
        helper.submit(device.pool.refill).result()
        with noio():
            future = helper.submit(device.pool.refill)
            with pytest.raises(LockOrder, match="holds 'helper' has waited for I/O"):
                future.result()
        future.result(timeout=10)


def test_the_right_context(device):
    """What the seed's author was told to do: the caller allocates before it takes the locks."""
    device.pool.resize(0, 4)  # one who reclaims is enough
    with lockdep.checking():
        for nr in range(7):
            made = [device.pool.alloc(wait=True)]
            device.make = lambda made=made: made.pop() if made else None
            device.write(f"{nr}/0", b"1234")
        settle(device.pool)
        assert lockdep.report().violations == ()
    assert set("0123456") <= set(device.groups)
