import copy
import gc
import os
import pickle
import random
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

import mempools as mp
from mempools import codecs
from mempools.objects import storescan
from mempools.objects.storeindex import open_index

CODECS = ["none"]
for _name in ("lz4", "zstd", "zstd:9"):
    try:
        codecs.get(_name)
        CODECS.append(_name)
    except codecs.CodecMissing:
        pass


@pytest.fixture(params=CODECS)
def store(request):
    with mp.Arena("8M") as arena:
        yield arena.store("s", codec=request.param)


@pytest.fixture
def plain():
    with mp.Arena("8M") as arena:
        yield arena.store("s", codec="none")


VALUES = [b"", b"x", b"abc" * 2000, random.Random(1).randbytes(5000), bytes(1 << 20)]


@pytest.mark.parametrize("value", VALUES, ids=len)
def test_round_trip(store, value):
    store["k"] = value
    assert store["k"] == value
    assert type(store["k"]) is bytes
    store[b"k"] = bytearray(value)
    assert store[b"k"] == value
    buffer = bytearray(len(value) + 1)
    assert store.get_into("k", buffer) == len(value)
    assert buffer[:-1] == value
    exact = bytearray(len(value))
    assert store.get_into("k", exact) == len(value)
    assert exact == value
    store.check()


def test_is_a_mapping(store):
    store.update({"a": b"1", "b": b"2"}, c=b"3")
    assert len(store) == 3
    assert dict(store) == {"a": b"1", "b": b"2", "c": b"3"}
    assert dict(store.items()) == dict(store)
    assert sorted(store.values()) == [b"1", b"2", b"3"]
    assert set(store.keys()) == {"a", "b", "c"}
    assert "a" in store and "z" not in store and b"a" not in store and 1 not in store
    assert store == {"a": b"1", "b": b"2", "c": b"3"}
    del store["a"]
    with pytest.raises(KeyError, match="'a'"):
        store["a"]
    with pytest.raises(KeyError):
        del store["a"]
    assert store.get("a") is None and store.get("a", b"d") == b"d"
    assert store.pop("b") == b"2" and store.pop("b", None) is None
    with pytest.raises(KeyError):
        store.pop("b")
    assert store.setdefault("c", b"other") == b"3"
    assert store.setdefault("d", b"new" * 100) == b"new" * 100
    assert store["d"] == b"new" * 100
    assert store.popitem()[0] in ("c", "d")
    store.clear()
    assert len(store) == 0 and list(store) == []
    store.check()


def test_values_of_any_bytes_like(store):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1000, dtype="<u4")
    store["a"] = array
    assert store["a"] == array.tobytes()
    out = numpy.zeros(1000, dtype="<u4")
    assert store.get_into("a", out) == 4000
    assert (out == array).all()
    store["m"] = memoryview(array.tobytes())[4:40]
    assert store["m"] == array.tobytes()[4:40]


def test_refuses(plain):
    with pytest.raises(TypeError):
        plain["k"] = "text"
    with pytest.raises(TypeError, match="keys are str or bytes, not int"):
        plain[1] = b""
    plain["k"] = b"12345"
    with pytest.raises(ValueError, match="5 bytes, the buffer only 4"):
        plain.get_into("k", bytearray(4))
    with pytest.raises(KeyError):
        plain.get_into("none", bytearray(4))
    assert plain["k"] == b"12345"


def test_what_does_not_get_smaller_is_stored_as_it_is():
    lz4 = pytest.importorskip("cramjam") and "lz4"
    with mp.Arena("8M") as arena:
        store = arena.store("s", codec=lz4)
        noise = random.Random(2).randbytes(10000)
        store["k"] = noise
        assert store.stats().stored_bytes == 10000
        assert store["k"] == noise


def test_each_value_is_read_with_its_own_codec():
    pytest.importorskip("cramjam")
    with mp.Arena("8M") as arena:
        index = open_index(arena, arena._mapping, "s", 0, True)
        lz4 = mp.Store(index, codecs.get("lz4"))
        plain = mp.Store(index, codecs.get("none"))
        lz4["a"] = plain["b"] = b"abc" * 1000
        assert lz4["b"] == plain["a"] == b"abc" * 1000
        assert plain.pop("a") == lz4.pop("b") == b"abc" * 1000


