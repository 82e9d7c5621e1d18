"""ZsPool: objects behind handles, views, compaction, errors."""

import gc
import os
import random
import subprocess
import sys
import threading

import pytest
from children import in_child, start, status_of

from mempools import Arena, Busy, Exhausted, LayoutMismatch, NotOwned, PoolError, StaleHandle, ZsPool, ZsView


@pytest.fixture
def pool(arena):
    pool = arena.zspool("objs")
    yield pool
    pool.check()


def fill(pool, nr, nbytes=500):
    return {pool.put(bytes([i % 251]) * nbytes): bytes([i % 251]) * nbytes for i in range(nr)}


def matches(pool, objects):
    return all(pool.read_bytes(handle) == data for handle, data in objects.items())


# ---- objects


@pytest.mark.parametrize("nbytes", [1, 24, 25, 100, 2000, 3624, 3625, 4089, 4096, 4097, 5000, 8192, 20000, 65536])
def test_an_object_has_the_bytes_that_were_asked_for(pool, nbytes):
    data = random.Random(nbytes).randbytes(nbytes)
    handle = pool.alloc(nbytes)
    pool.write(handle, data)
    assert pool.nbytes(handle) == nbytes
    assert pool.read_bytes(handle) == data
    with pool.read(handle) as view:
        assert view.readonly
        assert view.nbytes == nbytes
        assert view == data
    pool.free(handle)


def test_objects_do_not_touch_each_other(pool):
    objects = {pool.put(bytes([n]) * n): bytes([n]) * n for n in range(1, 256)}
    assert matches(pool, objects)
    assert pool.stats().objects == 255
    pool.free_bulk(objects)
    assert pool.stats().objects == 0


def test_a_part_is_written(pool):
    handle = pool.put(b"0123456789")
    pool.write(handle, b"ab", 4)
    pool.write(handle, b"", 10)
    assert pool.read_bytes(handle) == b"0123ab6789"
    for data, offset in ((b"ab", 9), (b"", 11), (b"x" * 11, 0)):
        with pytest.raises(ValueError, match="do not fit"):
            pool.write(handle, data, offset)
    pool.free(handle)


def test_read_into(pool):
    handle = pool.put(b"0123456789")
    buffer = bytearray(12)
    assert pool.read_into(handle, buffer) == 10
    assert buffer == b"0123456789\0\0"
    with pytest.raises(ValueError, match="10 bytes, the buffer 9"):
        pool.read_into(handle, bytearray(9))
    pool.free(handle)


def test_zeroed_before_its_first_object(pool):
    assert pool.read_bytes(pool.alloc(3000)) == bytes(3000)


def test_bulk(pool):
    handles = pool.put_bulk([b"a", b"bb", b"ccc"])
    assert [pool.read_bytes(handle) for handle in handles] == [b"a", b"bb", b"ccc"]
    more = pool.alloc_bulk([4, 5])
    assert [pool.nbytes(handle) for handle in more] == [4, 5]
    with pytest.raises(ValueError):
        pool.alloc_bulk([1, 0])
    with pytest.raises(ValueError):
        pool.put_bulk([b"x", b""])
    assert pool.stats().objects == 5
    pool.free(handles[1])
    with pytest.raises(StaleHandle):
        pool.free_bulk(handles + more)
    assert pool.stats().objects == 0


# ---- handles


def test_a_handle_ends_with_its_object(pool):
    handle = pool.put(b"first")
    pool.free(handle)
    again = pool.put(b"other")
    assert again != handle
    for use in (pool.free, pool.read, pool.read_bytes, pool.nbytes, pool.keep, lambda h: pool.write(h, b"x")):
        with pytest.raises(StaleHandle, match="has been freed"):
            use(handle)
    assert pool.read_bytes(again) == b"other"
    pool.free(again)


def test_what_never_was_a_handle(pool):
    handle = pool.put(b"x")
    for wrong in (0, 1, handle + 1, handle + (1 << 32), handle + (1 << 40), handle | 1 << 60, 2**64 - 1):
        for use in (pool.free, pool.read_bytes, pool.keep):
            with pytest.raises(NotOwned, match="ever had it"):
                use(wrong)
    with pytest.raises((OverflowError, ValueError)):
        pool.free(-1)
    with pytest.raises(TypeError):
        pool.free("x")
    pool.free(handle)


