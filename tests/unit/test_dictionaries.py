"""Trained dictionaries: numbered, immutable, kept in the store, found by every process."""

import json
import os
import random
import threading

import pytest
from children import in_child, start, status_of, until
from fastcodec import LZ4

import mempools as mp
from mempools import dictionaries
from mempools.check import steps
from mempools.codecs import UnknownCodec
from mempools.objects import storewords

pytest.importorskip("backports.zstd" if os.sys.version_info < (3, 14) else "compression.zstd")


def values(nr, seed=0):
    rng = random.Random(seed)
    return [
        json.dumps(
            {
                "id": rng.randrange(10**9),
                "user": f"user{rng.randrange(10**5)}",
                "active": rng.random() < 0.5,
                "tags": rng.sample(["red", "green", "blue", "fast", "slow"], 3),
                "address": {"street": f"Street {rng.randrange(100)}", "city": rng.choice(["Ulm", "Bonn", "Jena"])},
            }
        ).encode()
        for _ in range(nr)
    ]


@pytest.fixture
def store():
    with mp.Arena.anonymous("8M") as arena:
        store = arena.store("s", codec="zstd:3")
        yield store
        arena.check()


@pytest.fixture
def filled(store):
    store.update({f"k{i}": value for i, value in enumerate(values(400))})
    return store


def codec_of(store, key):
    return store._index.get(key)[0]


def test_new_values_are_smaller_and_old_ones_stay(filled):
    before = {key: filled._index.get(key) for key in filled}
    assert filled.dictionary is None
    assert filled.train(nbytes=4096) == 1
    assert {key: filled._index.get(key) for key in filled} == before
    for i, value in enumerate(values(50, seed=1)):
        filled[f"new{i}"] = value
        number, nbytes, stored = filled._index.get(f"new{i}")
        assert (number, nbytes) == (3, len(value))
        assert stored[0] == 1
        assert filled[f"new{i}"] == value
    info = filled.dictionary
    assert info.number == 1
    assert 256 <= info.nbytes <= 4096
    assert info.nr_samples == 400
    assert info.ratio_after > 1.5 * info.ratio_before > 1.5


def test_all_ways_to_read_and_write(filled):
    filled.train(nbytes=4096)
    (value,) = values(1, seed=2)
    assert filled.setdefault("new", value) == value
    assert codec_of(filled, "new") == 3
    assert filled.setdefault("new", b"other") == value
    buffer = bytearray(1000)
    assert filled.get_into("new", buffer) == len(value)
    assert buffer[: len(value)] == value
    assert filled.pop("new") == value
    filled["tiny"] = b"x"
    assert codec_of(filled, "tiny") == 0
    filled["noise"] = os.urandom(200)
    assert codec_of(filled, "noise") == 0
    filled["large"] = bytes(1 << 17)
    assert codec_of(filled, "large") == 2
    filled["view"] = memoryview(value)
    assert filled["view"] == value


def test_dictionaries_are_not_among_the_entries(filled):
    count, logical = len(filled), filled.stats().logical_bytes
    filled.train(nbytes=2048)
    filled.train(nbytes=4096)
    assert filled.dictionary.number == 2
    assert len(filled) == len(list(filled)) == len(filled.items()) == count
    stats = filled.stats()
    assert (stats.count, stats.logical_bytes) == (count, logical)
    assert stats.dictionary_bytes > 2048
    assert b"dictionary 1" not in filled
    assert "dictionary 1" not in filled
    filled.clear()
    assert len(filled) == filled.stats().count == filled.stats().logical_bytes == 0
    assert filled.dictionary.number == 2  # `clear` is of the entries
    filled.check()


def test_values_of_several_dictionaries(filled):
    expected = dict(filled)
    for number in (1, 2, 3):
        assert filled.train(values(100, seed=number), nbytes=2048) == number
        filled[f"with {number}"] = expected[f"with {number}"] = values(1, seed=number)[0]
        assert filled._index.get(f"with {number}")[2][0] == number
    assert dict(filled) == expected
    assert dict(mp.Store.of(filled.arena)) == expected


