"""A check beside others at work: a free that stands still between two of its steps is no damage; what stays so is."""

import os

import pytest
from children import start, status_of

from mempools import Corrupt
from mempools.check import steps
from mempools.objects import settling


@pytest.fixture
def stopped(arena):
    """A pool, and the way to let a child go on that has cleared an area's bytes and not said so yet."""
    pool = arena.percpu("checked", nr_units=2, unit_nbytes=4096, shares=0, balance=False)
    there, go = os.pipe(), os.pipe()

    def stop():
        os.write(there[1], b"!")
        os.read(go[0], 1)

    def work():
        area = pool.alloc(100)
        with steps.call_at(1, stop, site="D:percpu.released"):
            area.free()

    child = start(work)
    assert os.read(there[0], 1) == b"!"
    ended = []

    def let_go(_seconds=0):
        if not ended:
            os.write(go[1], b"!")
            ended.append(status_of(child))

    yield pool, let_go
    let_go()
    assert ended == [0]
    for end in (*there, *go):
        os.close(end)


def test_a_free_in_the_middle_is_waited_for(stopped, monkeypatch):
    pool, let_go = stopped
    paused = []
    monkeypatch.setattr(settling, "pause", lambda seconds: (paused.append(seconds), let_go()))
    pool.check()
    assert paused == [0.01]


def test_what_stays_wrong_is_damage(stopped, monkeypatch):
    pool, _ = stopped
    monkeypatch.setattr(settling, "SECONDS", 0.0)
    with pytest.raises(Corrupt, match="pool 'checked': the index says otherwise than the map"):
        pool.check()


def test_alone_there_is_nobody_to_wait_for(arena, monkeypatch):
    monkeypatch.setattr(settling, "pause", lambda _: pytest.fail("nobody is there"))
    assert settling.what_stays(lambda: ["wrong"], arena._mapping) == ["wrong"]
