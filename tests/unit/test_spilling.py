"""Values in a file: read back whatever reads them, given back to memory, written anew; damage, full disks, deaths."""

import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest
from children import in_child
from fastcodec import FAST, LZ4
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import mempools as mp
from mempools import names, spilling
from mempools.check import steps
from mempools.edges import cli
from mempools.objects import storespill
from mempools.pools import hashclock

VALUES = {f"key {i}": random.Random(i).randbytes(300 + 100 * i) for i in range(20)} | {
    b"large": bytes(range(256)) * 600
}


@pytest.fixture
def store(arena, tmp_path):
    store = arena.store("s", codec="none")
    store.spill_to(tmp_path / "cold")
    return store


@pytest.fixture
def full(store):
    store.update(VALUES)
    assert store.spill().spilled == len(VALUES)
    return store


def files(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def stub_of(store, key):
    return spilling.unpack(key, store._index.get(key)[2])


def is_spilled(store, key):
    return store._index.get(key)[0] == storespill.SPILLED


def test_spilled_and_read_back(store, tmp_path):
    store.update(VALUES)
    before = store.stats()
    found = store.spill()
    nbytes = sum(map(len, VALUES.values()))
    assert (found.looked_at, found.spilled, found.spilled_bytes) == (len(VALUES), len(VALUES), nbytes)
    assert files(tmp_path) == ["cold.1"]
    assert os.stat(tmp_path / "cold.1").st_mode & 0o777 == 0o600
    stats = store.stats()
    assert (stats.count, stats.logical_bytes) == (before.count, before.logical_bytes)
    assert stats.stored_bytes == 32 * len(VALUES)
    assert (stats.spilled_count, stats.spilled_bytes) == (len(VALUES), nbytes)
    assert stats.spill_file_bytes == os.stat(tmp_path / "cold.1").st_size == nbytes + 32
    assert len(store) == len(VALUES)
    assert store.spill().spilled == 0
    store.check()
    assert dict(store) == VALUES
    assert store.stats().spilled_count == 0  # they came back, for there is room
    assert store.stats().spill_file_bytes == nbytes + 32
    store.check()


@pytest.mark.parametrize("codec", ["none", LZ4, "zstd:5"])
def test_whatever_reads(arena, tmp_path, codec):
    store = arena.store("s", codec=codec)
    store.spill_to(tmp_path / "cold")
    value = random.Random(1).randbytes(500) + bytes(3000)
    reads = {
        "[]": lambda: store["k"],
        "get": lambda: store.get("k"),
        "pop": lambda: store.pop("k"),
        "items": lambda: dict(store.items())["k"],
        "setdefault": lambda: store.setdefault("k", b"other"),
        "get_or_compute": lambda: store.get_or_compute("k", lambda: b"other"),
        "popitem": lambda: store.popitem()[1],
    }
    for name, read in reads.items():
        store["k"] = value
        assert store.spill().spilled == 1, name
        assert is_spilled(store, "k")
        assert "k" in store
        assert read() == value, name
        store.check()
    store["k"] = value
    store.spill()
    buffer = bytearray(len(value) + 5)
    assert store.get_into("k", buffer) == len(value)
    assert buffer[: len(value)] == value
    store.spill()
    with pytest.raises(ValueError, match="has 3500 bytes, the buffer only 3"):
        store.get_into("k", bytearray(3))
    del store["k"]
    assert store.get("k") is None
    assert store.pop("k", None) is None
    with pytest.raises(KeyError):
        store.pop("k")
    assert store.stats().spilled_count == 0


def test_what_is_not_worth_it_stays(store):
    store["small"] = bytes(255)
    store["x" * 1025] = bytes(5000)
    store["é" * 600] = bytes(5000)
    assert store.spill().spilled == 0
    store["k"] = bytes(256)
    store["y" * 1024] = bytes(300)
    assert store.spill().spilled == 2
    assert store["y" * 1024] == bytes(300)


def test_only_what_is_idle(store):
    store.update(a=bytes(300), b=bytes(300), c=bytes(300))
    hashclock.advance_clock(100)
    for _ in range(100):  # the clock is not looked at for each
        assert store["b"] == bytes(300)
    store["new"] = bytes(300)
    assert store.spill(idle=90).spilled == 2
    assert [key for key in "abc" if is_spilled(store, key)] == ["a", "c"]
    assert store.recompress("zstd", idle=90).recompressed == 0
    hashclock.advance_clock(100)
    assert store.recompress("zstd", idle=90).recompressed == 2
    assert store.spill(idle=90).spilled == 0  # smaller now than what is worth it
    for idle in (-1, float("nan")):
        with pytest.raises(ValueError, match="seconds"):
            store.spill(idle=idle)


def test_recompression_and_spilling_are_no_reads(store):
    store["k"] = bytes(30000) + os.urandom(300)
    hashclock.advance_clock(100)
    assert store.recompress("zstd", idle=90).recompressed == 1
    assert store.spill(idle=90).spilled == 1
    assert store.rewrite_spill() > 0
    with spilling.hold(store._index, "k") as held:
        assert held.idle > 90


def test_a_store_that_counts_reads_does_not_know_idle(arena, tmp_path):
    store = arena.store("s", codec="none", evict="lfu")
    store.spill_to(tmp_path / "cold")
    store["k"] = bytes(300)
    with pytest.raises(mp.PoolError, match="evicts by lfu"):
        store.spill(idle=1)
    assert store.spill().spilled == 1


def test_some_at_a_time(store):
    store.update(VALUES)
    assert store.spill(max_entries=3).spilled == 3
    assert store.spill(max_entries=0).spilled == 0
    assert store.spill(max_bytes=1).spilled == 1
    assert store.spill(max_bytes=2000).spilled_bytes >= 2000
    assert dict(store) == VALUES


def test_a_time_to_live_goes_on(store):
    store.put("k", bytes(300), ttl=1000)
    store.put("short", bytes(300), ttl=10)
    store.spill()
    assert 990 < store.ttl("k") <= 1001
    store.touch("k", 2000)
    hashclock.advance_clock(20)
    assert store.get("short") is None
    assert store["k"] == bytes(300)
    assert 1900 < store.ttl("k") <= 1990
    assert not is_spilled(store, "k")
    assert store.expire() == 1
    assert store.stats().spilled_count == 0
    store.check()


def test_nothing_is_evicted_for_what_comes_back(tmp_path):
    with mp.Arena("1M") as arena:
        store = arena.store("s", codec="none", limit=2000, evict="lru")
        store.spill_to(tmp_path / "cold")
        store["a"] = bytes(1500)
        store.spill()
        store["b"] = bytes(1000)
        assert store["a"] == bytes(1500)
        assert is_spilled(store, "a")
        assert set(store) == {"a", "b"}
        del store["b"]
        assert store["a"] == bytes(1500)
        assert not is_spilled(store, "a")
        store.check()


def test_comes_back_only_if_there_is_memory(tmp_path):
    with mp.Arena("1M") as arena:
        store = arena.store("s", codec="none")
        store.spill_to(tmp_path / "cold")
        store["cold"] = bytes(400_000)
        store.spill()
        with pytest.raises(mp.Exhausted):
            for i in range(1000):
                store[f"{i}"] = os.urandom(4000)
        nr = len(store)
        assert store["cold"] == bytes(400_000)
        assert is_spilled(store, "cold")
        assert len(store) == nr
        # a store that is full makes room by spilling
        assert store.spill().spilled > 50
        store["another"] = bytes(100_000)
        store.check()


def test_puts_win(store, monkeypatch):
    store["k"] = bytes(300)
    append = spilling.Files.lock

    class Between:
        def __init__(self, locked):
            self.locked = locked

        def __enter__(self):
            self.locked.__enter__()
            return self

        def __exit__(self, *what):
            return self.locked.__exit__(*what)

        def append(self, *what):
            store["k"] = b"put" * 100
            return self.locked.append(*what)

    monkeypatch.setattr(spilling.Files, "lock", lambda files, how: Between(append(files, how)))
    found = store.spill()
    assert (found.looked_at, found.spilled) == (1, 0)
    assert store["k"] == b"put" * 100
    assert store.stats().spilled_count == 0
    store.check()


# ---- the file


def test_says_where_once(store, arena, tmp_path):
    store.spill_to(tmp_path / "cold")
    store.spill_to(str(tmp_path / "cold"))
    store.spill_to(os.fsencode(tmp_path / "cold"))
    with pytest.raises(mp.PoolError, match="spills to .*cold, and to no other path"):
        store.spill_to(tmp_path / "other")
    assert files(tmp_path) == ["cold.1"]
    other = arena.store("other", codec="none")
    with pytest.raises(mp.PoolError, match="no spill file: say where"):
        other.spill()
    with pytest.raises(FileExistsError, match="this one is there"):
        other.spill_to(tmp_path / "cold")
    with pytest.raises(FileNotFoundError):
        other.spill_to(tmp_path / "nothing" / "cold")
    other.spill_to(tmp_path / "cold2")
    other["k"] = bytes(300)
    assert other.spill().spilled == 1
    assert other["k"] == bytes(300)
    assert files(tmp_path) == ["cold.1", "cold2.1"]


def test_a_relative_path_is_made_absolute(arena, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = arena.store("s", codec="none")
    store.spill_to("cold")
    store["k"] = bytes(300)
    monkeypatch.chdir("/")
    assert store.spill().spilled == 1
    assert files(tmp_path) == ["cold.1"]


def test_its_entry_is_nobodys_key(store):
    assert len(store) == 0
    assert list(store) == []
    assert store.stats().count == 0
    assert store.get(b"spill") is None


def damage(path, how, offset):
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, offset + 5)
    elif how == "changed":
        with open(path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))
    elif how == "another's":
        with open(path, "r+b") as file:
            file.write(b"garbage")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", "that file is not there"),
        ("truncated", "that file ends before"),
        ("changed", "other bytes are there now"),
        ("another's", "is not the spill file 1 of the store 's'"),
    ],
)
def test_a_damaged_file(store, tmp_path, how, says):
    store.update({"k": bytes(5000), "other": b"x" * 300})
    store.spill(max_entries=1)
    store["memory"] = bytes(300)
    key = "k" if is_spilled(store, "k") else "other"
    stub = stub_of(store, key)
    damage(tmp_path / "cold.1", how, stub.offset)
    for read in (store.__getitem__, store.get, store.pop, lambda key: store.get_into(key, bytearray(5000))):
        with pytest.raises(mp.Corrupt, match=says) as caught:
            read(key)
        if how != "another's":
            assert f"'{key}'" in str(caught.value)
            assert str(tmp_path / "cold.1") in str(caught.value)
            assert str(stub.offset) in str(caught.value)
    assert store["memory"] == bytes(300)
    assert key in store
    store["new"] = bytes(300)
    store[key] = b"put"
    assert store[key] == b"put"
    store.check()


