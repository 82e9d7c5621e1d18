"""Namespaces of a store: keys of their own, one table, counts, drops."""

import asyncio
import pickle
import random

import pytest
from fastcodec import FAST
from hypothesis import given, settings
from hypothesis import strategies as st

import mempools as mp
from mempools import spaces
from mempools.check import steps
from mempools.errors import Corrupt
from mempools.objects import spaceindex, storescan, storewords
from mempools.objects.spacekey import SpacedKey, spaced_key


@pytest.fixture
def store(arena):
    store = arena.store("s", codec="none")
    yield store
    store.check()


@pytest.fixture
def users(store):
    return store.namespace("users")


# ---- keys


def test_keys_are_the_namespaces_own(store, users):
    other = store.namespace("other")
    for i, mapping in enumerate((store, users, other)):
        mapping["k"] = b"str %d" % i
        mapping[b"k"] = b"bytes %d" % i
    for i, mapping in enumerate((store, users, other)):
        assert mapping["k"] == b"str %d" % i and mapping[b"k"] == b"bytes %d" % i
        assert set(mapping) == {"k", b"k"} and len(mapping) == 2
    del other["k"]
    users.clear()
    assert len(users) == 0 and list(other) == [b"k"] and len(store) == 2
    assert store.stats().count == 3
    store.clear()
    assert len(store) == 0 and other[b"k"] == b"bytes 2"


def test_no_key_of_the_store_is_one_of_a_namespace(store, users):
    users["k"] = b"v"
    inside = users._index.id.to_bytes(4, "little") + b"k"
    assert inside not in store and inside.decode() not in store
    store[inside] = b"other"
    assert users["k"] == b"v" and list(users) == ["k"]


def test_the_interface_of_a_mapping(users):
    users.update(a=b"1", b=b"2")
    assert users.get("a") == b"1" and users.get("x") is None and users.get("x", 5) == 5
    assert "a" in users and "x" not in users and 5 not in users
    assert dict(users.items()) == {"a": b"1", "b": b"2"} and sorted(users.values()) == [b"1", b"2"]
    assert users.pop("a") == b"1" and users.pop("a", None) is None
    assert users.setdefault("a", b"3") == b"3" and users.setdefault("a", b"4") == b"3"
    buffer = bytearray(5)
    assert users.get_into("b", buffer) == 1 and buffer[:1] == b"2"
    assert users.popitem()[0] in ("a", "b")
    for missing in (lambda: users["x"], lambda: users.pop("x"), lambda: users.get_into("x", buffer)):
        with pytest.raises(KeyError):
            missing()
    with pytest.raises(KeyError):
        del users["x"]
    with pytest.raises(TypeError):
        users[5]


@pytest.mark.parametrize("nbytes", [0, 1, 115, 116, 117, 4000, 65531])
@pytest.mark.parametrize("kind", [str, bytes])
def test_keys_of_every_length(users, nbytes, kind):
    key = "k" * nbytes if kind is str else b"k" * nbytes
    users[key] = b"v"
    assert users[key] == b"v" and list(users) == [key]
    assert users.pop(key) == b"v" and list(users) == []


def test_keys_that_are_too_long(users):
    long = "k" * 65532
    with pytest.raises(ValueError, match="up to 65531 bytes, not 65532"):
        users[long] = b"v"
    assert users.get(long) is None and long not in users
    with pytest.raises(KeyError):
        del users[long]
    with pytest.raises(ValueError, match="at most 65531"):
        users.get_or_compute(long, lambda: b"v")


@pytest.mark.parametrize(
    "name, error",
    [("", ValueError), ("n" * 65, ValueError), ("ü" * 33, ValueError), ("\ud800", ValueError), (b"n", TypeError)],
)
def test_names_that_none_has(store, name, error):
    for call in (store.namespace, store.drop_namespace):
        with pytest.raises(error):
            call(name)
    assert store.namespaces() == []


