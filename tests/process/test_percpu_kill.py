"""A process is killed in the middle of PerCpu's operations; what only it held returns, pages that are gone are made again."""

import itertools
import os
import random
import signal
import time

import pytest
from children import start, status_of

from mempools import Arena, Exhausted, WouldBlock
from mempools.check import steps

PAGE = 4096


def alloc_without_waiting(pool):
    pool.alloc(200, wait=False)


def alloc_and_free(pool):
    pool.alloc(40).free()


def populate(pool):
    """The second page of the unit."""
    pool.alloc(PAGE)


def grow(pool):
    """A second chunk, for the first has not so much room."""
    pool.alloc(2 * PAGE)


def maintain(pool):
    """Five chunks, one page of each still in use; two wholly free: pages are given back, others made."""
    held = [pool.alloc(PAGE) for _ in range(12)]
    del held[1::2], held[-1]
    pool.maintain()
    for area in held:
        area.free()
    pool.maintain()


OPERATIONS = [alloc_without_waiting, alloc_and_free, populate, grow, maintain]


def is_whole(arena, pool, mine):
    arena.recover()
    pool.check()
    assert pool.stats().nr_cur_alloc == 1
    mine.free()
    # All the room that there was is found, and can be touched.
    chunks = pool.stats().nr_chunks
    areas = [pool.alloc(2 * PAGE) for _ in range(chunks)]
    for area in areas:
        with memoryview(area) as view:
            view[0, 0] = view[1, 2 * PAGE - 1] = 1
    assert pool.stats().nr_chunks == chunks
    with pytest.raises(WouldBlock):
        pool.alloc(4, wait=False)
    del areas, area
    pool.maintain()
    pool.check()
    assert pool.avail == pool.size
    arena.check()


def kill(operation, n, site=None):
    """Whether the n-th step was reached."""
    with Arena.anonymous("512K") as arena:
        pool = arena.percpu("killed", nr_units=2, unit_nbytes=2 * PAGE, shares=0, balance=False)
        mine = pool.alloc(100)

        def work():
            pool.alloc(4).free()  # registers: not the operation's steps
            with steps.kill_at(n, site=site):
                operation(pool)

        status = status_of(start(work))
        is_whole(arena, pool, mine)
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_in_any_crash_window_loses_nothing(operation):
    with Arena.anonymous("512K") as arena:
        pool = arena.percpu("traced", nr_units=2, unit_nbytes=2 * PAGE, shares=0, balance=False)
        mine = pool.alloc(100)
        pool.alloc(4).free()
        with steps.trace(op="window") as hook:
            operation(pool)
        mine.free()
    windows = {site for _, site in hook.steps}
    assert "D:percpu.claimed" in windows
    for site in windows:
        assert kill(operation, 1, site)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_at_any_step_loses_nothing(operation):
    stride = 37 if operation in (grow, maintain) else 3
    reached = sum(1 for _ in itertools.takewhile(lambda n: kill(operation, n), itertools.count(1, stride)))
    assert reached > 10


@pytest.mark.kill
def test_a_marathon(soak_seconds):
    """Workers that allocate, free and maintain are killed at random; areas that live keep what is in them."""
    dice = random.Random(7)
    end = time.monotonic() + soak_seconds
    with Arena.anonymous("2M") as arena:
        pool = arena.percpu("killed", nr_units=3, unit_nbytes=4 * PAGE, shares=0, balance=False)
        mine = [pool.alloc(nbytes) for nbytes in (8, 5000, PAGE)]
        for area in mine:
            with memoryview(area) as view:
                view[2, area.nbytes - 1] = 77

        def work():
            mad = random.Random(os.getpid())
            held = []
            while True:
                try:
                    held.append(pool.alloc(mad.choice([4, 100, 3000, 4 * PAGE]), wait=mad.random() < 0.6))
                    with memoryview(held[-1]) as view:
                        assert view[1, 0] == 0
                        view[1, 0] = 1
                except (WouldBlock, Exhausted):
                    held.clear()
                if mad.random() < 0.4 and held:
                    held.pop(mad.randrange(len(held))).free()
                if mad.random() < 0.1:
                    pool.maintain()

        workers = [start(work) for _ in range(3)]
        kills = 0
        while time.monotonic() < end:
            time.sleep(dice.random() * 0.01)
            victim = workers.pop(dice.randrange(len(workers)))
            os.kill(victim, signal.SIGKILL)
            assert status_of(victim) == -signal.SIGKILL
            kills += 1
            workers.append(start(work))
            if kills % 50 == 0:
                arena.recover()
                pool.check()
                assert all(area.read(2)[-1] == 77 for area in mine)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
            status_of(worker)
        arena.recover()
        assert pool.stats().nr_cur_alloc == len(mine)
        pool.check()
        arena.check()
        mine.clear()
        del area
    assert kills > 10