def test_stubs_that_make_no_sense(store):
    for raw in (b"", bytes(31), bytes(33)):
        store._index.put("k", storespill.SPILLED, 5, raw)
        with pytest.raises(mp.Corrupt, match="should say where it was spilled to"):
            store["k"]
        store.check()
    rng = random.Random(3)
    for _ in range(200):
        store._index.put("k", storespill.SPILLED, 5, rng.randbytes(32))
        with pytest.raises(mp.Corrupt):
            store["k"]
        with pytest.raises(mp.Corrupt):
            store.pop("k")
        store.check()
    store["k"] = b"fine"
    assert store["k"] == b"fine"
    assert store.stats().spilled_bytes == 0


def test_a_value_of_another_key_is_damage(full):
    raw = full._index.get("key 1")[2]
    full._index.put("key 0", storespill.SPILLED, len(VALUES["key 1"]), raw)
    with pytest.raises(mp.Corrupt, match="other bytes are there now"):
        full["key 0"]


def test_spilling_where_the_file_has_gone(full, tmp_path):
    (tmp_path / "cold.1").unlink()
    full["new"] = bytes(300)
    with pytest.raises(FileNotFoundError):
        full.spill()
    assert full["new"] == bytes(300)
    full.check()


def test_a_full_disk(small_tmpfs):
    with mp.Arena.anonymous("8M") as arena:
        store = arena.store("s", codec="none")
        store.spill_to(small_tmpfs / "cold")
        values = {f"{i}": random.Random(i).randbytes(100_000) for i in range(40)}
        store.update(values)
        with pytest.raises(OSError, match=r"No space left.*cold\.1") as caught:
            store.spill()
        assert caught.value.errno == 28
        assert 10 <= store.stats().spilled_count <= 20
        assert dict(store) == values
        store.check()
        with pytest.raises(OSError, match="No space left"):
            store.spill()
        assert dict(store) == values
        store.destroy()
        assert os.listdir(small_tmpfs) == []