def test_names(store):
    for name in ("n" * 64, "ü" * 32, "\0", "a b"):
        assert store.namespace(name).name == name
    assert store.namespaces() == sorted(("n" * 64, "ü" * 32, "\0", "a b"))
    assert "users" in repr(store.namespace("users"))
    assert store.namespace("users").codec == "none" and store.namespace("users").store is store


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_as_a_dict_of_dicts(data):
    names = st.sampled_from(["a", "b", ""])
    keys = st.sampled_from(["k", b"k", "l", "", b"\1\0\0\0k"])
    with mp.Arena.anonymous("2M") as arena:
        store = arena.store("s", codec=FAST)
        model = {"": {}}

        def of(name):
            if name:
                model.setdefault(name, {})
            return store.namespace(name) if name else store

        for _ in range(data.draw(st.integers(1, 25))):
            name = data.draw(names)
            what = data.draw(st.sampled_from(["put", "put", "put", "delete", "pop", "drop", "clear", "setdefault"]))
            key, value = data.draw(keys), data.draw(st.binary(max_size=40)) * 10
            mapping = of(name)
            if what == "put":
                mapping[key] = model[name][key] = value
            elif what == "delete" and key in model[name]:
                del mapping[key], model[name][key]
            elif what == "pop":
                assert mapping.pop(key, None) == model[name].pop(key, None)
            elif what == "setdefault":
                assert mapping.setdefault(key, value) == model[name].setdefault(key, value)
            elif what == "clear":
                mapping.clear()
                model[name].clear()
            elif what == "drop" and name:
                assert store.drop_namespace(name) == len(model.pop(name))
        for name, there in model.items():
            assert dict(of(name)) == there and len(of(name)) == len(there)
        assert store.namespaces() == sorted(model.keys() - {""})
        assert store.stats().count == sum(map(len, model.values()))
        store.check()
        arena.check()


def test_many_keys_of_all_while_the_index_grows(arena):
    store = arena.store("s", codec="none")
    mappings = [store, *(store.namespace(f"n{i}") for i in range(3))]
    for i in range(500):
        for mapping in mappings:
            mapping[f"k{i}"] = b"v"
    for mapping in mappings:
        assert sorted(mapping) == sorted(f"k{i}" for i in range(500)) and len(mapping) == 500
    assert store.drop_namespace("n1") == 500
    assert [len(mapping) for mapping in mappings] == [500, 500, 0, 500]
    store.check()


# ---- counts


def test_counts(users):
    users["a"] = b"123"
    users["a"] = b"12"
    users["b"] = b"1"
    assert users.get("a") == b"12" and users.get("x") is None
    users.get_into("a", bytearray(2))
    del users["a"]
    users.pop("b")
    users.pop("b", None)
    assert users.setdefault("c", b"12345") == b"12345"  # looks, then puts
    stats = users.stats()
    assert stats == mp.NamespaceStats(
        name="users",
        counted=True,
        gets=4,
        hits=2,
        misses=2,
        puts=4,
        deletes=2,
        count=1,
        logical_bytes=5,
        stored_bytes=5,
    )
    assert users.stats(sizes=False).count is None
    assert users.store.namespace_stats() == [stats]


def test_counts_of_each(store):
    for i in range(10):
        mapping = store.namespace(f"n{i}")
        for k in range(i):
            mapping[f"k{k}"] = b"v"
    assert [stats.puts for stats in store.namespace_stats()] == list(range(10))
    assert [stats.count for stats in store.namespace_stats()] == list(range(10))


def no_room():
    raise mp.Exhausted("no room")


def none_ready(store, monkeypatch):
    """The reserve is empty, and its worker does not come."""
    pool = store._spaces.statistics(make=True)
    monkeypatch.setattr(pool, "refill_async", lambda: None)
    monkeypatch.setattr(pool, "_start", lambda: None)
    monkeypatch.setattr(pool, "refill", no_room)
    areas = []
    while (area := pool.alloc()) is not None:
        areas.append(area)
    return pool


def test_without_an_area_it_works_and_gets_one_later(store, monkeypatch):
    pool = none_ready(store, monkeypatch)
    users = store.namespace("users")
    users["k"] = b"v"
    assert users["k"] == b"v"
    assert users.stats() == mp.NamespaceStats("users", False, 0, 0, 0, 0, 0, 1, 1, 1)
    monkeypatch.undo()
    assert pool.refill() > 0
    for _ in range(512):
        assert users["k"] == b"v"
    stats = users.stats(sizes=False)
    assert stats.counted and 0 < stats.hits < 512
    assert store.namespace("users").stats(sizes=False) == stats


def test_the_worker_brings_an_area(store, monkeypatch):
    pool = none_ready(store, monkeypatch)
    users = store.namespace("users")
    assert not users.stats(sizes=False).counted
    monkeypatch.undo()
    pool.refill_async().wait(60)
    assert users.stats(sizes=False).counted


def test_where_nobody_may_wait(store, users):
    with mp.noio():
        other = store.namespace("other")
        other["k"] = b"v"
        assert other.stats().puts == 1