def test_other_processes_find_it(filled):
    (value,) = values(1, seed=3)

    def child():
        filled.train(nbytes=4096)
        filled["of the child"] = value

    assert in_child(child) == 0
    assert filled["of the child"] == value
    filled["mine"] = value
    assert filled._index.get("mine") == filled._index.get("of the child")


@pytest.mark.parametrize(
    "samples", [[], [b"abc"], [b"abc"] * 7, [b""] * 100, [b"a"] * 8, [b"ab"] * 20, [b"a"] * 7 + [b"a" * 2000]]
)
def test_too_few_samples(store, samples):
    with pytest.raises(ValueError, match="samples"):
        store.train(samples)
    assert store.dictionary is None


def test_an_empty_store_has_no_samples(store):
    with pytest.raises(ValueError, match="0 samples"):
        store.train()


@pytest.mark.parametrize("nbytes", [0, 255, -1, (1 << 20) + 1])
def test_sizes_of_dictionaries(filled, nbytes):
    with pytest.raises(ValueError, match="256 to 1 MiB"):
        filled.train(nbytes=nbytes)


def test_samples_are_bytes(filled):
    with pytest.raises(TypeError):
        filled.train(["text"] * 100)


@pytest.mark.parametrize("codec", ["none", LZ4])
def test_other_codecs_have_none(arena, codec):
    with pytest.raises(mp.PoolError, match=f"zstd, not {codec}"):
        arena.store("s", codec=codec, dictionary=True)
    assert "s" not in [pool.name for pool in arena.pools()]
    store = arena.store("s", codec=codec)
    with pytest.raises(mp.PoolError, match=f"writes with {codec}"):
        store.train(values(100))
    with pytest.raises(mp.PoolError, match=f"writes with {codec}"):
        arena.store("s", dictionary=True)


def test_a_dictionary_without_room(filled):
    with mp.Arena("128K") as arena:
        tight = arena.store("t", codec="zstd")
        with pytest.raises(mp.Exhausted):
            tight.train(values(3000), nbytes=1 << 17)
        assert tight.dictionary is None
        tight["k"] = b"v" * 100
        assert tight["k"] == b"v" * 100


def test_there_are_255(store, monkeypatch):
    header = dictionaries._HEADER.pack(1, 8, 8, 8, 8)
    for number in range(1, 256):
        assert store._dictionaries.add(header + b"%d" % number) == number
    assert store._dictionaries.add(header + b"77") == 77
    with pytest.raises(mp.PoolError, match="255 dictionaries"):
        store._dictionaries.add(header + b"one more")


def test_a_dictionary_that_is_gone_or_garbage_is_corrupt(filled):
    filled.train(nbytes=2048)
    filled["k"] = values(1, seed=5)[0]
    number, nbytes, stored = filled._index.get("k")
    for bad in (b"\x02" + stored[1:], b"\x01", b"", b"\x01" + stored[5:], stored[:-3]):
        filled._index.put("k", number, nbytes, bad)
        with pytest.raises(mp.Corrupt):
            filled["k"]
    filled._index.put("k", number, nbytes, stored)
    index = filled._index
    for garbage in (b"", b"short", dictionaries._HEADER.pack(9, 0, 0, 0, 0) + b"x" * 50):
        index.put(dictionaries.key_of(1), 0, len(garbage), garbage)
        with pytest.raises(mp.Corrupt):
            mp.Store.of(filled.arena)["k"]
    del filled["k"]


def test_changed_bytes_crash_nobody(filled):
    filled.train(nbytes=2048)
    filled["k"] = values(1, seed=5)[0]
    index, key = filled._index, dictionaries.key_of(1)
    entry, (number, nbytes, stored) = index.get(key)[2], index.get("k")
    rng = random.Random(1)
    for _ in range(1500):
        changed, value = bytearray(entry), bytearray(stored)
        for _ in range(rng.randrange(1, 5)):
            which = changed if rng.random() < 0.5 else value
            which[rng.randrange(len(which))] = rng.randrange(256)
        index.put(key, 0, len(entry), changed)
        index.put("k", number, nbytes, value)
        fresh = mp.Store.of(filled.arena)
        try:
            assert len(fresh["k"]) == nbytes
        except (mp.Corrupt, UnknownCodec):
            pass