# ---- written anew


def test_written_anew(full, tmp_path):
    for i in range(0, 20, 2):
        del full[f"key {i}"]
    before = full.stats()
    size = os.stat(tmp_path / "cold.1").st_size
    with open(tmp_path / "cold.1", "rb") as kept:
        assert full.rewrite_spill() == size
        assert os.fstat(kept.fileno()).st_size == 0  # whoever has it open keeps no disk space
    assert files(tmp_path) == ["cold.2"]
    stats = full.stats()
    assert (stats.spilled_count, stats.spilled_bytes) == (before.spilled_count, before.spilled_bytes)
    assert stats.spill_file_bytes == os.stat(tmp_path / "cold.2").st_size == stats.spilled_bytes + 32
    full.check()
    assert dict(full) == {key: value for key, value in VALUES.items() if key in full}
    assert full.rewrite_spill() > 0
    assert full.stats().spill_file_bytes == 32


def test_written_anew_by_itself(store, tmp_path):
    store.update({f"{i}": random.Random(i).randbytes(6000) for i in range(100)})
    freed = 0
    for _ in range(4):
        freed += store.spill().file_freed_bytes
        for i in range(100):
            assert store[f"{i}"] == random.Random(i).randbytes(6000)
    assert freed > 1 << 20
    assert len(files(tmp_path)) == 1
    store.check()