def test_generations_go_round(pool):
    first = handle = pool.alloc(10)
    for _ in range(70000):
        pool.free(handle)
        handle = pool.alloc(10)
        assert handle
    pool.free(handle)
    assert handle & 0xFFFFFFFF == first & 0xFFFFFFFF


# ---- views


def test_a_view_keeps_its_object(pool):
    handle = pool.put(b"kept")
    view = pool.read(handle)
    with pytest.raises(Busy, match="reads or writes"):
        pool.free(handle)
    assert bytes(view) == b"kept"
    view.close()
    assert view.closed
    view.close()
    with pytest.raises(NotOwned):
        memoryview(view)
    pool.free(handle)


def test_a_buffer_keeps_its_view(pool):
    view = pool.read(pool.put(b"kept"))
    part = memoryview(view)[1:]
    with pytest.raises(Busy, match="1 buffers"):
        view.close()
    assert bytes(part) == b"ept"
    part.release()
    view.close()


def test_a_view_that_is_dropped_lets_go(pool):
    handle = pool.put(b"kept")
    view = pool.read(handle)
    assert len(view) == view.nbytes == 4
    del view
    gc.collect()
    pool.free(handle)


def test_too_many_views(pool):
    handle = pool.put(b"x")
    views = [pool.read(handle) for _ in range(511)]
    with pytest.raises(Exhausted, match="511 views"):
        pool.read(handle)
    del views[100]
    pool.read(handle).close()
    for view in views:
        view.close()
    pool.free(handle)


def test_objects_that_python_makes_by_itself():
    for made in (ZsPool, ZsView):
        with pytest.raises(TypeError):
            made()
    empty = ZsPool.__new__(ZsPool)
    uses = [
        lambda: empty.alloc(1),
        lambda: empty.read(1),
        empty.stats,
        empty.class_table,
        empty.compact,
        empty.rehome,
        lambda: empty.chain,
    ]
    for use in uses:
        with pytest.raises(PoolError):
            use()
    with pytest.raises(TypeError):
        memoryview(ZsView.__new__(ZsView))
    ZsView.__new__(ZsView).close()


# ---- compaction


def test_compaction_gives_back_what_arithmetic_allows(pool):
    objects = fill(pool, 800)
    for handle in list(objects)[::2]:
        pool.free(handle)
        del objects[handle]
    freeable = pool.can_compact()
    assert freeable > 40
    assert pool.shrink_count() == freeable
    assert pool.compact() == freeable
    assert matches(pool, objects)
    stats = pool.stats()
    assert (stats.objects, stats.zspages, stats.pages_freeable) == (400, 50, 0)
    assert stats.pages_compacted + 1 >= freeable
    assert stats.moved > 0
    assert pool.compact() == 0


def test_compaction_passes_by_what_is_read(pool):
    objects = fill(pool, 80)
    kept = list(objects)[::8]
    for handle in set(objects) - set(kept):
        pool.free(handle)
        del objects[handle]
    views = [pool.read(handle) for handle in kept[:3]]
    pool.compact()
    assert [bytes(view) for view in views] == [objects[handle] for handle in kept[:3]]
    assert pool.stats().zspages == 3  # each reader's; ten objects need two
    assert pool.stats().skipped > 0
    for view in views:
        view.close()
    pool.compact()
    assert pool.stats().zspages == 2
    assert matches(pool, objects)


def test_compaction_stops_when_it_has_enough(pool):
    for handle in list(fill(pool, 800))[::2]:
        pool.free(handle)
    assert pool.compact(3) == 3
    assert pool.shrink_scan(4) == 4
    assert pool.can_compact() > 0


def test_empty_zspages(pool):
    handle = pool.alloc(500)
    pages = pool.stats().pages_used
    pool.free(handle)
    assert pool.stats().pages_used == pages  # one is kept for the next
    assert pool.can_compact() == pages
    assert pool.compact() == pages
    assert pool.stats().pages_used == 0


