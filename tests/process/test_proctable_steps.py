"""Death at every atomic step of registration, recovery and leaving: the next process finds a table that works."""

import os
import signal

import pytest
from children import in_child

from mempools.arena import Arena
from mempools.check import steps

# The default run visits some of the steps, the slow one all.
STRIDES = pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])


def every_step(work, stride=1):
    """Runs `work` in a child that dies before its n-th step, for every n, or every stride-th; yields n while there is an n-th."""
    n = 1
    while True:

        def dying(n=n):
            with steps.kill_at(n):
                work()

        code = in_child(dying)
        yield n
        if code == 0:
            return
        assert code == -signal.SIGKILL
        n += stride


def only_this_process(arena):
    arena.recover()
    assert [p.pid for p in arena.processes()] == [os.getpid()]


@pytest.fixture
def arena():
    with Arena.anonymous("1M") as arena:
        yield arena


def test_registration(arena):
    visited = 0
    for _ in every_step(arena._mapping.ensure_slot):
        visited += 1
        only_this_process(arena)
    assert visited > 5


@STRIDES
def test_recovery(arena, stride):
    visited = 0

    def leave_remains():
        arena._mapping.ensure_slot()

    def recover():
        arena._mapping.recover()

    in_child(leave_remains)
    for _ in every_step(recover, stride):
        visited += 1
        only_this_process(arena)
        in_child(leave_remains)
    assert visited > 10
    only_this_process(arena)


@STRIDES
def test_leaving(arena, stride):
    visited = 0

    def come_and_go():
        arena._mapping.ensure_slot()
        arena.close()

    for _ in every_step(come_and_go, stride):
        visited += 1
        only_this_process(arena)
    assert visited > 10