def test_who_has_read_finds_the_new_file(full, tmp_path):
    """A reader between its look at the key and its read of the file."""
    raw = {key: full._index.get(key) for key in VALUES}
    assert full.rewrite_spill() > 0
    del full["key 3"]
    full["key 4"] = b"put"
    for key, (_, nbytes, stub) in raw.items():
        if key == "key 3":
            with pytest.raises(KeyError):
                spilling.fetch(full, key, nbytes, stub)
        elif key == "key 4":
            assert spilling.fetch(full, key, nbytes, stub) == (0, 3, b"put")
        else:
            assert spilling.fetch(full, key, nbytes, stub) == (0, len(VALUES[key]), VALUES[key])


def test_popping_beside_writing_anew(full):
    keys = list(VALUES)
    for key in keys:
        with steps.call_at(3, lambda: full.rewrite_spill()):
            assert full.pop(key) == VALUES[key]
    assert len(full) == 0
    full.check()


def test_what_cannot_be_read_keeps_the_old_file(full, tmp_path):
    damage(tmp_path / "cold.1", "changed", stub_of(full, "key 5").offset)
    assert full.rewrite_spill() == 0
    assert files(tmp_path) == ["cold.1", "cold.2"]
    with pytest.raises(mp.Corrupt, match=r"cold\.1 at offset"):
        full["key 5"]
    for key in VALUES:
        if key != "key 5":
            assert full[key] == VALUES[key]
    full["key 5"] = b"put"
    assert full.rewrite_spill() > 0
    assert files(tmp_path) == ["cold.3"]


def test_other_files_stay(full, tmp_path):
    for name in ("cold", "cold.7", "cold.x", "cold.01", "other.1"):
        (tmp_path / name).write_bytes(b"somebody's")
    full.rewrite_spill()
    full.destroy()
    assert files(tmp_path) == ["cold", "cold.01", "cold.7", "cold.x", "other.1"]


# ---- others


def test_other_processes_find_it_by_themselves(full):
    def child():
        assert full["key 1"] == VALUES["key 1"]
        store = full.arena.store("s")
        assert dict(store) == VALUES
        full.spill()
        full.rewrite_spill()

    assert in_child(child) == 0
    assert dict(full) == VALUES
    full.check()