def test_codec_belongs_to_the_store():
    with mp.Arena("8M") as arena:
        arena.store("s", codec=CODECS[-1])
        again = arena.store("s")
        assert again.codec == CODECS[-1]
        assert arena.store("s", codec=CODECS[-1]).codec == CODECS[-1]
        if len(CODECS) > 1:
            with pytest.raises(mp.LayoutMismatch, match=f"writes with {CODECS[-1]}, not none"):
                arena.store("s", codec="none")
        with pytest.raises(codecs.UnknownCodec):
            arena.store("t", codec="nonesuch")


def test_several_stores_and_sizes():
    with mp.Arena("8M") as arena:
        one = arena.store("one", codec="none", size="1M")
        two = arena.store("two", codec="none")
        one["k"], two["k"] = b"1", b"2"
        assert arena.store("one")["k"] == b"1"
        with pytest.raises(mp.Exhausted, match="'one': no room"):
            one["k"] = bytes(2 << 20)
        assert one["k"] == b"1"
        with pytest.raises(mp.LayoutMismatch):
            arena.store("one", size="2M")
        with pytest.raises(mp.LayoutMismatch):
            arena.genpool("one")
        arena.genpool("pool")
        with pytest.raises(mp.LayoutMismatch):
            arena.store("pool")


def test_destroy_gives_the_memory_back():
    with mp.Arena("8M") as arena:
        for _ in range(5):
            store = arena.store("s", codec="none")
            store["k"] = bytes(4 << 20)
            store.destroy()


def test_a_destroyed_store_is_an_error(plain):
    same = plain.arena.store("s")
    plain["k"] = b"v"
    plain.destroy()
    for dead in (plain, same):
        uses = [
            lambda store: store["k"],
            lambda store: store.update(k=b"w"),
            lambda store: store.pop("k"),
            lambda store: next(iter(store)),
            mp.Store.stats,
            mp.Store.check,
            mp.Store.destroy,
        ]
        for use in uses:
            with pytest.raises(mp.PoolError, match="destroyed"):
                use(dead)
    again = plain.arena.store("s", codec="none")
    assert list(again) == []


@pytest.mark.parametrize("name", CODECS[1:])
def test_stored_bytes_that_the_codec_did_not_make(name):
    with mp.Arena("1M") as arena:
        store = arena.store("s", codec=name)
        for stored, nbytes in ((b"garbage" * 10, 4096), (bytes(store._compress(b"abc" * 100)), 400), (b"", 1)):
            store._index.put("k", store._number, nbytes, stored)
            for use in (lambda: store["k"], lambda n=nbytes: store.get_into("k", bytearray(n)), lambda: store.pop("k")):
                with pytest.raises(mp.Corrupt, match="'k': codec "):
                    use()


def test_stats(plain):
    empty = plain.stats()
    assert (empty.count, empty.logical_bytes, empty.ratio, empty.compression) == (0, 0, 0.0, 0.0)
    plain["a"] = bytes(1000)
    stats = plain.stats()
    assert (stats.count, stats.logical_bytes, stats.stored_bytes, stats.compression) == (1, 1000, 1000, 1.0)
    assert 0 < stats.memory_bytes - empty.memory_bytes <= stats.capacity_bytes
    plain["b"] = bytes(1000)  # beside the first, in the pages that it has
    assert plain.stats().memory_bytes == stats.memory_bytes


def test_a_small_value_costs_little(store):
    """The promise of the table in the design: at most 1,600 bytes for 4 KiB that compress to about 1,450."""
    rng = random.Random(3)
    before = store.stats().memory_bytes
    for i in range(500):
        store[f"key:{i:08}"] = rng.randbytes(1450) + bytes(0 if store.codec == "none" else 2646)
    stats = store.stats()
    overhead = (stats.memory_bytes - before - stats.stored_bytes) / 500
    assert overhead < 24 + 12 + 32 + (stats.stored_bytes / 500) / 50 + 8