def test_an_arena_without_room_for_counts(arena, store, monkeypatch):
    monkeypatch.setattr(arena, "percpu", lambda *_, **__: no_room())
    users = store.namespace("users")
    for _ in range(300):
        users["k"] = b"v"
    assert users["k"] == b"v" and not users.stats().counted
    monkeypatch.undo()
    assert store.namespace("users").stats().counted


# ---- drops


def test_a_drop(store, users):
    users.update({f"k{i}": b"v" for i in range(100)})
    store["k"] = b"stays"
    assert users.drop() == 100
    assert users.drop() == 0
    assert store.namespaces() == [] and len(users) == 0 and users.get("k1") is None and store["k"] == b"stays"
    with pytest.raises(mp.PoolError, match="was dropped"):
        users["k1"] = b"v"
    again = store.namespace("users")
    assert again.stats() == mp.NamespaceStats("users", True, 0, 0, 0, 0, 0, 0, 0, 0)
    assert users.drop() == 0 and store.namespaces() == ["users"]  # it is another


def test_a_drop_beside_a_put(store, users):
    other = store.namespace("other")
    other["k"] = b"stays"
    with steps.call_at(2, users.drop, site="storewords.spaces") as hook, pytest.raises(mp.PoolError, match="dropped"):
        users["k"] = b"v"
    assert hook.fired
    assert store.stats().count == 1 and other["k"] == b"stays"


def test_areas_go_to_the_next_namespace(store):
    for _ in range(300):
        users = store.namespace("users")
        users["k"] = b"v"
        assert users.stats(sizes=False).puts == 1
        users.drop()
    assert store._spaces.statistics().percpu.stats().nr_alloc <= 16


def test_what_a_killed_drop_left_goes_with_the_next(store, users):
    users["k"] = b"v"
    store._spaces._in_turn(lambda: store._spaces._dropped(users._index.id))
    assert store.stats().count == 1 and store.namespaces() == []
    assert store.drop_namespace("users") == 1
    assert store.stats().count == 0
    assert store.drop_namespace("users") == 0


def test_a_sweep_leaves_those_that_were_made_meanwhile(store, users):
    users["k"] = b"v"
    table = store._spaces._in_turn(lambda: store._spaces._dropped(users._index.id))
    later = store.namespace("later")
    later["k"] = b"v"
    assert store._spaces._sweep(table) == 1
    assert later["k"] == b"v"
    assert store._spaces._read().swept == 0  # there was another change: the next drop looks again


def test_a_store_that_is_destroyed(arena):
    store = arena.store("s", codec="none")
    users = store.namespace("users")
    users["k"] = b"v"
    store.destroy()
    assert {pool.name for pool in arena.stats().pools} <= {"", ".flights"}
    for call in (lambda: users["k"], lambda: users.stats(), lambda: users.drop()):
        with pytest.raises(mp.PoolError):
            call()
    again = arena.store("s", codec="none")
    assert again.namespaces() == [] and again.namespace("users").stats().puts == 0


def test_a_long_name_of_a_store(arena):
    store = arena.store("s" * 64, codec="none")
    assert store.namespace("users").stats().counted
    store.destroy()


# ---- the table


def test_a_table_of_somebody_elses(store, users):
    entry = store._index.get(spaces.TABLE)[2]
    rng = random.Random(1)
    for raw in (b"", entry[:-1], entry + b"x", b"\2" + entry[1:], rng.randbytes(60)):
        store._index.put(spaces.TABLE, 0, len(raw), raw)
        with pytest.raises((Corrupt, UnicodeDecodeError)):
            store.namespaces()
    store._index.put(spaces.TABLE, 0, len(entry), entry)
    assert store.namespaces() == ["users"]


def test_an_area_that_is_not_kept_is_not_counted_on(store, users):
    pool = store._spaces.statistics()
    table = store._spaces._read()
    table.spaces[0].area = 1 << 40
    store._spaces._write(table)
    again = store.namespace("users")
    assert again.stats(sizes=False).counted  # it got another
    with pytest.raises(ValueError, match="kept"):
        users._index.count_on(1 << 40)
    with pytest.raises(ValueError, match="kept"):
        spaceindex.clear_counts(pool.percpu, 8)
    area = pool.alloc()
    spaceindex.keep(area)
    assert area.freed and spaceindex.is_kept(pool.percpu, area.offset)
    with pytest.raises(ValueError, match="cannot be kept"):
        spaceindex.keep(area)


