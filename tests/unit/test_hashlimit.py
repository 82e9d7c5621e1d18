"""A store's limit: what it refuses, who goes for it, and what a death leaves of the count."""

import gc
import pickle
import time

import pytest
from fastcodec import FAST
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_hashindex import dies_at

import mempools as mp
from mempools.pools.hashclock import advance_clock, seed_draws


def full(evict, nr=10, nbytes=1000, size="4M"):
    arena = mp.Arena.anonymous(size)
    store = arena.store("s", codec="none", limit=nr * nbytes, evict=evict)
    for i in range(nr):
        store[f"{i}"] = bytes(nbytes)
    return arena, store


def test_without_eviction_what_is_too_much_changes_nothing():
    arena, store = full("none")
    with arena:
        for key in ("new", "0"):
            with pytest.raises(mp.Exhausted, match="10000 of the 10000 bytes"):
                store[key] = bytes(1001 if key == "0" else 1)
        with pytest.raises(mp.Exhausted, match="10000 of the 10000 bytes"):
            store.setdefault("new", b"v")
        store["empty"] = b""
        store["0"] = bytes(1000)
        store["0"] = bytes(500)
        store["1"] = bytes(1500)
        assert len(store) == 11 and store.stats().stored_bytes == 10000
        assert store.stats().evictions == 0
        store.check()


@pytest.mark.parametrize("evict", ["none", "lru", "lfu", "ttl"])
def test_a_value_beyond_the_limit_evicts_nothing(evict):
    arena, store = full(evict)
    with arena:
        for key in ("new", "0"):
            with pytest.raises(mp.Exhausted, match="10001 bytes.* larger than the store's limit of 10000"):
                store[key] = bytes(10001)
        assert len(store) == 10 and store["0"] == bytes(1000)
        store.check()


@pytest.mark.parametrize("evict", ["lru", "lfu"])
def test_others_go(evict):
    arena, store = full(evict)
    with arena:
        for i in range(100):
            store[f"new{i}"] = bytes(400 + 13 * i)
            assert f"new{i}" in store
            assert store.stats().stored_bytes <= 10000
        store["all"] = bytes(10000)
        assert list(store) == ["all"]
        store.check()


def test_what_is_stored_counts_and_not_what_was_put():
    with mp.Arena("4M") as arena:
        store = arena.store("s", codec=FAST, limit=10000)
        store["k"] = bytes(1 << 20)
        assert store.stats().stored_bytes < 10000
        store.check()


def test_dictionaries_do_not_count():
    from mempools.objects.reservedkey import ReservedKey

    arena, store = full("lru")
    with arena:
        store._index.put(ReservedKey(b"dictionary 1"), 0, 20000, bytes(20000))
        assert store.stats().stored_bytes == 10000 and len(store) == 10
        for i in range(100):
            store[f"new{i}"] = bytes(1000)
        assert store._index.contains(ReservedKey(b"dictionary 1"))
        assert store.stats().dictionary_bytes == 20000
        store.check()


def test_who_makes_the_store_chooses():
    with mp.Arena("4M") as arena:
        store = arena.store("s", codec="none", limit="64K", evict="lru")
        assert (store.limit, store.evict) == (65536, "lru") == (arena.store("s").limit, arena.store("s").evict)
        assert arena.store("s", limit=65536, evict="lru").limit == 65536
        with pytest.raises(mp.LayoutMismatch, match="a limit of 65536 bytes, not of 1000"):
            arena.store("s", limit=1000)
        with pytest.raises(mp.LayoutMismatch, match="evicts 'lru', not 'lfu'"):
            arena.store("s", evict="lfu")
        free = arena.store("free", codec="none")
        assert (free.limit, free.evict) == (None, "none")
        with pytest.raises(mp.LayoutMismatch, match="no limit, not of 1000"):
            arena.store("free", limit=1000)
        for bad in ({"limit": 0}, {"limit": 1 << 56}, {"evict": "fifo"}):
            with pytest.raises(ValueError, match="size|limit|evict"):
                arena.store("bad", **bad)


def test_pickled_with_its_time_to_live():
    with mp.Arena.anonymous("4M") as arena:
        store = arena.store("s", codec="none", limit=1000, evict="lru", ttl=5)
        again = pickle.loads(pickle.dumps(store))
        again["k"] = b"v"
        assert again.limit == 1000 and store.ttl("k") < 6


@pytest.mark.parametrize("where", ["arena", "size"])
def test_a_full_arena_evicts(where):
    with mp.Arena("2M") as arena:
        store = arena.store("s", codec="none", evict="lru", size="1M" if where == "size" else None)
        for i in range(3000):
            store[f"{i}"] = bytes(300 + i)
            assert f"{i}" in store
        store["large"] = bytes(300_000)
        assert store.stats().evictions > 1000
        store.check()


def test_a_full_arena_takes_expired_entries_away():
    with mp.Arena("2M") as arena:
        store = arena.store("s", codec="none", ttl=1)
        nr = 0
        with pytest.raises(mp.Exhausted):
            while True:
                store[f"{nr}"] = bytes(2000)
                nr += 1
        advance_clock(2)
        for i in range(nr // 2):
            store[f"new{i}"] = bytes(2000)
        assert store.stats().expirations > 0
        store.check()


def test_load_into_a_smaller_limit(tmp_path, monkeypatch):
    arena, store = full("lru")
    with arena:
        del store["0"]  # room for both
        store.put("short", b"v", ttl=100)
        store.put("over", b"v", ttl=1)
        store.save(tmp_path / "f")
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 2)  # while the values are in the file
        other = mp.Store.restore(tmp_path / "f", arena, "other", limit=3000, evict="lru")
        assert other.stats().stored_bytes <= 3000 and other.evict == "lru"
        third = mp.Store.restore(tmp_path / "f", arena, "third")
        assert (
            90 < third.ttl("short") < 101
            and "over" not in third
            and all(third.ttl(key) is None for key in third if key != "short")
        )
        third.check()


