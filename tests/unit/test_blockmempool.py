"""Mempool over blocks of an arena: elements are Blocks, their reserve is the arena's."""

import contextlib
import gc
import os
import pickle
import random

import pytest
from children import in_child

from mempools import (
    Arena,
    Block,
    Busy,
    Exhausted,
    GenPool,
    LayoutMismatch,
    Mempool,
    NotOwned,
    PoolError,
    WouldBlock,
)

NBYTES = 200


@pytest.fixture
def pool(arena):
    return arena.mempool("pool", nbytes=NBYTES, min_nr=3)


def never(n):
    return True


# ---- making


def test_it_is_a_mempool_whose_elements_are_blocks(pool):
    assert isinstance(pool, Mempool)
    assert (pool.min_nr, pool.curr_nr, pool.nbytes, pool.outstanding) == (3, 3, NBYTES, 0)
    assert repr(pool) == "<mempools.Mempool 'pool', 200 bytes, 3 of 3 in reserve>"
    with pool.alloc() as block:
        assert isinstance(block, Block)
        assert len(block) == NBYTES
        assert pool.outstanding == 1
        assert pool.elements_by_process() == {os.getpid(): 1}
    assert pool.outstanding == 0


def test_bad_arguments(arena):
    other = GenPool((0x1000, 4096), 64)
    for arguments in (
        {"nbytes": 0},
        {"nbytes": 1 << 41},
        {"min_nr": -1},
        {"min_nr": 1 << 21},
        {"shares": -1},
        {"repoll": 0},
        {"repoll": float("nan")},
        {"size": 599},
        {"size": 4096, "backend": arena.genpool("g")},
        {"backend": other},
    ):
        with pytest.raises(ValueError):
            arena.mempool("pool", **{"nbytes": NBYTES, "min_nr": 3, **arguments})
    with pytest.raises(KeyError):
        arena.mempool("pool", nbytes=NBYTES, min_nr=3, backend="no such pool")
    with pytest.raises(TypeError, match=r"Arena\.mempool"):
        type(arena.mempool("pool", nbytes=NBYTES, min_nr=3))()


@pytest.mark.parametrize(
    "other", [{"nbytes": 100}, {"min_nr": 2}, {"fifo": True}, {"poison": True}, {"backend": "blocks"}, {"size": "64K"}]
)
def test_another_configuration_is_a_mismatch(arena, pool, other):
    arena.genpool("blocks", granule=64)
    with pytest.raises(LayoutMismatch):
        arena.mempool("pool", **{"nbytes": NBYTES, "min_nr": 3, **other})
    with pytest.raises(LayoutMismatch, match="mempool"):
        arena.genpool("pool")
    pool.resize(7)
    assert arena.mempool("pool", nbytes=NBYTES, min_nr=3).curr_nr == 7, "a resized reserve stays as it is"