def test_there_is_an_end_of_ids(store, users):
    table = store._spaces._read()
    table.next_id = spaces._LAST_ID
    store._spaces._write(table)
    last = store.namespace("last")
    last["k"] = b"v"
    assert list(last) == ["k"]
    with pytest.raises(mp.PoolError, match="cannot have more"):
        store.namespace("one more")


def test_the_word_follows_the_table(store, users):
    change = storewords.spaces(store._index)
    storewords.next_spaces(store._index, change - 1)
    assert storewords.spaces(store._index) == change
    storewords.next_spaces(store._index, change + 5)
    assert storewords.spaces(store._index) == change + 5


def test_keys_as_an_index_takes_them():
    key = spaced_key(7, "ü")
    assert (key.id, key.is_str, key.raw, len(key)) == (7, True, "ü".encode(), 6)
    assert (spaced_key(7, b"x" * 70000).raw, spaced_key(7, b"").raw) == (b"", b"")
    with pytest.raises(TypeError):
        SpacedKey()
    with pytest.raises(TypeError):
        spaced_key(7, 8)


def test_a_scan_of_all(store, users):
    store["k"] = b"1"
    users["k"] = b"22"
    _, keys = storescan.scan(store._index, 0, storescan.ALL)
    assert {key if isinstance(key, str) else (key.id, key.raw) for key in keys} == {"k", (users._index.id, b"k")}
    assert store._spaces.sizes(storescan.ALL) == {0: (1, 1, 1), users._index.id: (1, 2, 2)}


# ---- beside the rest of a store


def test_pickles(store, users):
    users["k"] = b"v"
    again = pickle.loads(pickle.dumps(users))
    assert again["k"] == b"v" and again.name == "users" and again.stats().puts == 1


def test_computing_once(store, users):
    assert users.get_or_compute("k", lambda: b"users'") == b"users'"
    assert store.get_or_compute("k", lambda: users.get_or_compute("l", lambda: b"nested")) == b"nested"
    assert users["k"] == b"users'" and store["k"] == b"nested"

    async def main():
        return await users.aget_or_compute("m", lambda: b"async")

    assert asyncio.run(main()) == b"async"
    # The same key of the store and of a namespace are two computations.
    assert store.get_or_compute("n", lambda: users.get_or_compute("n", lambda: b"inner")) == b"inner"
    with pytest.raises(mp.WaitForbidden):
        users.get_or_compute("o", lambda: users.get_or_compute("o", lambda: b"itself"))


def test_a_namespace_is_made_inside_a_computation(store):
    def compute():
        store.namespace("made")["k"] = b"v"
        return b"w"

    assert store.get_or_compute("k", compute) == b"w"
    assert store.namespaces() == ["made"]


def test_a_snapshot(arena, store, users, tmp_path):
    other = store.namespace("other")
    gone = store.namespace("gone")
    store["k"], users["k"], users[b"k"], other["k"], gone["k"] = b"1", b"2", b"3", b"4", b"5"
    gone.drop()
    assert store.save(tmp_path / "f") == 4
    with mp.Arena.anonymous("1M") as fresh:
        first = fresh.store("first", codec="none")
        first.namespace("other")["old"] = b"stays"  # it has the id that `users` has in the file
        assert first.load(tmp_path / "f") == 4
        assert first.namespaces() == ["other", "users"]
        assert dict(first) == {"k": b"1"} and dict(first.namespace("users")) == {"k": b"2", b"k": b"3"}
        assert dict(first.namespace("other")) == {"k": b"4", "old": b"stays"}
        second = mp.Store.restore(tmp_path / "f", fresh, "second")
        assert dict(second.namespace("other")) == {"k": b"4"}
        assert second.load(tmp_path / "f", replace=False) == 0
        first.check()
        second.check()


def test_dictionaries_are_the_stores(tmp_path):
    pytest.importorskip("backports.zstd")
    with mp.Arena.anonymous("8M") as arena:
        store = arena.store("s", codec="zstd:3")
        users = store.namespace("users")
        for i in range(300):
            users[f"k{i}"] = b'{"name": "user %d", "tags": ["red", "green"], "city": "Ulm"}' % i
        assert store.train(nbytes=1024) == 1
        users["new"] = b'{"name": "user 1000", "tags": ["red"], "city": "Ulm"}' * 3
        assert store._index.get(spaced_key(users._index.id, "new"))[0] == 3
        assert users["new"].startswith(b'{"name": "user 1000"')
        store.save(tmp_path / "f")
        again = mp.Store.restore(tmp_path / "f", arena, "again")
        assert dict(again.namespace("users")) == dict(users)
        assert len(store) == 0 and store.stats().count == 301
