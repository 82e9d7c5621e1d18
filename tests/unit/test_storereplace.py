"""An entry that is replaced if it is still what was read: who beats it, what a death leaves, and that no word comes again."""

import os
import signal

import pytest
from children import in_child

import mempools as mp
from mempools.check import steps
from mempools.objects import storescan
from mempools.objects.storeindex import open_index
from mempools.objects.storereplace import Held, hold

OLD, NEW = b"old" * 400, b"new!" * 300
LARGE = bytes(range(256)) * 300


def index_in(arena, name="s", limit=0):
    return open_index(arena, arena._mapping, name, limit, True)


@pytest.fixture
def index(arena):
    return index_in(arena)


def test_replaces_and_removes(index):
    for old, new in ((OLD, NEW), (LARGE, NEW), (OLD, LARGE), (b"", b""), (LARGE, LARGE[::-1])):
        index.put("k", 7, len(old), old)
        with hold(index, "k") as held:
            assert (held.codec, held.nbytes, held.nr_stored, held.read()) == (7, len(old), len(old), old)
            assert held.replace(9, new, True) is True
            assert held.replace(9, b"another", True) is False
        assert index.get("k") == (9, len(old), new)
        assert storescan.check(index) == []
    with hold(index, "k") as held:
        assert held.remove() is True
        assert held.remove() is False
    assert index.get("k") is None
    assert hold(index, "k") is None
    assert hold(index, "x" * 65536) is None
    assert storescan.check(index) == []


@pytest.mark.parametrize("change", ["put", "delete", "pop", "again", "delete and put"])
def test_a_change_that_comes_between_wins(index, change):
    index.put("k", 0, len(OLD), OLD)
    with hold(index, "k") as held:
        if change == "put":
            index.put("k", 0, 3, b"put")
        elif change == "again":
            index.put("k", 0, len(OLD), OLD)
        elif change == "pop":
            assert index.pop("k")[2] == OLD
        else:
            index.delete("k")
            if change != "delete":
                index.put("k", 0, len(OLD), OLD)
        now = index.get("k")
        assert held.replace(0, NEW, True) is False
        assert held.remove() is False
        assert held.read() == OLD  # it stays as long as it is held
    assert index.get("k") == now
    assert storescan.check(index) == []


def test_parts_of_a_value_that_is_replaced_are_gone(index):
    index.put("k", 0, len(LARGE), LARGE)
    with hold(index, "k") as held:
        index.put("k", 0, 3, b"put")
        assert held.read() is None
        assert held.replace(0, NEW, True) is False


def test_a_word_does_not_come_again_while_it_is_held(index):
    """A handle has sixteen bits that count how often its place was used."""
    index.put("k", 0, len(OLD), OLD)
    with hold(index, "k") as held:
        for _ in range(70_000):
            index.put("k", 0, len(OLD), OLD)
            if held.replace(0, OLD, True) is not False:
                pytest.fail("another entry has the word of one that is held")


def test_keeps_what_others_split(index):
    index.put("k", 0, len(OLD), OLD)
    with hold(index, "k") as held:
        for i in range(2000):
            index.put(b"%d" % i, 0, 1, b"x")
        assert index.nr_buckets > 64
        assert held.replace(0, NEW, True) is True
    assert index.get("k")[2] == NEW
    assert storescan.check(index) == []


def test_compaction_leaves_it_where_it_is(index):
    for i in range(200):
        index.put(i.to_bytes(2, "little"), 0, len(OLD), OLD)
    held = hold(index, (199).to_bytes(2, "little"))
    for i in range(0, 199, 2):
        index.delete(i.to_bytes(2, "little"))
    assert index.compact() > 0
    assert held.read() == OLD
    assert held.replace(0, NEW, True) is True
    held.release()
    held.release()
    assert storescan.check(index) == []