def test_an_arena_without_room_is_exhausted_and_nothing_is_left():
    with Arena.anonymous("1M") as arena:
        before = arena.stats()
        for arguments in ({"nbytes": 1 << 20, "min_nr": 1}, {"nbytes": 4096, "min_nr": 400}):
            with pytest.raises(Exhausted):
                arena.mempool("pool", **arguments)
            assert arena.stats() == before
        blocks = arena.genpool("blocks", granule=64, size=4096)
        before = arena.stats()
        with pytest.raises(Exhausted):
            arena.mempool("pool", nbytes=64, min_nr=blocks.size // 64 + 1, backend=blocks)
        assert arena.stats() == before
        assert blocks.avail == blocks.size
        arena.check()


@pytest.mark.parametrize("min_nr", [0, 1, 64, 65, 200])
@pytest.mark.parametrize("nbytes", [1, 8, 100, 4096])
def test_sizes(nbytes, min_nr):
    with Arena.anonymous("2M") as arena:
        pool = arena.mempool("pool", nbytes=nbytes, min_nr=min_nr)
        pool.fail_backend(never)
        blocks = pool.alloc_bulk(max(min_nr, 1))
        assert len({block.offset for block in blocks}) == max(min_nr, 1)
        for i, block in enumerate(blocks):
            with memoryview(block) as view:
                view[:] = bytes([i % 251]) * nbytes
        assert all(bytes(block) == bytes([i % 251]) * nbytes for i, block in enumerate(blocks))
        with pytest.raises(WouldBlock):
            pool.alloc(wait=False)
        del blocks, block
        assert pool.curr_nr == max(min_nr, 1)
        pool.check()
        arena.check()


# ---- backends


def test_over_a_genpool_by_object_or_name(arena):
    blocks = arena.genpool("blocks", granule=64, size=4096)
    pool = arena.mempool("pool", nbytes=100, min_nr=2, backend=blocks)
    assert arena.mempool("pool", nbytes=100, min_nr=2, backend="blocks").curr_nr == 2
    assert blocks.avail == blocks.size - 2 * 128
    held = [pool.alloc() for _ in range(blocks.size // 128)]
    assert (pool.curr_nr, blocks.avail) == (0, blocks.size % 128)
    with pytest.raises(WouldBlock):
        pool.alloc(wait=False)
    with pytest.raises(Exhausted):
        pool.alloc_noreserve()
    del held
    assert (pool.curr_nr, blocks.avail) == (2, blocks.size - 2 * 128)
    pool.check()
    pool.destroy()
    assert blocks.avail == blocks.size


def test_two_mempools_over_one_backend(arena):
    blocks = arena.genpool("blocks", granule=64, size=4096)
    pools = [arena.mempool(name, nbytes=64, min_nr=8, backend=blocks) for name in ("one", "two")]
    held = [pools[0].alloc() for _ in range(blocks.size // 64 - 8)]
    assert [pool.curr_nr for pool in pools] == [0, 8]
    with pytest.raises(NotOwned, match="no element of this pool"):
        pools[1].free(held[0])
    held.append(pools[1].alloc())
    del held
    assert [pool.curr_nr for pool in pools] == [8, 8]
    with pytest.raises(NotOwned, match="no element of this pool"):
        pools[0].free(blocks.alloc(64))
    with pytest.raises(NotOwned, match="no element of this pool"):
        pools[0].free("something")


def test_a_large_reserve_in_a_private_arena():
    with Arena("1M") as arena:
        pool = arena.mempool("pool", nbytes=64, min_nr=300)
        pool.fail_backend(never)
        held = pool.alloc_bulk(300)
        assert pool.curr_nr == 0
        with pytest.raises(TypeError, match="private"):
            pickle.dumps(held[0])
        del held
        assert pool.curr_nr == 300


# ---- elements


def test_an_element_comes_back_in_every_way(pool):
    pool.fail_backend(never)
    element = pool.alloc()
    element.free()
    assert pool.curr_nr == 3
    element = pool.alloc()
    pool.free(element)
    assert pool.curr_nr == 3
    element = pool.alloc()
    del element
    assert pool.curr_nr == 3
    with pool.alloc():
        assert pool.curr_nr == 2
    assert pool.curr_nr == 3
    with pool.acquire() as element:
        assert pool.curr_nr == 2
    assert pool.curr_nr == 3
    assert element.freed
    element = pool.alloc()
    view = memoryview(element)
    with pytest.raises(Busy):
        pool.free(element)
    assert pool.curr_nr == 2
    del element
    assert pool.curr_nr == 2, "a view keeps it"
    del view
    assert pool.curr_nr == 3


def test_another_object_of_the_pool_frees_its_elements(arena, pool):
    again = arena.mempool("pool", nbytes=NBYTES, min_nr=3)
    again.free(pool.alloc_preallocated())
    assert (pool.curr_nr, again.curr_nr) == (3, 3)
    received = pickle.loads(pickle.dumps(pool.alloc_preallocated()))
    pool.free(received)
    pool.recall()
    assert pool.curr_nr == 3


def test_pickled_elements_come_back_with_the_last_holder(pool):
    pool.fail_backend(never)
    element = pool.alloc()
    received = pickle.loads(pickle.dumps(element))
    assert pool.elements_by_process() == {"shared": 1}
    element.free()
    assert (pool.curr_nr, pool.outstanding) == (2, 1)
    del received
    assert (pool.curr_nr, pool.outstanding) == (3, 0)
    pickle.dumps(pool.alloc())
    assert pool.curr_nr == 2
    assert pool.recall() == 1
    assert pool.curr_nr == 3


def test_offsets(pool):
    pool.fail_backend(never)
    offsets = [pool.alloc_offset() for _ in range(3)]
    with pytest.raises(WouldBlock):
        pool.alloc_offset(wait=False)
    with pytest.raises(WouldBlock):
        pool.alloc_offset(timeout=0)
    for offset in offsets:
        pool.free_offset(offset)
    assert pool.curr_nr == 3
    pool.fail_backend()
    offset = pool.alloc_offset()
    assert offset not in offsets
    pool.free_offset(offset)
    for wrong in (offset, offsets[0], offset + 8, 0, 1 << 63):
        with pytest.raises(NotOwned):
            pool.free_offset(wrong)
    for wrong in (-1, 1 << 64, "0", None):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            pool.free_offset(wrong)
    assert (pool.curr_nr, pool.outstanding) == (3, 0)


# ---- the end


def test_destroy_with_elements_outstanding(arena, pool):
    element = pool.alloc()
    with pytest.raises(Busy, match="1 elements"):
        pool.destroy()
    assert pool.curr_nr == 3
    pool.destroy(force=True)
    for use in (
        lambda: pool.min_nr,
        lambda: pool.outstanding,
        pool.stats,
        pool.alloc,
        pool.alloc_offset,
        pool.alloc_async,
        pool.check,
        pool.empty,
        pool.destroy,
        pool.elements_by_process,
    ):
        with pytest.raises(PoolError, match="destroyed"):
            use()
    assert "closed" in repr(pool)
    with pytest.raises(PoolError):
        element.free()
    del element
    again = arena.mempool("again", nbytes=NBYTES, min_nr=3)
    assert again.curr_nr == 3


def test_destroy_over_a_backend_leaves_the_elements_to_it(arena):
    blocks = arena.genpool("blocks", granule=64, size=4096)
    pool = arena.mempool("pool", nbytes=64, min_nr=4, backend=blocks)
    element = pool.alloc()
    pool.destroy()
    assert blocks.avail == blocks.size - 64
    with memoryview(element) as view:
        view[:] = b"x" * 64
    del element, view
    assert blocks.avail == blocks.size


def test_a_closed_arena():
    arena = Arena.anonymous("1M")
    pool = arena.mempool("pool", nbytes=64, min_nr=2)
    held = pool.alloc(), pool.alloc_preallocated()
    arena.close()
    for use in (lambda: pool.curr_nr, pool.alloc, lambda: pool.alloc_bulk(1), pool.stats, lambda: pool.resize(4)):
        with pytest.raises(PoolError, match="closed"):
            use()
    assert "closed" in repr(pool)
    del held
    gc.collect()


def test_resize_and_its_table(pool):
    assert pool.resize(300)
    assert pool.curr_nr == 300
    pool.check()
    assert pool.resize(10)
    assert pool.curr_nr == 10
    assert not pool.resize(8000), "the arena has no room for that many, and said so"
    assert 300 < pool.curr_nr < 8000
    pool.check()
    assert pool.resize(3)
    with pytest.raises(Exhausted, match="no room for the table"):
        pool.resize(1 << 20)
    assert (pool.min_nr, pool.curr_nr) == (3, 3)


# ---- garbage: an arena is a file that others may have written to

ROOT = 17472  # bytes of a Reserve (pools/reserve.pxd)
MADE = 256  # where in it `made` lies; behind it nbytes, backend, serial, fifo, asked


def root_of(data):
    """Where the table of the pool of 70 elements of 64 bytes lies."""
    words = memoryview(data).cast("Q")
    return next(
        i * 8 - MADE for i in range(len(words) - 6) if words[i : i + 2].tolist() == [1, 64] and words[i + 5] == 70
    )


@pytest.mark.parametrize("seed", range(16))
def test_a_garbage_root_is_corrupt_and_never_a_crash(tmp_path, seed):
    """In a child of its own: a crash must not end the test run, a loop without end must not last."""
    path = tmp_path / "arena"
    with Arena.file(path, "1M") as arena:
        pool = arena.mempool("pool", nbytes=64, min_nr=70, backend=arena.genpool("blocks", granule=64))
        del pool
    gc.collect()
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    root = root_of(data)
    constants = slice(root + MADE, root + MADE + 56)
    before = data[constants]
    for _ in range((3, 12, ROOT // 4)[seed % 3]):
        at = root + rng.randrange(ROOT // 8 if seed % 2 else 64) * 8
        data[at : at + 8] = rng.choice((rng.randbytes(8), b"\xff" * 8, bytes(8), (1 << 20).to_bytes(8, "little")))
    if seed % 4:  # or else the pool is another one, and nothing is done with it
        data[constants] = before
    data[root : root + 8] = (0, 500)[seed % 5 == 1].to_bytes(8, "little")  # the lock of who may live is waited for
    path.write_bytes(data)
    assert in_child(lambda: use(path), seconds=5) == 0


def use(path):
    with Arena.file(path) as arena:
        for find in (
            lambda: arena.mempool("pool", nbytes=64, min_nr=70, backend="blocks"),
            lambda: arena._known_mempool("pool"),
        ):
            with contextlib.suppress(PoolError, KeyError):
                use_pool(arena, find())


def use_pool(arena, pool):
    for call in (
        pool.check,
        pool.alloc_preallocated,
        lambda: pool.alloc(wait=False),
        lambda: pool.alloc_bulk(5, wait=False),
        pool.stats,
        lambda: pool.resize(200),
        lambda: pool.alloc(timeout=0),
        lambda: pool.resize(2),
        pool.empty,
        arena.check,
    ):
        with contextlib.suppress(PoolError, ValueError):
            call()