def test_by_name_and_pickled(tmp_path):
    program = (
        "import mempools, pickle, sys; s = pickle.loads(bytes.fromhex(sys.argv[1])); "
        "assert s['k'] == bytes(300); assert s.spill().spilled == 1; s['other'] = b'x' * 300; print(len(s))"
    )
    with mp.Arena.create("spilled", "1M", persist=True) as arena:
        store = arena.store("s", codec="none")
        store.spill_to(tmp_path / "cold")
        store["k"] = bytes(300)
        store.spill()
        pickled = pickle.dumps(store).hex()
        assert subprocess.run([sys.executable, "-c", program, pickled], capture_output=True, text=True).stdout == "2\n"
        assert pickle.loads(bytes.fromhex(pickled))["k"] == bytes(300)
        assert dict(store) == {"k": bytes(300), "other": b"x" * 300}
        store.check()
        mp.Arena.unlink("spilled")
    assert files(tmp_path) == ["cold.1"]  # nobody has said that it is to go


def test_a_snapshot_has_the_values(full, tmp_path):
    assert full.save(tmp_path / "snapshot") == len(VALUES)
    assert full.stats().spilled_count == len(VALUES)  # none came back for it
    with mp.Arena("1M") as another:
        other = another.store("other", codec="none")
        assert other.load(tmp_path / "snapshot") == len(VALUES)
        assert dict(other) == VALUES


def test_a_dictionary_is_trained_on_what_is_in_memory(arena, tmp_path):
    pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    store = arena.store("s", codec="zstd")
    store.spill_to(tmp_path / "cold")
    rng = random.Random(1)
    store.update(
        {f"{i}": b'{"name": "x", "number": %d, "more": [1, 2]}' % rng.randrange(10**9) * 3 for i in range(300)}
    )
    store["big"] = rng.randbytes(5000)
    assert store.spill().spilled == 1
    assert store.train(nbytes=512) == 1
    assert is_spilled(store, "big")
    assert store.recompress("zstd").recompressed > 200
    assert store.recompress("zstd").looked_at == 301
    assert store["5"].startswith(b'{"name"')
    assert store["big"] == random.Random(1).randbytes(0) or len(store["big"]) == 5000


def test_threads(full):
    """Readers, a writer and spillers: every value is whole."""
    stop = threading.Event()
    wrong = []

    def read(seed):
        rng = random.Random(seed)
        while not stop.is_set():
            key = rng.choice(list(VALUES))
            value = full.get(key)
            if value not in (VALUES[key], None):
                wrong.append(key)

    def write():
        rng = random.Random(5)
        while not stop.is_set():
            key = rng.choice(list(VALUES))
            if full.pop(key, VALUES[key]) != VALUES[key]:
                wrong.append(key)
            full[key] = VALUES[key]

    threads = [threading.Thread(target=read, args=(i,)) for i in range(3)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for i in range(15):
        full.spill()
        if i % 3 == 0:
            full.rewrite_spill()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    full.check()


# ---- deaths


def worth_a_death(traced):
    """Most steps are a scan's, over and over: of what is done more often than eight times, the first two."""
    counts, seen, found = Counter(traced), Counter(), []
    for n, step in enumerate(traced, 1):
        seen[step] += 1
        if counts[step] <= 8 or seen[step] <= 2:
            found.append(n)
    assert len(found) > 20
    return found


def moved(store):
    assert store["k"] == OLD


OLD = b"value" * 100
DYING = {
    "spill": (False, lambda store: store.spill(), {OLD}),
    "read": (True, moved, {OLD}),
    "rewrite": (True, lambda store: store.rewrite_spill(), {OLD}),
    "pop": (True, lambda store: store.pop("k"), {OLD, None}),
    "put": (True, lambda store: store.__setitem__("k", b"new"), {OLD, b"new"}),
    "recompress": (False, lambda store: store.recompress("zstd"), {OLD}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("spill", "pop") else [pytest.mark.slow]) for name in DYING]
)
def test_killed_at_each_step(name, tmp_path):
    spilled, operation, allowed = DYING[name]
    seen = set()
    with mp.Arena.anonymous("1M") as arena:
        store = arena.store("s", codec="none")
        store.spill_to(tmp_path / "cold")
        store["other"] = bytes(1000)
        store.spill()

        def work(n):
            with steps.kill_at(n):
                operation(store)

        def prepare():
            store["k"] = OLD
            if spilled:
                store.spill()

        prepare()
        with steps.trace() as traced:
            operation(store)
        for n in [*worth_a_death(traced.steps), 1 << 30]:
            prepare()
            status = in_child(lambda n=n: work(n))
            arena.recover()
            store.check()
            found = store.get("k")
            assert found in allowed, f"killed at step {n}"
            seen.add(found)
            assert store["other"] == bytes(1000)
            assert status in (0, -signal.SIGKILL)
        assert status == 0
        assert seen == allowed
        store.rewrite_spill()
        assert len(files(tmp_path)) == 1
        assert store["other"] == bytes(1000)
        store.check()