# ---- deaths


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", ["insert", "grow", "shrink", "delete", "evict", "touch", "expire"])
def test_killed_at_every_step(what, stride):
    """`bytes` is never too low, and right again when it is needed."""
    gc.collect()
    arena, store = full("lru")
    with arena:
        n = 1
        while True:
            store["1"] = bytes(1000)
            store["k"] = bytes(500)
            store.put("over", b"v", ttl=1)
            advance_clock(1.1)
            seed_draws(7)
            if what not in ("evict", "expire"):
                store.pop("2", None)
                store.expire()
            operation = {
                "insert": lambda: store.put("new", bytes(400)),
                "grow": lambda: store.put("k", bytes(900)),
                "shrink": lambda: store.put("k", bytes(100)),
                "delete": lambda: store.pop("k"),
                "evict": lambda: store.put("new", bytes(900)),
                "touch": lambda: store.touch("k", 5),
                "expire": store.expire,
            }[what]
            died = dies_at(n, operation)
            assert store.stats().stored_bytes <= 10000
            arena.recover()
            assert sum(map(len, store.values())) <= 10000
            store.check()
            for i in range(3):
                store[f"fill{i}"] = bytes(3333)  # needs what the death has left too much
            store.check()
            assert sum(map(len, store.values())) <= 10000
            for i in range(3):
                store.pop(f"fill{i}", None)
            if not died:
                break
            n += stride
        assert n > 15


WINDOWS = ["D:hashcommit.counted", "D:hashcommit.committed", "D:hashcommit.given"]


@pytest.mark.parametrize("site", WINDOWS)
def test_a_store_that_evicts_nothing_counts_again(site):
    arena, store = full("none")
    with arena:
        del store["0"]
        assert dies_at(1, lambda: store.put("new", bytes(1000)), op="window", site=site)
        store.pop("new", None)
        store["0"] = bytes(1000)  # else it would be Exhausted
        assert store.stats().stored_bytes == 10000
        store.check()


def test_killed_while_it_counts_again():
    arena, store = full("none")
    with arena:
        del store["0"]
        assert dies_at(1, lambda: store.put("new", bytes(1000)), op="window", site="D:hashcommit.counted")
        arena.recover()
        assert dies_at(1, lambda: store.put("0", bytes(1000)), op="window", site="D:hashlimit.counted")
        store["0"] = bytes(1000)
        store.check()


def test_killed_while_an_entry_gets_an_expiry():
    arena, store = full("none")
    with arena:
        assert dies_at(1, lambda: store.touch("0", 5), op="window", site="D:hashcommit.expiry")
        arena.recover()
        assert store.ttl("0") < 6
        store.check()
        store.touch("0")
        store.check()


# ---- beside a model


class AgainstADict(RuleBasedStateMachine):
    """What is in the store is what was put last; what is not may have been evicted, if that was necessary."""

    @initialize(evict=st.sampled_from(["none", "lru", "lfu", "ttl"]))
    def start(self, evict):
        self.arena = mp.Arena("2M")
        self.store = self.arena.store("s", codec="none", limit=5000, evict=evict)
        self.model = {}
        self.now = 0.0

    def live(self):
        return {key: value for key, (value, end) in self.model.items() if end > self.now}

    @rule(key=st.integers(0, 30).map(str), nbytes=st.integers(0, 3000), ttl=st.sampled_from([None, 5.0, 500.0]))
    def put(self, key, nbytes, ttl):
        value = key.encode() + bytes(nbytes)
        before = set(self.store)
        evictions = self.store.stats().evictions
        fits = sum(map(len, (self.live() | {key: value}).values())) <= 5000
        try:
            self.store.put(key, value, ttl=ttl)
        except mp.Exhausted:
            assert not fits and self.store.evict in ("none", "ttl")
            assert (key in before) >= (key in self.store)
        else:
            self.model[key] = (value, self.now + ttl if ttl else float("inf"))
            assert self.store[key] == value
        if fits:
            assert self.store.stats().evictions == evictions
        self.forget()

    def forget(self):
        for key in set(self.live()) - set(self.store):
            del self.model[key]

    @rule(key=st.integers(0, 30).map(str))
    def delete(self, key):
        assert self.store.pop(key, None) == self.live().get(key)
        self.model.pop(key, None)

    @rule(key=st.integers(0, 30).map(str), ttl=st.sampled_from([None, 5.0, 500.0]))
    def touch(self, key, ttl):
        if key in self.live():
            self.store.touch(key, ttl)
            self.model[key] = (self.model[key][0], self.now + ttl if ttl else float("inf"))
        else:
            with pytest.raises(KeyError):
                self.store.touch(key, ttl)

    @rule(key=st.integers(0, 30).map(str))
    def setdefault(self, key):
        if key in self.live():
            assert self.store.setdefault(key, b"") == self.model[key][0]
        else:
            assert self.store.setdefault(key, b"") == b""
            self.model[key] = (b"", float("inf"))

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def wait(self, seconds):
        advance_clock(seconds)
        self.now += seconds

    @rule()
    def expire(self):
        self.store.expire()
        assert len(self.store) == len(self.live())

    @invariant()
    def they_agree(self):
        if hasattr(self, "store"):
            assert dict(self.store.items()) == self.live()
            assert self.store.stats().stored_bytes <= 5000

    def teardown(self):
        if hasattr(self, "store"):
            self.store.check()
            self.arena.close()


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
