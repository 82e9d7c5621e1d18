"""Processes that share a PerCpuPool: who refills or consumes is killed at any step, and no area is lost."""

import itertools
import os
import signal

import pytest

from mempools import Arena, Busy
from mempools.check import steps

NBYTES = 64  # several words of the owner map: a kill may come between them


def open_pool(arena):
    percpu = arena.percpu("stats", nr_units=2, unit_nbytes=4096, shares=0)
    return arena.percpu_pool("spare", nbytes=NBYTES, low=0, high=3, percpu=percpu)


def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def consume(pool):
    pool.alloc()


def shrink(pool):
    pool.resize(0, 1)


def refill(pool):
    pool.refill()


@pytest.mark.parametrize(
    ("operation", "op"),
    [
        (consume, None),
        (refill, "window"),
        (shrink, "window"),
        pytest.param(refill, None, marks=pytest.mark.slow),
        pytest.param(shrink, None, marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_step_loses_no_area(operation, op):
    for n in itertools.count(1):
        with Arena.anonymous("256K") as arena:
            pool = open_pool(arena)
            mine = pool.alloc()

            def work(pool=pool, n=n):
                pool.percpu.alloc(4).free()  # registers: not the operation's steps
                with steps.kill_at(n, op=op):
                    operation(pool)

            status = status_of(child(work))
            arena.recover()
            arena.check()
            pool.check()
            taken = pool.percpu.size - pool.percpu.avail
            assert taken == (1 + pool.level) * NBYTES  # what is not in the reserve is free
            assert pool.level >= (2 if operation is refill else 1)
            pool.resize(0, 3)
            pool.refill()
            assert pool.level == 3
            mine.free()
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert n > (4 if op else 10)


def test_what_a_dead_consumer_held_comes_back():
    with Arena.anonymous("256K") as arena:
        pool = open_pool(arena)

        def work():
            held = [pool.alloc() for _ in range(3)]
            assert pool.refill() == 3
            held += [pool.alloc()]
            os.kill(os.getpid(), signal.SIGKILL)

        assert status_of(child(work)) == -signal.SIGKILL
        arena.recover()
        assert pool.level == 3  # one of the four filled it up, three went back to the PerCpu
        assert pool.percpu.size - pool.percpu.avail == 3 * NBYTES
        areas = [pool.alloc() for _ in range(3)]
        assert all(area.read(unit) == bytes(NBYTES) for area in areas for unit in range(2))
        pool.check()


def test_processes_share_the_reserve_and_its_numbers():
    with Arena.anonymous("256K") as arena:
        pool = open_pool(arena)

        def work():
            for _ in range(20):
                area = pool.alloc()
                if area is None:
                    pool.refill()
                else:
                    area.free()

        children = [child(work) for _ in range(2)]
        assert [status_of(each) for each in children] == [0, 0]
        stats = pool.stats()
        assert stats.hits + stats.misses == 40
        assert stats.refilled == stats.hits + stats.level
        assert pool.percpu.size - pool.percpu.avail == pool.level * NBYTES


def test_no_destroy_while_another_process_has_it():
    with Arena.anonymous("256K") as arena:
        pool = open_pool(arena)
        ready, going = os.pipe(), os.pipe()

        def work():
            mine = open_pool(arena)
            os.write(ready[1], b"x")
            os.read(going[0], 1)
            assert mine.level == 0

        other = child(work)
        os.read(ready[0], 1)
        with pytest.raises(Busy, match="open in another process"):
            pool.destroy()
        assert pool.level == 0
        os.write(going[1], b"x")
        assert status_of(other) == 0
        arena.recover()
        pool.destroy()
        for end in (*ready, *going):
            os.close(end)
