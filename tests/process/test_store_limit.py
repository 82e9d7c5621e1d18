"""A store at its limit between processes: writers that evict for each other, and one that is killed again and again."""

import contextlib
import os
import random
import signal
import time

import pytest
from children import start, status_of
from soaking import Soak

import mempools as mp

LIMIT = 60_000
KEYS = [f"key{i}" for i in range(80)]


def write_for_ever(store, seed):
    rng = random.Random(seed)
    while True:
        key = rng.choice(KEYS)
        dice = rng.random()
        if dice < 0.05:
            store.pop(key, None)
        elif dice < 0.1:
            with contextlib.suppress(KeyError):
                store.touch(key, rng.choice([0.05, 60]))
        elif dice < 0.12:
            store.expire()
        elif dice < 0.5:
            found = store.get(key)
            assert not found or set(found) == {len(key)}
        else:
            store.put(key, bytes([len(key)]) * rng.randrange(6000), ttl=rng.choice([None, 0.02, 60]))


def is_within(store):
    assert sum(len(value) for value in store.values()) <= LIMIT
    assert store.stats().stored_bytes <= LIMIT


@pytest.mark.parametrize("evict", ["lru", "lfu"])
def test_writers_at_the_limit_and_one_that_dies(evict):
    rng = random.Random(evict)
    with mp.Arena.anonymous("1M") as arena:
        store = arena.store("s", codec="none", limit=LIMIT, evict=evict)
        writers = [start(lambda seed=seed: write_for_ever(store, seed)) for seed in range(3)]
        for turn in range(8):
            victim = start(lambda turn=turn: write_for_ever(store, 100 + turn))
            time.sleep(rng.uniform(0.01, 0.05))
            os.kill(victim, signal.SIGKILL)
            assert status_of(victim) == -signal.SIGKILL
            for pid in writers:
                os.kill(pid, signal.SIGSTOP)
                os.waitpid(pid, os.WUNTRACED)
            # A writer that was stopped may have a lock: this takes none.
            assert store.stats().stored_bytes <= LIMIT
            for pid in writers:
                os.kill(pid, signal.SIGCONT)
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
            assert status_of(pid) == -signal.SIGKILL
        arena.recover()
        is_within(store)
        store.check()
        assert store.stats().evictions > 0
        for i in range(100):
            store[f"after{i}"] = bytes(1000)
        assert store.stats().stored_bytes > LIMIT - 7000  # nothing is lost of the limit
        store.check()


@pytest.mark.slow
@pytest.mark.kill
@pytest.mark.parametrize("evict", ["lru", "ttl"])
def test_soak(evict, soak_seconds):
    with mp.Arena.anonymous("1M") as arena:
        store = arena.store("s", codec="none", limit=LIMIT, evict=evict)

        def write(seed):
            while True:
                with contextlib.suppress(mp.Exhausted):
                    write_for_ever(store, seed)
                seed += 1

        roles = {"first": write, "second": write, "third": write, "compactor": lambda seed: compact_for_ever(store)}
        soak = Soak(arena, roles, lambda: is_within(store), 5)
        soak.run(soak_seconds)
        print(soak)


def compact_for_ever(store):
    while True:
        store.compact()
        assert store.stats().stored_bytes <= LIMIT
