"""The picture of an arena: its regions are the arena, byte for byte, whatever is in it and whoever changes it."""

import contextlib
import gc
import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mempools as mp
from mempools import names, picture
from mempools.objects.observing import RESERVE, SHARED, STRUCT
from mempools.picture import FREE, Granules, Observer

PAGE = 4096


def whole(seen):
    """The picture, if it is consistent in itself."""
    at = 0
    for region in seen.regions:
        assert region.offset == at and region.nbytes > 0, region
        at = region.end
        if region.granules is not None:
            assert region.offset == region.granules.address and region.nbytes == region.granules.nbytes
    assert at == seen.nbytes
    for pool in seen.pools:
        parts = [region for region in seen.regions if region.pool == pool.name]
        assert sum(part.nbytes for part in parts) == pool.nbytes
        for granules in pool.granules:
            runs = list(granules.runs())
            assert sum(run.nbytes for run in runs) == granules.nbytes
            assert all(a.address + a.nbytes == b.address for a, b in itertools.pairwise(runs))
            by_owner = {}
            for run in runs:
                by_owner[run.owner] = by_owner.get(run.owner, 0) + run.nbytes
            assert by_owner == granules.by_owner
    return seen


def pool_of(seen, name):
    return next(pool for pool in seen.pools if pool.name == name)


def test_an_empty_arena_has_tables_and_free_pages(arena):
    seen = whole(arena.picture())
    assert [region.what for region in seen.regions] == ["superblock", "process table", "directory", "page map", "free"]
    assert (seen.name, seen.id, seen.nbytes, seen.pools) == (None, arena.id, 1 << 20, ())
    assert seen.free == arena.stats().free_bytes


def test_each_kind_says_what_its_memory_is(arena):
    blocks = arena.genpool("blocks", granule=64)
    block = blocks.alloc(640)
    frames = arena.mempool("frames", nbytes=4096, min_nr=2)
    frame = frames.alloc()
    areas = arena.percpu("areas", nr_units=3, unit_nbytes=8192, balance=False)
    area = areas.alloc(64)
    store = arena.store("store", codec="none")
    store["key"] = b"value" * 100
    seen = whole(arena.picture())
    what = {(region.pool, region.what) for region in seen.regions}
    assert {("blocks", "blocks"), ("frames", "elements"), ("areas", "units"), ("store", "values")} <= what
    assert {("frames", "table"), ("frames", "shares"), ("areas", "map"), ("store", "table")} <= what
    (slot,) = seen.slots
    assert seen.owner(slot) == f"process {os.getpid()}"
    assert pool_of(seen, "blocks").by_owner == {slot: 640, FREE: blocks.avail}
    assert pool_of(seen, "frames").by_owner == {slot: 4096, RESERVE: 8192, FREE: pool_of(seen, "frames").free}
    assert pool_of(seen, "areas").by_owner == {slot: 3 * 64, FREE: 3 * (8192 - 64)}
    assert set(pool_of(seen, "store").by_owner) == {STRUCT, FREE}
    assert [pool_of(seen, name).nr_blocks for name in ("blocks", "frames", "areas", "store")] == [1, 3, 1, 1]
    block.free(), frame.free(), area.free()


def test_counters_are_those_of_stats(arena):
    frames = arena.mempool("frames", nbytes=256, min_nr=2)
    for _ in range(3):
        frames.alloc().free()
    spare = arena.percpu_pool("spare", nbytes=64, low=0, high=4, percpu=arena.percpu("p", nr_units=2, balance=False))
    areas = [spare.alloc() for _ in range(5)]
    store = arena.store("store", codec="none")
    store["a"], store["b"] = b"1", b"22"
    seen = whole(arena.picture())
    counters, stats = pool_of(seen, "frames").counters, frames.stats()
    for name in ("min_nr", "curr_nr", "waiters", "backend", "reserve", "refills", "frees", "waits", "timeouts"):
        assert counters[name] == getattr(stats, name), name
    counters, stats = pool_of(seen, "spare").counters, spare.stats()
    assert (counters["curr_nr"], counters["min_nr"]) == (stats.level, stats.high)
    assert (counters["reserve"], counters["timeouts"], counters["refills"]) == (
        stats.hits,
        stats.misses,
        stats.refilled,
    )
    assert pool_of(seen, "p").counters["nr_alloc"] == arena.percpu("p", nr_units=2).stats().nr_alloc
    counters, stats = pool_of(seen, "store").counters, store.stats()
    assert (counters["count"], counters["logical_bytes"]) == (stats.count, stats.logical_bytes) == (2, 3)
    del areas
    gc.collect()


