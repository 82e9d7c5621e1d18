"""A process is killed at each atomic step of PerCpu's operations in turn; what only it held returns, nobody hangs."""

import itertools
import os
import signal

import pytest

from mempools import Arena
from mempools.check import steps


def alloc_without_waiting(stats):
    stats.alloc(200, wait=False)


def alloc_and_free(stats):
    stats.alloc(40).free()


def grow(stats):
    """A second chunk, for the first has not so much room."""
    stats.alloc(4096)


@pytest.mark.parametrize(
    "operation", [alloc_without_waiting, alloc_and_free, pytest.param(grow, marks=pytest.mark.slow)]
)
def test_a_kill_at_any_step_loses_nothing(operation):
    for n in itertools.count(1):
        with Arena.anonymous("256K") as arena:
            stats = arena.percpu("stats", nr_units=2, unit_nbytes=4096, shares=0)
            mine = stats.alloc(100)
            pid = os.fork()
            if pid == 0:
                try:
                    stats.alloc(4).free()  # registers: not the operation's steps
                    with steps.kill_at(n):
                        operation(stats)
                except BaseException:
                    os._exit(1)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            arena.recover()
            assert stats.size - stats.avail == 100
            whole = stats.alloc(4096 - 100, align=4, wait=False)  # all the room that there was is found
            whole.free()
            mine.free()
            assert stats.avail == stats.size
            arena.check()
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert n > 10
