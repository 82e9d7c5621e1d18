"""Namespaces between processes: made once, dropped whole, whoever is killed."""

import os
import signal

import pytest
from children import in_child, start, status_of

import mempools as mp
from mempools.check import steps
from mempools.spaces import Spaces


@pytest.fixture
def store():
    with mp.Arena.anonymous("4M") as arena:
        store = arena.store("s", codec="none")
        yield store
        store.check()
        arena.check()


def test_those_who_make_the_same_at_the_same_time_get_the_same(store):
    def work():
        for i in range(20):
            store.namespace(f"n{i}")[f"k{os.getpid()}"] = b"v"

    children = [start(work) for _ in range(4)]
    assert [status_of(child) for child in children] == [0] * 4
    assert len(store.namespaces()) == 20
    for i in range(20):
        stats = store.namespace(f"n{i}").stats()
        assert stats.count == stats.puts == 4


def test_counts_are_of_all_processes(store):
    users = store.namespace("users")

    def work():
        for i in range(100):
            users[f"{os.getpid()} {i}"] = b"v"
            users.get(f"{os.getpid()} {i}")
            users.get("no")

    children = [start(work) for _ in range(3)]
    assert [status_of(child) for child in children] == [0] * 3
    stats = users.stats()
    assert (stats.puts, stats.hits, stats.misses, stats.count) == (300, 300, 300, 300)


def test_a_drop_beside_writers_leaves_nothing(store):
    users = store.namespace("users")

    def write():
        i = 0
        try:
            while True:
                users[f"{os.getpid()} {i}"] = b"v"
                i += 1
        except mp.PoolError:
            pass

    children = [start(write) for _ in range(2)]
    while users.stats(sizes=False).puts < 50:
        pass
    users.drop()
    assert [status_of(child) for child in children] == [0] * 2
    assert store.stats().count == 0


def dies_at(n, work, **what):
    """Does a child that does work() die before its n-th step? Else it lived to the end."""

    def run():
        with steps.kill_at(n, **what):
            work()

    status = in_child(run)
    assert status in (0, -signal.SIGKILL)
    return status != 0


def look(store, names):
    """Whole, and good for use."""
    assert store.namespaces() == sorted(names)
    for name in names:
        users = store.namespace(name)
        users["k"] = b"v"
        assert dict(users) == {"k": b"v"} and users.stats().counted
    store.check()


def make_at(store, n):
    """Dies while it makes the namespace `new`; whether it did."""
    died = dies_at(n, lambda: store.namespace("new"))
    names = store.namespaces()
    assert names in (["new", "old"], ["old"]) and (died or "new" in names)
    look(store, names)
    store.drop_namespace("new")
    look(store, ["old"])
    return died


def drop_at(store, n):
    store.namespace("new").update({f"k{i}": b"v" for i in range(3)})
    died = dies_at(n, lambda: store.drop_namespace("new"))
    names = store.namespaces()
    assert names in (["new", "old"], ["old"]) and (died or "new" not in names)
    store.drop_namespace("new")
    store.arena.recover()  # whoever died may have been at counting
    assert store.stats().count == 1  # what was left is gone
    look(store, ["old"])
    return died


@pytest.mark.parametrize("act", [make_at, drop_at])
def test_a_kill_at_some_steps(store, act):
    look_first(store)
    n = 1
    while act(store, n):
        n += 97


@pytest.mark.slow
@pytest.mark.parametrize("act", [make_at, drop_at])
def test_a_kill_at_many_steps(store, act):
    look_first(store)
    n = 2
    while act(store, n):
        n += 5


def look_first(store):
    store.namespace("old")
    look(store, ["old"])


@pytest.mark.parametrize(
    "site",
    ["storewords.changed", "ownermap.transfer", "D:ownermap.transfer", "hashcommit.publish", "D:hashcommit.committed"],
)
@pytest.mark.parametrize("act", ["make", "drop"])
def test_a_kill_at_the_steps_that_matter(store, act, site):
    look_first(store)
    for n in range(1, 9):
        new = store.namespace("new") if act == "drop" else None
        if new is not None:
            new["k"] = b"v"
        work = (lambda: store.namespace("new")) if act == "make" else (lambda: store.drop_namespace("new"))
        if not dies_at(n, work, site=site):
            break
        store.drop_namespace("new")
        store.arena.recover()
        assert store.stats().count == 1
        look(store, ["old"])
    else:
        pytest.fail("it never comes to an end")


def test_the_first_namespace_of_a_store_that_is_killed(store):
    n = 1
    while dies_at(n, lambda: store.namespace("first")):
        store.check()
        store.drop_namespace("first")
        n += 301
    look(store, ["first"])


def test_a_put_that_is_killed_after_a_drop_is_swept(store):
    def work():
        Spaces.renew = lambda self, index, must: os.kill(os.getpid(), signal.SIGKILL)  # in this child
        users = store.namespace("users")
        with steps.call_at(1, users.drop, site="hashentry.fill"):
            users["k"] = b"v"

    assert in_child(work) == -signal.SIGKILL
    assert store.namespaces() == [] and store.stats().count == 1
    other = store.namespace("other")
    other.drop()
    assert store.stats().count == 0


def test_in_a_private_arena_after_fork():
    with mp.Arena("4M") as arena:
        store = arena.store("s", codec="none")
        users = store.namespace("users")
        users["k"] = b"v"

        def work():
            assert users["k"] == b"v"
            store.namespace("other")["k"] = b"v"
            users.drop()

        assert in_child(work) == 0
        assert store.namespaces() == ["users"] and users["k"] == b"v"
