"""A process is killed at each atomic step of each operation in turn; what only it held returns, the others' stays."""

import itertools
import os
import signal

import pytest

from mempools import Arena
from mempools.check import steps

GRANULE = 64


def alloc(pool):
    pool.alloc_offset(5 * GRANULE)


def alloc_long(pool):
    pool.alloc_offset(37 * GRANULE)


def alloc_and_free(pool):
    pool.free_offset(pool.alloc_offset(20 * GRANULE), 20 * GRANULE)


def alloc_and_free_bulk(pool):
    pool.free_bulk(pool.alloc_bulk(21, GRANULE), GRANULE)


def fill_up(pool):
    """The last granules of a pool: its words get full, and their summary bits are set."""
    while pool.avail:
        pool.alloc_offset(min(pool.avail, 16 * GRANULE))


def grow(pool):
    """More than the pool has: it takes a chunk from the arena."""
    pool.alloc_offset(pool.size + GRANULE)


LONG = [pytest.param(operation, marks=pytest.mark.slow) for operation in (fill_up, grow)]  # 600 steps and more


@pytest.mark.parametrize("operation", [alloc, alloc_long, alloc_and_free, alloc_and_free_bulk, *LONG])
def test_a_kill_at_any_step_loses_nothing(operation):
    limit = None if operation is grow else "16K"
    for n in itertools.count(1):
        with Arena.anonymous("1M") as arena:
            pool = arena.genpool("pool", granule=GRANULE, size=limit)
            mine = pool.alloc_offset(3 * GRANULE)
            before = pool.avail
            status = killed_at(n, arena, limit, operation)
            arena.recover()
            if limit:
                assert pool.avail == before
            again = pool.alloc_offset(5 * GRANULE)
            assert not mine <= again < mine + 3 * GRANULE
            pool.free_offset(again, 5 * GRANULE)
            pool.free_offset(mine, 3 * GRANULE)
            assert pool.avail == pool.size
            arena.recover()
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert n > 3


def killed_at(n, arena, limit, operation):
    """The exit status of a child that dies before the n-th step of the operation."""
    pid = os.fork()
    if pid == 0:
        try:
            pool = arena.genpool("pool", granule=GRANULE, size=limit)
            pool.free_offset(pool.alloc_offset(GRANULE), GRANULE)  # registers, maps: not the operation's steps
            with steps.kill_at(n):
                operation(pool)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