@pytest.mark.slow
def test_killed_while_it_says_where(tmp_path):
    with mp.Arena.anonymous("1M") as arena:
        for n in range(1, 1000):
            store = arena.store(f"s{n % 7}", codec="none")
            path = tmp_path / f"cold{n}"

            def work(n=n, store=store, path=path):
                with steps.kill_at(n):
                    store.spill_to(path)

            status = in_child(work)
            arena.recover()
            store.check()
            try:
                store.spill_to(path)
            except FileExistsError:  # killed before the store knew it
                store.spill_to(f"{path}again")
            store["k"] = OLD
            assert store.spill().spilled == 1
            assert store["k"] == OLD
            store.destroy()
            if status == 0:
                break
        assert n > 5


# ---- the command line


def run(capfdbinary, *args):
    status = cli.main(list(args))
    return status, capfdbinary.readouterr()


@pytest.fixture
def named(tmp_path):
    arena = mp.Arena.create("named", "1M", persist=True)
    store = arena.store("s", codec=FAST)
    store.update({f"{i}": bytes(100) + os.urandom(400) for i in range(10)})
    yield store
    arena.close()
    try:
        mp.Arena.unlink("named")
    except FileNotFoundError:
        pass


def test_commands(named, capfdbinary, tmp_path):
    values = dict(named)
    status, said = run(capfdbinary, "spill", "named", "--to", str(tmp_path / "cold"))
    assert (status, said.err) == (0, b"")
    assert re.fullmatch(rb"named: 10 of 10 values spilled, [34]\.\d+ KiB\n", said.out)
    status, said = run(capfdbinary, "spill", "named", "s", "--idle", "1000", "--json")
    assert status == 0
    assert b'"spilled": 0' in said.out
    status, said = run(capfdbinary, "stat", "named")
    assert re.search(rb"  spilled +[34]\.\d+ KiB  of 10 values, in a file of [34]\.\d+ KiB\n", said.out)
    status, said = run(capfdbinary, "stat", "named", "--json")
    assert b'"spilled_count": 10' in said.out
    assert dict(named) == values
    status, said = run(capfdbinary, "recompress", "named", "--codec", "zstd:19")
    assert status == 0
    assert said.out.startswith(b"named: ")
    assert dict(named) == values
    for wrong in (["spill", "named", "none"], ["recompress", "named", "--codec", "no"], ["spill", "nothing"]):
        status, said = run(capfdbinary, *wrong)
        assert status == 1
        assert said.err.startswith(b"mempools: ")
    with pytest.raises(SystemExit):
        cli.main(["spill", "named", "--idle", "-1"])


def test_rm_takes_the_file_away(named, capfdbinary, tmp_path):
    named.spill_to(tmp_path / "cold")
    assert named.spill().spilled == 10
    named.arena.close()
    assert run(capfdbinary, "rm", "named")[0] == 0
    assert files(tmp_path) == []


def test_rm_leaves_what_another_process_reads(named, capfdbinary, tmp_path):
    named.spill_to(tmp_path / "cold")
    named.spill()
    values = dict.fromkeys(named)
    program = "from mempools.edges import cli; raise SystemExit(cli.main(['rm', 'named']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0
    assert re.fullmatch(rb"mempools: \S+/cold\.1 stays: another process .*\n", done.stderr)
    assert all(named[key] is not None for key in values)
    assert files(tmp_path) == ["cold.1"]


def test_rm_of_what_is_no_arena(capfdbinary):
    with open(names.path_of("garbage"), "wb") as file:
        file.write(b"garbage")
    assert run(capfdbinary, "rm", "garbage")[0] == 0
    assert run(capfdbinary, "rm", "garbage")[0] == 1


# ---- against a dict


