"""The store between processes: readers beside writers, and writers that are killed."""

import os
import random
import signal
import time

import pytest

import mempools as mp
from mempools.objects import storescan


@pytest.fixture
def store():
    with mp.Arena.anonymous("16M") as arena:
        yield arena.store("s", codec="none")


def forked(work):
    """Runs work() in a child; its exit status says whether it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def value_of(key, version, rng):
    """A value that says what it is, all over: a mixture of two would show."""
    word = f"{key}:{version};".encode()
    return word * rng.choice([1, 7, 300, 3000])


def is_whole(key, value):
    word = value[: value.index(b";") + 1]
    return word.startswith(f"{key}:".encode()) and word * (len(value) // len(word)) == value


KEYS = [f"key{i}" for i in range(12)]


def write_for_ever(store, seed):
    rng = random.Random(seed)
    version = 0
    while True:
        version += 1
        key = rng.choice(KEYS)
        if rng.random() < 0.1:
            store.pop(key, None)
        else:
            store[key] = value_of(key, version, rng)


def test_a_child_sees_what_the_parent_wrote_and_the_other_way(store):
    store["k"] = b"parent"

    def work():
        assert store["k"] == b"parent"
        store["k"] = b"child"
        store["new"] = b"n"

    assert ended(forked(work)) == 0
    assert store["k"] == b"child" and len(store) == 2
    store.check()


def test_a_store_without_any_room_is_read_and_emptied_by_a_new_process(store):
    """Reading and deleting take no memory of the arena."""
    nr = 0
    with pytest.raises(mp.Exhausted):
        while True:
            store[str(nr)] = bytes(4000)
            nr += 1
    with pytest.raises(mp.Exhausted):
        while True:
            store[f"small{nr}"] = b"x"
            nr += 1
    keys = list(store)

    def work():
        for key in keys:
            assert store[key] in (bytes(4000), b"x")
            del store[key]

    assert ended(forked(work)) == 0
    assert len(store) == 0
    store.check()


def test_a_private_arena_is_a_copy_in_a_child():
    with mp.Arena("2M") as arena:
        store = arena.store("s", codec="none")
        store["k"] = b"parent"

        def work():
            assert store["k"] == b"parent"
            store["k"] = b"child"
            del store["k"]
            store.check()

        assert ended(forked(work)) == 0
        assert store["k"] == b"parent"
        store.check()


def test_readers_beside_a_writer(store):
    writer = forked(lambda: write_for_ever(store, 1))
    try:

        def read():
            seen = 0
            while seen < 5000:
                for key in KEYS:
                    value = store.get(key)
                    if value is not None:
                        assert is_whole(key, value), value[:50]
                        seen += 1

        assert ended(forked(read)) == 0
        buffer = bytearray(60_000)
        seen = 0
        while seen < 2000:
            for key in KEYS:
                try:
                    nbytes = store.get_into(key, buffer)
                except KeyError:
                    continue
                assert is_whole(key, bytes(buffer[:nbytes]))
                seen += 1
        for _ in range(50):
            assert set(store) <= set(KEYS)
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    store.arena.recover()
    store.check()


def test_a_large_value_is_read_whole_from_a_stripe_that_never_rests():
    """The reader's copy takes longer than the writer's pause: it must take the lock to get it."""
    from mempools import codecs
    from mempools.objects.storeindex import open_index

    with mp.Arena.anonymous("16M") as arena:
        store = mp.Store(open_index(arena, arena._mapping, "s", 0, True), codecs.get("none"))
        large = b"large:1;" * (1 << 18)
        store["large"] = large

        def write():
            while True:
                store["small"] = b"x"

        writer = forked(write)
        try:
            for _ in range(20):
                assert store["large"] == large
                buffer = bytearray(len(large))
                assert store.get_into("large", buffer) == len(large)
                assert buffer == large
                assert sorted(store) in (["large"], ["large", "small"])
        finally:
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
        store["small"] = b"after"
        store.check()


@pytest.mark.parametrize("kill_rounds", [40, pytest.param(1500, marks=pytest.mark.slow)])
def test_writers_killed_again_and_again(store, kill_rounds):
    """Readers see whole values, the other writer goes on, nothing leaks, nobody hangs."""
    rng = random.Random(5)
    reports, report = os.pipe()

    def keep_writing():
        mine = random.Random(99)
        version = 0
        while os.read(reports, 1) != b"e":
            version += 1
            for key in KEYS:
                store[key] = value_of(key, version, mine)
                assert is_whole(key, store.get(key) or value_of(key, version, mine))

    survivor = forked(keep_writing)
    os.close(reports)
    try:
        for round in range(kill_rounds):
            victim = forked(lambda seed=round: write_for_ever(store, seed))
            os.write(report, b"g")
            deadline = time.monotonic() + rng.random() * 0.01
            while time.monotonic() < deadline:
                for key in KEYS:
                    value = store.get(key)
                    assert value is None or is_whole(key, value)
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            for key in KEYS:  # each must be writable now, whoever held what
                store[key] = value_of(key, 0, rng)
            if round % 10 == 0:
                assert storescan.check(store._index) == [] or store.arena.recover() >= 0
    finally:
        os.write(report, b"e")
        os.close(report)
        assert ended(survivor) == 0
    store.arena.recover()
    store.check()
    store.clear()
    stats = store.stats()
    assert (stats.count, stats.logical_bytes, stats.stored_bytes) == (0, 0, 0)
    store["all of it"] = bytes(10 << 20)  # nothing was lost to the dead
    store.check()


@pytest.mark.parametrize("kill_rounds", [15, pytest.param(400, marks=pytest.mark.slow)])
def test_writers_killed_while_the_index_grows_and_compaction_runs(store, kill_rounds):
    """Of the keys that a killed writer put one after another, the first ones are there, whole, and no others."""
    rng = random.Random(6)

    def write(round):
        mine = random.Random(round)
        i = 0
        while True:
            store[f"{round}.{i}"] = value_of(f"{round}.{i}", 0, mine)[:900]
            i += 1

    for round in range(kill_rounds):
        victim = forked(lambda round=round: write(round))
        deadline = time.monotonic() + rng.random() * 0.03
        while time.monotonic() < deadline:
            if rng.random() < 0.3:
                store.compact()
            value = store.get(f"{round}.0")
            assert value is None or value.startswith(f"{round}.0:".encode())
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        store.arena.recover()
        store.check()
        done = 0
        while f"{round}.{done}" in store:
            done += 1
        assert sorted(int(key.split(".")[1]) for key in store) == list(range(done))
        for i in range(done):
            assert store.pop(f"{round}.{i}").startswith(f"{round}.{i}:".encode())
    assert len(store) == 0
    assert store._index.stats().objects == 0


def test_spawned_process_finds_the_store_by_name():
    import subprocess
    import sys

    with mp.Arena.create("store-by-name", "4M") as arena:
        try:
            arena.store("s", codec="none")["k"] = b"from the parent"
            code = (
                "import mempools as mp; s = mp.Store.attach('store-by-name'); "
                "assert s['k'] == b'from the parent'; s['answer'] = b'from the child'"
            )
            subprocess.run([sys.executable, "-c", code], check=True)
            assert mp.Store.attach("store-by-name")["answer"] == b"from the child"
        finally:
            mp.Arena.unlink("store-by-name")