def test_shared_blocks_are_nobodys_own(arena):
    import pickle

    block = arena.genpool("g").alloc(64)
    pickled = pickle.dumps(block)
    assert pool_of(whole(arena.picture()), "g").by_owner[SHARED] == 64
    pickle.loads(pickled).free()
    block.free()


def test_foreign_memory_is_not_of_the_arena(arena):
    pool = arena.genpool("device", granule=4096, foreign=True)
    pool.add((0x7000_0000_0000, 1 << 20))
    offset = pool.alloc_offset(8192)
    seen = whole(arena.picture())
    found = pool_of(seen, "device")
    assert found.foreign and (found.size, found.free) == (1 << 20, (1 << 20) - 8192)
    assert found.nbytes < 1 << 17 and not any(region.granules for region in seen.regions)
    pool.free_offset(offset, 8192)


def test_a_private_arena_is_read_from_memory():
    with mp.Arena("1M") as arena:
        arena.genpool("g").alloc(64).free()
        seen = whole(arena.picture())
        assert [pool.name for pool in seen.pools] == ["g"] and seen.processes[0].pid == os.getpid()


def test_pages_of_no_pool_and_pages_being_taken():
    pages = bytes([127] * 11 + [0, 0, 7, 7, STRUCT, 0, 127, 0])
    found = list(picture._cover(len(pages) * PAGE, [], pages))
    assert [(region.what, region.nbytes // PAGE) for region in found[3:]] == [
        ("page map", 4), ("free", 2), ("taking", 2), ("unnamed", 1), ("free", 1), ("page map", 1), ("free", 1)
    ]  # fmt: skip


def test_of_runs_that_overlap_the_first_is_believed():
    def run(first, nr):
        return first * PAGE, nr * PAGE, [picture.Region(first * PAGE, nr * PAGE, "table", "x")]

    found = list(picture._cover(20 * PAGE, [run(12, 4), run(14, 4), run(18, 9), run(17, 1)], b""))
    assert [(region.offset // PAGE, region.nbytes // PAGE) for region in found if region.pool] == [(12, 4), (17, 1)]
    assert sum(region.nbytes for region in found) == 20 * PAGE


@given(st.binary(min_size=1, max_size=40), st.integers(1, 3), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_taken_between_two_addresses(owners, nr_units, data):
    granules = Granules(1000, 8, owners, 0, nr_units)
    first = data.draw(st.integers(0, len(owners) * nr_units - 1))
    end = data.draw(st.integers(first + 1, len(owners) * nr_units))
    flat = owners * nr_units
    assert granules.taken(1000 + first * 8, (end - first) * 8) == 8 * sum(owner != 0 for owner in flat[first:end])


POOLS = st.lists(
    st.tuples(
        st.sampled_from(["genpool", "mempool", "percpu", "store"]),
        st.integers(6, 13),
        st.lists(st.integers(1, 20_000), max_size=8),
    ),
    max_size=6,
)


def fill(arena, kind, name, shift, amounts):
    """Makes a pool and takes some of it; what is held, and how many bytes of granules that is."""
    held, total = [], 0
    with contextlib.suppress(mp.Exhausted):
        if kind == "genpool":
            pool = arena.genpool(name, granule=1 << shift)
            for nbytes in amounts:
                held.append(pool.alloc(nbytes))
                total += -(-nbytes >> shift) << shift
        elif kind == "mempool":
            pool = arena.mempool(name, nbytes=64 << shift - 6, min_nr=len(amounts))
            for _ in amounts[::2]:
                held.append(pool.alloc(wait=False))
                total += 64 << shift - 6
        elif kind == "percpu":
            pool = arena.percpu(name, nr_units=2, unit_nbytes=4096, balance=False)
            for nbytes in amounts:
                held.append(pool.alloc(nbytes % 500 + 4))
                total += 2 * (-(-(nbytes % 500 + 4) // 4) * 4)
        else:
            pool = arena.store(name, codec="none")
            for nbytes in amounts:
                pool[str(nbytes)] = bytes(nbytes)
    return held, total


@given(POOLS)
@settings(max_examples=40, deadline=None)
def test_random_pools(pools):
    with mp.Arena.anonymous("2M") as arena:
        held, expected = [], {}
        for i, (kind, shift, amounts) in enumerate(pools):
            got, total = fill(arena, kind, f"{kind}{i}", shift, amounts)
            held += got
            expected[f"{kind}{i}"] = total
        seen = whole(arena.picture())
        (slot,) = seen.slots
        assert {pool.name: pool.by_owner.get(slot, 0) for pool in seen.pools} == {
            name: total for name, total in expected.items() if name in {pool.name for pool in seen.pools}
        }
        known = {pool.name: pool for pool in arena.pools()[1:]}
        assert known.keys() == {pool.name for pool in seen.pools}
        assert seen.free == arena.stats().free_bytes
        for one in held:
            one.free()


@given(st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=40), st.integers(0, 1 << 18))
@settings(max_examples=150, deadline=None)
def test_garbage_is_left_out(torn, length):
    """Bytes of the tables and of chunks' headers changed at random, the file cut short: a whole picture all the same."""
    raw, tables = _bytes()
    changed = bytearray(raw)
    for at, value in torn:
        changed[tables[at % len(tables)]] = value
    data = bytes(changed) if length > 1 << 17 else bytes(changed[: length * 8])
    seen = whole(picture.take(lambda nbytes, offset: data[offset : offset + nbytes], len(raw), [], name="x", id="x"))
    assert seen.nbytes == len(raw)


_kept = []


def _bytes():
    if not _kept:
        with mp.Arena.anonymous("1M") as arena:
            for kind in ("genpool", "mempool", "percpu", "store"):
                for one in fill(arena, kind, kind, 6, [100, 300])[0]:
                    one.free()
            raw = os.pread(arena._mapping.fd, 1 << 20, 0)
            seen = arena.picture()
        tables = [*range(3 * PAGE, 3 * PAGE + 6 * 256)]
        for region in seen.regions:
            if region.what in ("map", "table"):
                tables += range(region.offset, region.offset + min(128, region.nbytes))
        _kept.append((raw, tables))
    return _kept[0]


# ---- observers


@pytest.fixture
def named():
    with mp.Arena.create("t", "1M") as arena:
        yield arena
        with contextlib.suppress(FileNotFoundError):
            mp.Arena.unlink("t")


def test_an_observer_disturbs_nobody(named):
    pool = named.genpool("g")
    with Observer("t") as observer:
        before = named.processes()
        assert [pool.name for pool in whole(observer.picture()).pools] == ["g"]
        assert named.processes() == before
        pool.destroy()
        assert observer.picture().pools == () and not observer.removed
        mp.Arena.unlink("t")
        assert observer.removed and whole(observer.picture()).name == "t"


def test_an_observer_keeps_no_arena_alive(named):
    with Observer("t"):
        named.close()
        assert mp.gc() == ["t"]


def test_an_arena_that_is_none():
    with pytest.raises(FileNotFoundError):
        Observer("t")
    path = names.path_of("t")
    os.mkfifo(path)
    with pytest.raises(mp.LayoutMismatch, match="not a regular file"):
        Observer("t")
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(b"garbage" * 1000)
    with pytest.raises(mp.LayoutMismatch, match="not an arena"):
        Observer("t")
    os.unlink(path)


def test_an_arena_of_another_version(named):
    with open(names.path_of("t"), "r+b") as file:
        file.seek(8)
        file.write(b"\x63")
        file.flush()
        with pytest.raises(mp.LayoutMismatch, match="layout 99"):
            Observer("t")
        file.seek(8)
        file.write(b"\x03")


def test_a_file_that_is_cut_short_meanwhile(named):
    with Observer("t") as observer:
        mp.Arena.unlink("t")
        raw = os.pread(observer._fd, 5 * PAGE, 0)
        path = names.path_of("t")
        with open(path, "wb") as file:
            file.write(raw)
        os.dup2(cut := os.open(path, os.O_RDONLY), observer._fd)
        os.close(cut)
        os.unlink(path)
        assert whole(observer.picture()).pools == ()