KEYS = st.sampled_from([f"k{i}" for i in range(6)] + [b"k0", b"b"])
SIZES = st.sampled_from([0, 10, 255, 256, 300, 4000, 5000, 70_000])


class Spilling(RuleBasedStateMachine):
    @initialize(codec=st.sampled_from(["none", FAST]), limit=st.sampled_from([None, 150_000]))
    def begin(self, codec, limit):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.arena = mp.Arena("2M")
        self.store = self.arena.store("s", codec=codec, limit=limit)
        self.store.spill_to(f"{self.folder.name}/cold")
        self.model = {}
        self.number = 0

    @rule(key=KEYS, nbytes=SIZES)
    def put(self, key, nbytes):
        self.number += 1
        value = random.Random(self.number).randbytes(nbytes // 2) + bytes(nbytes - nbytes // 2)
        try:
            self.store[key] = value
        except mp.Exhausted:
            return
        self.model[key] = value

    @rule(key=KEYS)
    def get(self, key):
        assert self.store.get(key) == self.model.get(key)

    @rule(key=KEYS)
    def get_into(self, key):
        if key in self.model:
            buffer = bytearray(80_000)
            assert buffer[: self.store.get_into(key, buffer)] == self.model[key]

    @rule(key=KEYS)
    def pop(self, key):
        assert self.store.pop(key, None) == self.model.pop(key, None)

    @rule(key=KEYS)
    def delete(self, key):
        if key in self.model:
            del self.store[key], self.model[key]

    @rule(nr=st.sampled_from([1, 3, None]))
    def spill(self, nr):
        self.store.spill(max_entries=nr)

    @rule(codec=st.sampled_from(["zstd", "zstd:10", FAST]))
    def recompress(self, codec):
        self.store.recompress(codec)

    @rule()
    def rewrite(self):
        self.store.rewrite_spill()

    @rule()
    def compact(self):
        self.store.compact()

    @rule()
    def all(self):
        assert dict(self.store) == self.model

    @invariant()
    def agrees(self):
        if hasattr(self, "store"):
            assert len(self.store) == len(self.model)
            self.store.check()
            stats = self.store.stats()
            assert stats.logical_bytes == sum(map(len, self.model.values()))
            assert stats.spilled_bytes + 32 <= stats.spill_file_bytes

    def teardown(self):
        if hasattr(self, "store"):
            assert dict(self.store) == self.model
            self.store.destroy()
            assert os.listdir(self.folder.name) == []
            self.arena.close()
            self.folder.cleanup()


Spilling.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_against_a_dict = Spilling.TestCase


def test_values_of_namespaces_are_cold_values_too(tmp_path):
    with mp.Arena("4M") as arena:
        store = arena.store("s", codec="none")
        users = store.namespace("users")
        values = {f"k{i}": bytes([i]) * 3000 for i in range(20)} | {b"k1": b"bytes" * 300}
        users.update(values)
        store["k1"] = b"own" * 500
        store.spill_to(tmp_path / "spill")
        assert store.spill().spilled == len(values) + 1
        assert store.stats().spilled_count == len(values) + 1
        store.save(tmp_path / "snapshot")
        assert store.stats().spilled_count == len(values) + 1
        buffer = bytearray(3000)
        assert users.get_into("k2", buffer) == 3000 and buffer == values["k2"]
        assert users.pop("k3") == values.pop("k3")
        with pytest.raises(KeyError, match="^'k3'$"):
            users["k3"]
        assert store.spill().spilled == 1  # what was read had come back
        store.rewrite_spill()
        assert dict(users) == values and dict(store) == {"k1": b"own" * 500}
        assert store.stats().spilled_count == 0
        store.check()
        again = mp.Store.restore(tmp_path / "snapshot", arena, "again")
        assert dict(again.namespace("users")) == values | {"k3": bytes([3]) * 3000}


def test_values_of_namespaces_are_recompressed_too():
    pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    with mp.Arena("4M") as arena:
        store = arena.store("s", codec="none")
        users = store.namespace("users")
        users["k"] = store["k"] = b"the same again and again " * 100
        assert store.recompress("zstd").recompressed == 2
        assert users["k"] == store["k"] == b"the same again and again " * 100
        store.check()