def test_the_class_table_adds_up(pool):
    fill(pool, 100)
    fill(pool, 30, 3000)
    fill(pool, 5, 10000)
    table = pool.class_table()
    stats = pool.stats()
    assert sum(row.obj_used for row in table) == stats.objects == 135
    assert sum(row.pages_used for row in table) == stats.pages_used
    assert stats.memory_bytes == stats.pages_used * 4096
    for row in table:
        zspages = row.empty + sum(row.fullness)
        assert row.obj_allocated == zspages * row.objs_per_zspage
        assert row.pages_used == zspages * row.pages_per_zspage
    (of_500,) = (row for row in table if row.size == 512)
    assert of_500.fullness == (0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 12)  # 4 of 8 slots is 50 %: "60"


# ---- who owns what


def test_death_frees_what_nobody_keeps(arena, pool):
    mine = pool.put(b"mine")

    def work():
        other = arena.zspool("objs")
        other.put(b"theirs")
        other.keep(other.put(b"kept"))
        other.put(b"kept too", keep=True)
        with other.read(mine) as view:
            assert view == b"mine"
            os._exit(0)  # the view is open

    assert in_child(work) == 0
    arena.recover()
    assert pool.stats().objects == 3
    pool.free(mine)


def test_another_process_frees(arena, pool):
    handle = pool.put(b"x")
    assert in_child(lambda: arena.zspool("objs").free(handle)) == 0
    with pytest.raises(StaleHandle):
        pool.read(handle)


def test_who_reads_last_frees_a_dead_process_s_object(arena, pool):
    ready, says = os.pipe()

    def work():
        handle = arena.zspool("objs").put(b"theirs")
        os.write(says, handle.to_bytes(8, "little"))

    pid = start(work)
    handle = int.from_bytes(os.read(ready, 8), "little")
    view = pool.read(handle)
    assert status_of(pid) == 0
    arena.recover()
    assert bytes(view) == b"theirs"
    assert pool.stats().objects == 1
    view.close()
    assert pool.stats().objects == 0
    os.close(ready)
    os.close(says)


def test_threads(pool):
    errors = []

    def work(seed):
        rng = random.Random(seed)
        mine = {}
        try:
            for _ in range(300):
                if mine and rng.random() < 0.45:
                    handle, data = mine.popitem()
                    with pool.read(handle) as view:
                        assert view == data
                    pool.free(handle)
                else:
                    data = rng.randbytes(rng.choice((24, 60, 500, 1450, 2900)))
                    mine[pool.put(data)] = data
                if rng.random() < 0.02:
                    pool.compact()
            assert matches(pool, mine)
            pool.free_bulk(mine)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert pool.stats().objects == 0


# ---- pools


def test_a_full_arena():
    with Arena.anonymous("1M") as arena:
        pool = arena.zspool("objs")
        objects = {}
        with pytest.raises(Exhausted, match="compact"):
            while True:
                objects[pool.put(b"x" * 4000)] = b"x" * 4000
        assert matches(pool, objects)
        assert len(objects) > 100
        pool.free_bulk(objects)
        small = fill(pool, 100, 10)  # the room of the other class's empty zspages
        assert matches(pool, small)
        pool.check()
        arena.check()


def test_a_fixed_size():
    with Arena.anonymous("4M") as arena:
        pool = arena.zspool("objs", size="64K")
        with pytest.raises(Exhausted):
            pool.alloc_bulk([4096] * 17)
        assert len(pool.alloc_bulk([4096] * 16)) == 16
        with pytest.raises(ValueError, match="64 KiB"):
            arena.zspool("small", size="63K")


def test_a_table_that_cannot_grow():
    """A zspage of another class can be had, but no cell: that is the end, not a reason to give the zspage back and begin anew."""
    with Arena.anonymous("4M") as arena:
        pool = arena.zspool("objs", size="64K")
        handles = pool.alloc_bulk([24] * 1536)
        with pytest.raises(Exhausted):
            pool.alloc(500)
        pool.free(handles.pop())
        with pytest.raises(Exhausted):  # a cell is its class's for ever
            pool.alloc(500)
        pool.alloc(24)
        pool.check()


def test_configuration(arena):
    pool = arena.zspool("objs", chain=4)
    assert arena.zspool("objs").chain == pool.chain == 4
    with pytest.raises(LayoutMismatch, match="chains of 4 pages"):
        arena.zspool("objs", chain=5)
    for chain in (3, 17):
        with pytest.raises(ValueError, match="4 to 16"):
            arena.zspool("other", chain=chain)
    with pytest.raises(LayoutMismatch):
        arena.genpool("objs")
    assert "zspool" in [info.kind for info in arena.pools()]


