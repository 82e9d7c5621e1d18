"""Death at every atomic step of registration, recovery and leaving: the next process finds a table that works."""

import os
import signal

import pytest
from children import in_child

from mempools.arena import Arena
from mempools.check import steps


def every_step(work):
    """Runs `work` in a child that dies before its n-th step, for every n; yields n while there is an n-th."""
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
        n += 1


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


def test_recovery(arena):
    visited = 0

    def leave_remains():
        arena._mapping.ensure_slot()

    def recover():
        arena._mapping.recover()

    in_child(leave_remains)
    for _ in every_step(recover):
        visited += 1
        only_this_process(arena)
        in_child(leave_remains)
    assert visited > 10
    only_this_process(arena)


def test_leaving(arena):
    visited = 0

    def come_and_go():
        arena._mapping.ensure_slot()
        arena.close()

    for _ in every_step(come_and_go):
        visited += 1
        only_this_process(arena)
    assert visited > 10
