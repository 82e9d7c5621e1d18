"""A store's clock: times to live, and what readers leave for who evicts."""

import math
import time

import pytest

import mempools as mp
from mempools.pools.hashclock import advance_clock, seed_draws


@pytest.fixture
def store():
    with mp.Arena("4M") as arena:
        yield arena.store("s", codec="none")


def test_what_has_expired_is_absent(store):
    store.put("k", b"v", ttl=10)
    store["stays"] = b"v"
    advance_clock(9.9)
    assert store["k"] == b"v" and 0 < store.ttl("k") < 0.2
    advance_clock(0.2)
    with pytest.raises(KeyError):
        store["k"]
    with pytest.raises(KeyError):
        store.ttl("k")
    with pytest.raises(KeyError):
        store.touch("k", 1)
    with pytest.raises(KeyError):
        store.get_into("k", bytearray(9))
    assert "k" not in store and store.get("k") is None and list(store) == ["stays"] == [key for key, _ in store.items()]
    assert len(store) == 2 and store.stats().count == 2 and store.stats().expirations == 0
    assert store.expire() == 1 and store.expire() == 0
    assert len(store) == 1 and store.stats().expirations == 1
    store.check()


def test_nothing_expires_early(store):
    def now():
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    for i in range(50):
        ttl = 60 + 0.001 * i
        before = now()
        store.put("k", b"v", ttl=ttl)
        left = store.ttl("k")
        assert before + ttl <= now() + left
        assert left <= ttl + 0.017


def test_each_way_to_put_over_an_expired_entry(store):
    for key in "abcde":
        store.put(key, b"old", ttl=1)
    advance_clock(1.1)
    assert store.setdefault("a", b"new") == b"new"
    store["b"] = b"new"
    assert store.get_or_compute("c", lambda: b"new") == b"new"
    assert store.pop("d", None) is None
    with pytest.raises(KeyError):
        del store["e"]
    assert {key: store.ttl(key) for key in store} == dict.fromkeys("abc")
    assert set(store.values()) == {b"new"} and len(store) == 3
    store.check()


def test_a_new_value_has_no_expiry_of_the_old_one(store):
    store.put("k", b"v", ttl=1)
    store["k"] = b"w"
    advance_clock(2)
    assert store["k"] == b"w" and store.ttl("k") is None


def test_touch(store):
    store["k"] = b"v"
    store.touch("k", 5)
    assert 4.9 < store.ttl("k") < 5.1
    store.touch("k", 50)
    assert 49 < store.ttl("k") < 51
    store.check()
    store.touch("k")
    assert store.ttl("k") is None
    store.touch("k", 5)
    store.touch("k", math.inf)
    assert store.ttl("k") is None
    with pytest.raises(KeyError):
        store.touch("other", 5)
    store.check()


def test_a_store_object_has_a_time_to_live_of_its_own():
    with mp.Arena("4M") as arena:
        short = arena.store("s", codec="none", ttl=3)
        other = arena.store("s")
        short["a"] = other["b"] = b"v"
        short.put("c", b"v", ttl=math.inf)
        assert short.setdefault("d", b"v") == b"v"
        assert short.get_or_compute("e", lambda: b"v") == b"v"
        assert {key: other.ttl(key) is None for key in other} == {
            "a": False,
            "b": True,
            "c": True,
            "d": False,
            "e": False,
        }
        short.touch("b")
        assert 2 < other.ttl("b") <= 3.1
        other.touch("b")
        assert other.ttl("b") is None


@pytest.mark.parametrize("ttl", [0, -1, math.nan, "1"])
def test_a_bad_time_to_live_changes_nothing(store, ttl):
    store["k"] = b"v"
    for call in (
        lambda: store.put("k", b"w", ttl=ttl),
        lambda: store.touch("k", ttl),
        lambda: store.arena.store("s", ttl=ttl),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()
    assert store["k"] == b"v" and store.ttl("k") is None
    store.check()


def test_the_longest_time_to_live(store):
    store.put("k", b"v", ttl=1e15)  # beyond the clock: its end
    assert store.ttl("k") > 30 * 365 * 86400
    store.put("k", b"v", ttl=1e30)
    assert store.ttl("k") is None


def test_a_value_in_parts_expires(store):
    store.put("k", bytes(300_000), ttl=1)
    assert len(store["k"]) == 300_000
    advance_clock(2)
    assert store.get("k") is None and store.expire() == 1
    store.check()


def bounded(evict, nr=100, nbytes=100):
    arena = mp.Arena("4M")
    return arena, arena.store("s", codec="none", limit=nr * nbytes, evict=evict)


def test_lru_keeps_what_was_read():
    arena, store = bounded("lru")
    with arena:
        for i in range(100):
            store[f"{i}"] = bytes(100)
        for i in range(300):
            advance_clock(0.05)
            for j in [*range(8), *range(16)]:  # a reader's look at the clock is good for 8 reads
                assert store.get(f"{j}") is not None
            store[f"new{i}"] = bytes(100)
        assert all(f"{j}" in store for j in range(16))
        assert store.stats().evictions == 300 and len(store) == 100
        store.check()


def test_lfu_keeps_what_was_read_often():
    arena, store = bounded("lfu")
    seed_draws(11)
    with arena:
        for i in range(100):
            store[f"{i}"] = bytes(100)
        for _ in range(200):
            for j in range(10):
                store[f"{j}"]
        for i in range(300):
            store[f"new{i}"] = bytes(100)
            store[f"new{i}"]
        assert all(f"{j}" in store for j in range(10))
        advance_clock(86400)  # all counts are over
        for i in range(400):
            store[f"newer{i}"] = bytes(100)
        assert sum(f"{j}" in store for j in range(10)) < 8
        store.check()


def test_ttl_evicts_what_expires_first():
    arena, store = bounded("ttl")
    with arena:
        for i in range(50):
            store[f"stays{i}"] = bytes(100)
        for i in range(50):
            store.put(f"{i}", bytes(100), ttl=1000 + i)
        for i in range(20):
            store.put(f"late{i}", bytes(100), ttl=5000)
        assert all(f"late{i}" in store for i in range(20)) and all(f"stays{i}" in store for i in range(50))
        left = [i for i in range(50) if f"{i}" in store]  # of ten that were looked at, the first went
        assert len(left) == 30 and sum(left) / 30 > 28
        for i in range(30):
            store[f"more{i}"] = bytes(100)
        for i in range(20):
            store[f"last{i}"] = bytes(100)
        with pytest.raises(mp.Exhausted, match="nothing that may be evicted"):
            store["one too many"] = bytes(100)
        assert len(store) == 100 and "one too many" not in store
        store.check()


@pytest.mark.parametrize("evict", ["none", "lru", "lfu", "ttl"])
def test_expired_entries_go_first(evict):
    arena, store = bounded(evict, nr=3)
    with arena:
        for i in range(2):
            store.put(f"{i}", bytes(100), ttl=10000)
        store.put("short", bytes(100), ttl=1)
        advance_clock(1.1)
        store["new"] = bytes(100)
        assert store.stats().evictions == 0 and store.stats().expirations == 1
        assert len(store) == 3 and all(f"{i}" in store for i in range(2))