def test_no_room(index):
    index.put("k", 0, 10, bytes(10))
    with pytest.raises(mp.Exhausted):
        for i in range(1000):
            index.put(b"%d" % i, 0, 4000, os.urandom(4000))
    with hold(index, "k") as held:
        assert held.replace(0, LARGE * 10, True) is None
        assert held.replace(0, LARGE * 10, False) is None
    assert index.get("k")[2] == bytes(10)
    assert storescan.check(index) == []


def test_a_limit_is_in_the_way():
    with mp.Arena("1M") as arena:
        store = arena.store("s", codec="none", limit=1000, evict="lru")
        store["k"] = bytes(100)
        store["other"] = bytes(800)
        with hold(store._index, "k") as held:
            assert held.replace(0, bytes(500), True) is None
            assert held.replace(0, bytes(150), True) is True
        assert set(store) == {"k", "other"}
        store.check()


def test_it_keeps_its_times(arena):
    store = arena.store("s", codec="none")
    store.put("k", OLD, ttl=1000)
    with hold(store._index, "k") as held:
        store.touch("k", 5000)
        assert held.replace(0, NEW, True) is True
    assert 4900 < store.ttl("k") <= 5001
    store.put("k", OLD, ttl=1e-9)
    while "k" in store:
        pass
    assert hold(store._index, "k") is None
    assert store.expire() == 1
    store.check()


def test_dropped_and_forked(index):
    index.put("k", 0, len(OLD), OLD)
    held = hold(index, "k")

    def child():
        held.release()
        assert index.get("k")[2] == OLD
        index.put("k", 0, 1, b"c")

    assert in_child(child) == 0
    assert held.read() == OLD
    assert held.replace(0, NEW, True) is False
    del held
    with pytest.raises(TypeError, match="made by hold"):
        Held()
    with pytest.raises(TypeError, match="not int"):
        hold(index, 1)
    held = hold(index, "k")
    held.release()
    for use in (held.read, held.remove, lambda: held.replace(0, b"", True)):
        with pytest.raises(ValueError, match="not held any more"):
            use()


def test_a_signal_handler_that_raises_leaves_no_pin(index):
    """Wherever it comes: what was held is let go, and no entry is left of the new value."""

    class Alarm(Exception):
        pass

    def handler(number, frame):
        raise Alarm

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        for n in range(1, 200, 7):
            index.put("k", 0, len(OLD), OLD)
            try:
                with steps.call_at(n, lambda: os.kill(os.getpid(), signal.SIGUSR1)), hold(index, "k") as held:
                    held.read()
                    held.replace(0, NEW, True)
            except Alarm:
                pass
            assert index.get("k")[2] in (OLD, NEW)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert storescan.check(index) == []


OPERATIONS = {
    "replace": (OLD, lambda held: held.replace(5, NEW, True), {(0, OLD), (5, NEW)}),
    "a value in parts": (LARGE, lambda held: held.replace(5, NEW, True), {(0, LARGE), (5, NEW)}),
    "by one in parts": (OLD, lambda held: held.replace(5, LARGE, True), {(0, OLD), (5, LARGE)}),
    "remove": (OLD, lambda held: held.remove(), {(0, OLD), None}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "remove" else [pytest.mark.slow]) for name in OPERATIONS]
)
def test_killed_at_each_step(name):
    old, operation, allowed = OPERATIONS[name]
    seen = set()
    with mp.Arena.anonymous("1M") as arena:
        index = index_in(arena)

        def work(n):
            with steps.kill_at(n), hold(index, "k") as held:
                operation(held)

        for n in range(1, 5000):
            index.put("k", 0, len(old), old)
            status = in_child(lambda n=n: work(n))
            arena.recover()
            found = index.get("k")
            found = found and (found[0], found[2])
            assert found in allowed, f"killed at step {n}"
            seen.add(found)
            assert storescan.check(index) == [], f"killed at step {n}"
            if status == 0:
                break
            assert status == -signal.SIGKILL
        assert n > 20
        assert seen == allowed