def test_destroy(arena):
    pool = arena.zspool("objs")
    handle = pool.put(b"x")
    with pytest.raises(Busy, match="1 objects"):
        pool.destroy()
    view = pool.read(handle)
    with pytest.raises(Busy, match="open views"):
        pool.destroy(force=True)
    view.close()
    pool.free(handle)
    pool.destroy()
    with pytest.raises(PoolError):
        pool.alloc(1)
    pool = arena.zspool("objs")
    pool.put(b"x")
    pool.destroy(force=True)


def test_a_private_arena_after_fork():
    with Arena("1M") as arena:
        pool = arena.zspool("objs")
        handle = pool.put(b"mine")

        def work():
            assert pool.read_bytes(handle) == b"mine"
            pool.free(handle)
            pool.check()

        assert in_child(work) == 0
        assert pool.read_bytes(handle) == b"mine"


CLOSES = """
from mempools import Arena
with Arena.attach("shared") as arena:
    pool = arena.zspool("objs")
    pool.put(b"theirs")
    pool.put(b"the pool's", keep=True)
print(pool.name)
"""


def test_who_closes_the_arena_takes_its_objects_along():
    with Arena.create("shared", "1M") as arena:
        pool = arena.zspool("objs")
        subprocess.run([sys.executable, "-c", CLOSES], check=True, stdout=subprocess.DEVNULL)
        assert pool.stats().objects == 1
        pool.check()
        arena.unlink("shared")


def memory(arena):
    """Bytes that the system has given to the arena's file."""
    return os.fstat(arena._mapping.fd).st_blocks * 512


def test_compaction_gives_memory_to_the_system(arena):
    pool = arena.zspool("compacted")
    before = memory(arena)
    handles = [pool.put(bytes([i % 251]) * 500) for i in range(600)]
    full = memory(arena)
    for handle in handles[::2]:
        pool.free(handle)
    assert memory(arena) == full == before, "frees keep it, and an arena's pages exist from the start"
    pages = pool.compact()
    assert pages > 30
    assert memory(arena) == full - pool.avail <= full - pages * 4096, "that of all free pages of the pool"
    assert all(pool.read_bytes(handles[i]) == bytes([i % 251]) * 500 for i in range(1, 600, 2))
    again = [pool.put(b"y" * 500) for _ in range(300)]
    assert full - pool.avail <= memory(arena) <= full
    assert all(pool.read_bytes(handle) == b"y" * 500 for handle in again)
    pool.check()


# ---- pages for the arena's other pools


def free_bytes(arena):
    return arena.stats().free_bytes


def contents(pool, handles):
    return all(pool.read_bytes(handle) == bytes([i % 251]) * 700 for i, handle in handles)


def scattered(pool):
    """Objects in many chunks, most of whose pages are free: with their numbers."""
    handles = [(i, pool.put(bytes([i % 251]) * 700)) for i in range(6000)]
    kept = handles[::10]
    pool.free_bulk(handle for i, handle in handles if i % 10)
    pool.compact()
    return kept


@pytest.fixture
def arena16():
    with Arena.anonymous("16M") as made:
        yield made


def test_rehoming_gives_pages_to_the_arena(arena16):
    pool = arena16.zspool("pool")
    kept = scattered(pool)
    before, size, system = free_bytes(arena16), pool.size, memory(arena16)
    pages = pool.rehome()
    assert pages * 4096 > size // 2
    assert free_bytes(arena16) == before + pages * 4096
    assert pool.size == size - pages * 4096
    assert memory(arena16) <= system, "and their memory to the system"
    assert contents(pool, kept)
    pool.check()
    arena16.check()
    other = arena16.genpool("other")  # another pool takes them
    with pytest.raises(Exhausted):
        while True:
            other.alloc_offset(3000)
    assert free_bytes(arena16) < 4096
    assert contents(pool, kept)
    assert pool.rehome() == 0, "what could be given back has been"
    with pytest.raises(Exhausted):
        while True:
            kept.append((1, pool.put(b"\x01" * 700)))
    assert contents(pool, kept)
    other.destroy(force=True)
    kept += [(i, pool.put(bytes([i % 251]) * 700)) for i in range(6000)]  # and the pool again
    assert contents(pool, kept)
    assert pool.size > size - pages * 4096
    pool.check()
    arena16.check()