@pytest.mark.parametrize("nbytes", [4096, 6000, 9300, 17_000, 33_000, 100_000])
def test_a_value_beyond_a_page_costs_little_more(nbytes):
    """Classes are few there: what would leave much of one over is stored in pages and a rest."""
    with mp.Arena("16M") as arena:
        store = arena.store("s", codec="none")
        before = store.stats().memory_bytes
        nr = 8_000_000 // nbytes
        for i in range(nr):
            store[str(i)] = i.to_bytes(4, "little") * (nbytes // 4)
        assert store.stats().memory_bytes - before < 1.08 * store.stats().stored_bytes
        assert all(store[str(i)] == i.to_bytes(4, "little") * (nbytes // 4) for i in range(nr))
        store.check()


def test_iteration_beside_changes(plain):
    plain.update({str(i): b"v" for i in range(2000)})
    seen = []
    for key in plain:
        seen.append(key)
        del plain[key]
        plain["new" + key] = b"w"
    kept = [key for key in seen if not key.startswith("new")]
    assert sorted(kept, key=int) == [str(i) for i in range(2000)]
    items = dict(plain)
    for key, value in plain.items():
        assert items[key] == value
        plain.clear()
    assert len(plain) == 0


def test_iteration_beside_growth(plain):
    """The index grows fourfold, bucket by bucket, under a scan: what was there from its start is seen once."""
    old = {f"old{i}" + "k" * 2000 for i in range(300)}  # so long that a scan comes back after some of them
    plain.update(dict.fromkeys(old, b"v"))
    before = plain._index.nr_buckets
    seen = []
    for i, key in enumerate(plain):
        seen.append(key)
        if i < 300:
            plain.update({f"new{i}.{j}": b"w" for j in range(5)})
    assert plain._index.nr_buckets > 4 * before
    assert len(seen) == len(set(seen))
    assert old <= set(seen)
    assert plain.check() is None


def test_an_arena_goes_with_the_last_name_of_its_store():
    """Not when cycles are looked for: another process may wait for it to be let go."""

    def use():
        store = mp.Arena.anonymous("4M").store("s", codec="none")
        store["k"] = b"v"
        users = store.namespace("users")
        users["k"] = b"v"
        assert (store["k"], users["k"], len(store), users.stats().count) == (b"v", b"v", 1, 1)
        store.stats(), store.namespaces()

    gc.collect()
    gc.disable()
    try:
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            use()
        assert os.listdir("/proc/self/fd") == before
    finally:
        gc.enable()


def test_growth_follows_the_keys():
    store = mp.Arena.anonymous("16M").store("values", codec="none")
    for i in range(20_000):
        store[str(i)] = b"v"
        if i == 7000:
            assert 7000 / 5 < store._index.nr_buckets < 7000 / 4
    assert store._index.nr_buckets == 4032, "the next bucket takes as much memory as there are"
    assert [store[str(i)] for i in range(20_000)] == [b"v"] * 20_000
    store.clear()
    assert store._index.nr_buckets == 4032
    store.check()


def test_compaction_gives_memory_back(store):
    rng = random.Random(4)
    values = {str(i): rng.randbytes(900) for i in range(2000)}
    store.update(values)
    full = store.stats().memory_bytes
    for i in range(2000):
        if i % 4:
            del store[str(i)], values[str(i)]
    assert store.stats().memory_bytes > full * 0.8
    assert store.stats().freeable_bytes > full * 0.4  # holes
    assert store.compact() > 0
    assert store.stats().freeable_bytes == 0
    assert store.stats().memory_bytes < full * 0.45
    assert dict(store) == values
    store.check()


def test_a_put_that_finds_no_room_compacts():
    with mp.Arena("4M") as arena:
        store = arena.store("s", codec="none", size="1M")
        nr = 0
        with pytest.raises(mp.Exhausted):
            while True:
                store[str(nr)] = bytes(900)
                nr += 1
        for i in range(0, nr, 2):
            del store[str(i)]
        store["large"] = bytes(200_000)  # of the pages that every other entry has left in part
        assert store["large"] == bytes(200_000) and store["1"] == bytes(900)
        store.check()


def test_readers_see_whole_values_while_entries_move(store):
    values = {str(i): random.Random(i).randbytes(700) for i in range(400)}
    store.update(values)
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            for key, value in values.items():
                if store.get(key) != value:
                    wrong.append(key)

    thread = threading.Thread(target=read)
    thread.start()
    for turn in range(8):
        store.update({f"more{i}": random.Random(i).randbytes(700) for i in range(400)})
        for i in range(400):
            if i % 5 != turn % 5:
                del store[f"more{i}"]
        store.compact()
    stop.set()
    thread.join()
    assert not wrong
    store.check()


def test_closed_arena():
    arena = mp.Arena("1M")
    store = arena.store("s", codec="none")
    arena.close()
    for use in (lambda: store["a"], lambda: "a" in store, lambda: list(store), store.stats, store.check):
        with pytest.raises(mp.PoolError, match="closed"):
            use()


def test_of_wants_exactly_one_store():
    with mp.Arena("1M") as arena:
        with pytest.raises(mp.PoolError, match="no store"):
            mp.Store.of(arena)
        arena.store("one", codec="none")["k"] = b"v"
        assert mp.Store.of(arena)["k"] == b"v"
        arena.store("two", codec="none")
        with pytest.raises(mp.PoolError, match="'one', 'two'"):
            mp.Store.of(arena)


def test_attach():
    with mp.Arena.create("store-attach", "1M") as arena:
        arena.store("s", codec="none")["k"] = b"v"
        store = mp.Store.attach("store-attach")
        assert store["k"] == b"v"
        assert store.arena.name == "store-attach" and store.name == "s"
        assert "'s', none, 1 keys" in repr(store)
        store.arena.close()
        mp.Arena.unlink("store-attach")
    with pytest.raises(FileNotFoundError):
        mp.Store.attach("store-attach")


def test_pickles_as_a_reference():
    with mp.Arena.anonymous("1M") as arena:
        store = arena.store("s", codec="none")
        other = pickle.loads(pickle.dumps(store))
        other["k"] = b"v"
        assert store["k"] == b"v"
        assert copy.copy(store)["k"] == b"v"


def test_setdefault_has_one_winner(plain):
    results = []

    def work(i):
        for j in range(200):
            results.append((j, plain.setdefault(str(j), b"%d" % i)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 200


def test_pop_has_one_winner(plain):
    plain.update({str(i): b"v" for i in range(500)})
    won = []

    def work():
        for i in range(500):
            if plain.pop(str(i), None):
                won.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(500))


def test_threads_that_replace_and_read(store):
    values = [bytes([i]) * (1000 * i + 1) for i in range(20)]
    store["k"] = values[0]
    allowed = set(values)
    wrong = []

    def write(seed):
        rng = random.Random(seed)
        for _ in range(300):
            store["k"] = rng.choice(values)

    def read():
        for _ in range(600):
            if store["k"] not in allowed:
                wrong.append(1)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(2)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    store.check()


class AgainstADict(RuleBasedStateMachine):
    """A small store and a dict; what is too large for the store is in neither."""

    keys = Bundle("keys")

    @initialize(codec=st.sampled_from(CODECS))
    def start(self, codec):
        self.arena = mp.Arena("1M")
        index = open_index(self.arena, self.arena._mapping, "s", 640 << 10, True)
        self.store = mp.Store(index, codecs.get(codec))
        self.model = {}

    @rule(
        target=keys,
        key=st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.sampled_from("abc")),
    )
    def key(self, key):
        return key

    @rule(key=keys, value=st.one_of(st.binary(), st.integers(0, 300_000).map(bytes)))
    def put(self, key, value):
        try:
            self.store[key] = value
            self.model[key] = value
        except mp.Exhausted:
            assert len(value) > 1000

    @rule(key=keys)
    def get(self, key):
        assert self.store.get(key) == self.model.get(key)
        assert (key in self.store) == (key in self.model)

    @rule(key=keys, default=st.binary(max_size=50))
    def setdefault(self, key, default):
        assert self.store.setdefault(key, default) == self.model.setdefault(key, default)

    @rule(key=consumes(keys))
    def delete(self, key):
        if key in self.model:
            del self.model[key]
            del self.store[key]
        else:
            with pytest.raises(KeyError):
                del self.store[key]

    @rule(key=keys)
    def pop(self, key):
        assert self.store.pop(key, None) == self.model.pop(key, None)

    @rule(key=keys)
    def get_into(self, key):
        if key in self.model:
            buffer = bytearray(len(self.model[key]))
            assert self.store.get_into(key, buffer) == len(buffer)
            assert buffer == self.model[key]

    @rule()
    def clear(self):
        self.store.clear()
        self.model.clear()

    @invariant()
    def same(self):
        if hasattr(self, "store"):
            assert dict(self.store) == self.model
            assert len(self.store) == len(self.model)
            stats = self.store.stats()
            assert stats.logical_bytes == sum(map(len, self.model.values()))
            assert storescan.check(self.store._index) == []

    def teardown(self):
        if hasattr(self, "arena"):
            self.arena.close()


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