def test_a_kill_between_the_entry_and_the_word_is_made_good(filled):
    count = len(filled)

    def killed():
        with steps.kill_at(1, site="storewords.next"):
            filled.train(nbytes=2048)

    assert in_child(killed) == -9
    assert filled.dictionary is None
    assert len(filled) == filled.stats().count == count
    filled.check()
    assert filled.train(values(100, seed=6), nbytes=2048) == 2
    assert filled.dictionary.number == 2


def test_of_two_that_train_at_the_same_time_both_are_there(filled):
    children = [start(lambda i=i: filled.train(values(200, seed=i), nbytes=2048)) for i in range(3)]
    assert [status_of(child) for child in children] == [0] * 3
    assert filled.dictionary.number == 3
    assert len(filled) == 400


def test_by_itself_after_a_while(store):
    trained = store.arena.store("s", codec="zstd:3", dictionary=True)
    for i, value in enumerate(values(999)):
        trained[f"k{i}"] = value
    assert not trained._dictionaries._worker.ticket
    trained["one more"] = values(1)[0]
    until(lambda: store.dictionary is not None)
    until(lambda: trained._dictionaries._worker.ticket is None)
    assert store.dictionary.nr_samples in (999, 1000)  # the thread may be faster than the put that has started it
    for i, value in enumerate(values(1100, seed=1)):
        trained[f"n{i}"] = value
    assert trained.dictionary.number == 1  # one is enough
    assert codec_of(trained, "n0") == 3
    assert all(trained[f"n{i}"] == value for i, value in enumerate(values(1100, seed=1)))


def test_by_itself_again_when_there_was_too_little(store):
    trained = store.arena.store("s", codec="zstd:3", dictionary=True)
    for _ in range(1000):
        trained["k"] = b"v"
    until(lambda: trained._dictionaries._worker.ticket is None)
    assert store.dictionary is None
    for i, value in enumerate(values(3000)):
        trained[f"k{i}"] = value
    until(lambda: store.dictionary is not None)
    until(lambda: trained._dictionaries._worker.ticket is None)


def test_by_itself_in_several_threads_and_processes_there_is_one(store):
    def fill(seed):
        trained = store.arena.store("s", codec="zstd:3", dictionary=True)
        chunks = [values(400, seed=seed * 10 + i) for i in range(3)]

        def put(i):
            for j, value in enumerate(chunks[i]):
                trained[f"{seed} {i} {j}"] = value

        threads = [threading.Thread(target=put, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: storewords.dictionary(trained._index) == 1)
        until(lambda: trained._dictionaries._worker.ticket is None)

    children = [start(lambda seed=seed: fill(seed)) for seed in range(2)]
    assert [status_of(child) for child in children] == [0, 0]
    assert store.dictionary.number == 1
    assert len(store) == 2400


def test_save_and_load_bring_the_dictionaries(filled, tmp_path):
    for number in (1, 2):
        filled.train(values(100, seed=number), nbytes=2048)
        filled[f"with {number}"] = values(1, seed=number)[0]
    filled.save(tmp_path / "f")
    with mp.Arena("4M") as arena:
        plain = arena.store("plain", codec="none")  # that has no use for them but to read
        assert plain.load(tmp_path / "f") == 402
        assert dict(plain) == dict(filled)
        assert plain.dictionary is None
        other = arena.store("other", codec="zstd:3")
        assert other.train(values(100, seed=9), nbytes=2048) == 1
        assert other.load(tmp_path / "f") == 402
        assert dict(other) == dict(filled)
        assert sorted(other._index.get(f"with {number}")[2][0] for number in (1, 2)) == [2, 3]
        other.load(tmp_path / "f")
        assert other.dictionary.number == 3  # the same dictionaries are not kept twice
        again = mp.Store.restore(tmp_path / "f", arena, "again")
        assert again.dictionary is not None
        assert dict(again) == dict(filled)
        arena.check()