def test_pages_that_come_back_are_the_ones_that_went(arena16):
    pool = arena16.zspool("pool")
    for _ in range(100):  # more often than a pool may have chunks
        handles = [pool.put(b"x" * 60_000) for _ in range(100)]
        pool.free_bulk(handles)
        pool.compact()
        assert pool.rehome() > 0
    arena16.check()
    pool.destroy()
    gc.collect()
    arena16.check()


def test_what_is_read_keeps_its_chunk(arena16):
    pool = arena16.zspool("pool")
    kept = scattered(pool)
    views = [(i, pool.read(handle)) for i, handle in kept[:500]]
    pool.rehome()
    assert all(bytes(memoryview(view)) == bytes([i % 251]) * 700 for i, view in views)
    for _, view in views:
        view.close()
    assert pool.rehome() > 0
    assert contents(pool, kept)
    pool.check()
    arena16.check()


def test_a_pool_with_a_size_keeps_it(arena16):
    pool = arena16.zspool("pool", size="2M")
    pool.free(pool.put(b"x"))
    assert pool.rehome() == 0
    assert pool.size >= 1 << 20


def test_large_objects_move_too(arena16):
    pool = arena16.zspool("pool")
    handles = [(i, pool.put(bytes([i]) * (4096 * (1 + i % 16)))) for i in range(200)]
    kept = handles[::7]
    pool.free_bulk(handle for i, handle in handles if i % 7)
    pool.compact()
    assert pool.rehome() > 0
    assert all(pool.read_bytes(handle) == bytes([i]) * (4096 * (1 + i % 16)) for i, handle in kept)
    pool.check()


def test_a_store_and_a_zram_give_pages_back(arena16):
    store = arena16.store("values", codec="none")
    device = arena16.zram("pages", disksize="4M", codec="none")
    values = {f"{i}": bytes([i % 251]) * (i * 97 % 9000 + (100_000 if i % 50 == 0 else 0)) for i in range(900)}
    store.update(values)
    for page in range(1000):
        device.write_page(page, random.Random(page).randbytes(4096))
    for i in range(900):
        if i % 8:
            del store[f"{i}"], values[f"{i}"]
    for page in range(1000):
        if page % 8:
            device.discard(page * 4096, 4096)
    before = free_bytes(arena16)
    store.compact()
    device.compact()
    given = store.rehome() * 4096
    assert given > 0
    assert free_bytes(arena16) == before + given
    given += device.rehome() * 4096
    assert free_bytes(arena16) == before + given
    assert dict(store) == values
    assert all(device.read_page(page) == random.Random(page).randbytes(4096) for page in range(0, 1000, 8))
    store.check()
    arena16.check()
    assert store.stats().capacity_bytes < 16 << 20


def test_memory_that_the_system_has_not_any_more_is_an_exception(tmp_path, monkeypatch):
    mount = ["mount", "-t", "tmpfs", "-o", "size=3M", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can only be mounted by root")
    monkeypatch.setenv("MEMPOOLS_DIR", str(tmp_path))
    try:
        with Arena.create("a", "1M") as arena:
            pool = arena.zspool("compacted", size="512K")
            handles = [pool.put(b"x" * 1000) for _ in range(300)]
            for handle in handles[::2]:
                pool.free(handle)
            assert pool.compact() > 30
            with open(tmp_path / "rest", "wb", buffering=0) as rest:
                try:
                    while True:
                        rest.write(bytes(4096))
                except OSError:
                    pass
            kept = handles[1::2]
            with pytest.raises(Exhausted):
                while True:
                    kept.append(pool.put(b"x" * 1000))
            os.unlink(tmp_path / "rest")
            kept += [pool.put(b"x" * 1000) for _ in range(100)]
            assert all(pool.read_bytes(handle) == b"x" * 1000 for handle in kept)
            pool.check()
            Arena.unlink("a")
            del pool
            gc.collect()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
