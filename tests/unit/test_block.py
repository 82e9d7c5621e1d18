"""Block: views, the end of a block, pickles that are garbage."""

import copy
import gc
import pickle
import weakref

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mempools import Arena, Block, Busy, Exhausted, GenPool, NotOwned, PoolError, StaleHandle
from mempools.objects import block as module

GRANULE = 64


@pytest.fixture
def arena():
    with Arena.anonymous("1M") as arena:
        yield arena
        gc.collect()


@pytest.fixture
def pool(arena):
    return arena.genpool("pool", granule=GRANULE, size=8192, shares=4)


# ---- views


def test_a_block_is_a_writable_buffer(pool):
    block = pool.alloc(100)
    with memoryview(block) as view:
        assert (view.nbytes, view.readonly, view.format, view.ndim) == (100, False, "B", 1)
        view[:5] = b"hello"
    assert bytes(block)[:5] == b"hello"
    assert len(block) == 100
    with memoryview(block) as first, memoryview(block) as second:
        first[7] = 9
        assert second[7] == 9


def test_blocks_are_read_into(pool, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 64)
    block = pool.alloc(64)
    with open(tmp_path / "file", "rb") as file:
        assert file.readinto(block) == 64
    assert bytes(block) == b"x" * 64


def test_a_view_keeps_a_block_from_being_freed(pool):
    block = pool.alloc(100)
    first, second = memoryview(block), memoryview(block)
    with pytest.raises(Busy, match="2 views"):
        block.free()
    first.release()
    with pytest.raises(Busy, match="1 views"):
        block.free()
    second.release()
    block.free()
    assert pool.avail == pool.size


def test_a_view_keeps_a_dropped_block(pool):
    view = memoryview(pool.alloc(100))
    assert pool.avail < pool.size
    view[:] = b"y" * 100
    others = [pool.alloc(GRANULE) for _ in range(pool.avail // GRANULE)]
    for other in others:
        with memoryview(other) as o:
            o[:] = b"z" * GRANULE
    assert bytes(view) == b"y" * 100
    del other, others, o
    view.release()
    del view
    assert pool.avail == pool.size


def test_a_numpy_array_keeps_its_block(pool):
    np = pytest.importorskip("numpy")
    array = np.frombuffer(pool.alloc(800), dtype=np.uint64)
    array[:] = range(100)
    assert pool.size - pool.avail == 832
    assert array.sum() == 4950
    part = array[10:20]
    del array
    assert pool.avail < pool.size
    assert part[0] == 10
    del part
    assert pool.avail == pool.size


def test_an_arena_with_views_is_not_closed():
    arena = Arena("1M")
    block = arena.genpool("pool").alloc(10)
    view = memoryview(block)
    with pytest.raises(Busy):
        arena.close()
    view.release()
    arena.close()


def test_a_view_outlives_its_arena():
    arena = Arena("1M")
    view = memoryview(arena.genpool("pool").alloc(10))
    del arena
    gc.collect()
    view[:] = b"0123456789"
    assert bytes(view) == b"0123456789"


def test_a_bare_address_has_no_bytes():
    block = GenPool((1 << 40, 4096), 64).alloc(100)
    with pytest.raises(BufferError, match="bare addresses"):
        memoryview(block)
    block.free()


# ---- the end


def test_free(pool):
    block = pool.alloc(100)
    assert not block.freed
    block.free()
    assert block.freed
    assert pool.avail == pool.size
    with pytest.raises(NotOwned, match="double free"):
        block.free()
    with pytest.raises(NotOwned, match="freed"):
        memoryview(block)
    with pytest.raises(NotOwned, match="freed"):
        pickle.dumps(block)
    assert pool.avail == pool.size


def test_a_double_free_does_not_touch_the_next_owner(pool):
    block = pool.alloc(100)
    offset = block.offset
    block.free()
    other = pool.alloc(100, algo="fixed", data=offset)
    with pytest.raises(NotOwned):
        block.free()
    del block
    assert pool.size - pool.avail == 128
    other.free()


def test_with(pool):
    with pool.alloc(100) as block:
        assert pool.avail < pool.size
    assert block.freed
    with pool.alloc(100) as block:
        block.free()
    with pytest.raises(RuntimeError, match="inside"), pool.alloc(100) as block:
        raise RuntimeError("inside")
    assert block.freed
    with pytest.raises(Busy), pool.alloc(100) as block:
        view = memoryview(block)
    view.release()
    assert not block.freed


def test_dropping_frees(pool):
    pool.alloc(100)
    blocks = [pool.alloc(100) for _ in range(10)]
    assert pool.size - pool.avail == 1280
    del blocks
    assert pool.avail == pool.size


def test_a_block_in_a_cycle_with_its_arena():
    """The collector ends the members of a cycle in any order: the block must still find its pool and its arena."""

    class Node:
        pass

    for _ in range(50):
        node = Node()
        node.arena = Arena("1M")
        node.pool = node.arena.genpool("pool")
        node.handle = node.pool.handle()
        node.blocks = [node.pool.alloc(100), node.handle.alloc(100)]
        node.arena.node = node
        gone = weakref.ref(node.arena)
        del node
        gc.collect()
        assert gone() is None


def test_a_received_block_in_a_cycle():
    for _ in range(20):
        arena = Arena.anonymous("1M")
        block = pickle.loads(pickle.dumps(arena.genpool("pool").alloc(100)))
        arena.keep = [arena, block, block.pool]
        gone = weakref.ref(arena)
        del arena, block
        gc.collect()
        assert gone() is None


def test_freed_behind_its_back(pool):
    block = pool.alloc(100)
    pool.free_offset(block.offset, 100)
    with pytest.raises(NotOwned):
        block.free()
    assert pool.avail == pool.size


# ---- what it is not


def test_blocks_are_made_by_pools():
    with pytest.raises(TypeError, match=r"GenPool\.alloc"):
        Block()
    made = Block.__new__(Block)
    for use in (
        lambda: memoryview(made),
        lambda: made.free(),
        lambda: pickle.dumps(made),
        lambda: repr(made),
        lambda: made.device_address,
        lambda: made.owner,
        lambda: bytes(made),
        lambda: made.__exit__(None, None, None),
    ):
        with pytest.raises((TypeError, AttributeError)):
            use()
    assert (made.offset, made.nbytes, len(made), made.freed, made.is_shared, made.holders) == (0, 0, 0, False, False, 1)


def test_copies_are_refused(pool):
    block = pool.alloc(100)
    for make in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="one owner"):
            make(block)


def test_repr(pool):
    block = pool.alloc(100)
    assert repr(block) == f"<mempools.Block 100 bytes at {block.offset:#x} of 'pool', own>"
    other = pickle.loads(pickle.dumps(block))
    assert "shared" in repr(block)
    other.free()
    assert "freed" in repr(other)


# ---- pickles


def test_private_memory_cannot_be_sent():
    with Arena("1M") as arena:
        block = arena.genpool("pool").alloc(10)
        with pytest.raises(TypeError, match="private"):
            pickle.dumps(block)
        assert not block.is_shared
        block.free()
    with pytest.raises(TypeError, match="private"):
        pickle.dumps(GenPool(bytearray(4096)).alloc(10))


def reduced(block):
    function, (arena, name, where) = block.__reduce__()
    assert function is module._load
    return arena, name, where


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_protocols(pool, protocol):
    block = pool.alloc(100)
    with memoryview(block) as view:
        view[:3] = b"abc"
    other = pickle.loads(pickle.dumps(block, protocol))
    assert (other.offset, other.nbytes, bytes(other)[:3]) == (block.offset, 100, b"abc")


NUMBERS = st.one_of(
    st.integers(0, 300),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63, 2**64 - 1, 2**64, -1, 1 << 48]),
    st.floats(),
    st.none(),
    st.text(max_size=3),
    st.booleans(),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), NUMBERS), min_size=1, max_size=3))
def test_tampered_tickets_are_errors(pool, changes):
    block = pool.alloc(100)
    arena, name, where = reduced(block)
    tampered = list(where)
    for place, value in changes:
        tampered[place] = value
    try:
        other = module._load(arena, name, tuple(tampered))
    except (PoolError, TypeError, ValueError, OverflowError):
        pass
    else:
        # What still names the block whole is a good handle: nbytes may differ inside the last granule.
        assert other.offset == block.offset
        assert 64 < other.nbytes <= 128
        other.free()
    pool.recall()
    block.free()
    assert pool.avail == pool.size
    pool.arena.check()


@pytest.mark.parametrize("where", [(), (1,), (1, 2, 3, 4), (1, 2, 3, 4, 5, 6), None, 5, "abcde", [1, 2, 3, 4, 5], {}])
def test_tuples_of_another_shape(pool, where):
    with pytest.raises((TypeError, ValueError, PoolError)):
        module._load(pool.arena, "pool", where)


@pytest.mark.parametrize("arena", [None, 5, "arena", object()])
def test_something_else_for_the_arena(arena):
    with pytest.raises((AttributeError, TypeError)):
        module._load(arena, "pool", (0, 1, 0, 0, 0))


def test_another_pools_name(pool):
    other = pool.arena.genpool("other", granule=128, size=8192, shares=2)
    block = pool.alloc(100)
    arena, _, where = reduced(block)
    with pytest.raises(NotOwned):
        module._load(arena, "other", where)
    for name in ("absent", "", 5, None, "x" * 100):
        with pytest.raises((KeyError, TypeError, ValueError)):
            module._load(arena, name, where)
    assert other.avail == other.size


def test_a_handle_of_another_generation(pool):
    block = pool.alloc(100)
    sent = pickle.dumps(block)
    arena, name, where = reduced(block)
    pool.recall()
    block.free()
    again = pool.alloc(100)
    newer = pickle.dumps(again)
    with pytest.raises(StaleHandle):
        pickle.loads(sent)
    with pytest.raises(StaleHandle):
        module._load(arena, name, where)
    pickle.loads(newer).free()
    again.free()
    assert pool.avail == pool.size


def test_every_cut_of_a_pickle_is_an_error(pool):
    block = pool.alloc(100)
    sent = pickle.dumps(block)
    for cut in range(len(sent)):
        with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError)):
            pickle.loads(sent[:cut])
    pickle.loads(sent).free()
    block.free()
    assert pool.avail == pool.size


def test_no_room_to_share(pool):
    blocks = [pool.alloc(100) for _ in range(5)]
    sent = [pickle.dumps(block) for block in blocks[:4]]
    with pytest.raises(Exhausted, match="share"):
        pickle.dumps(blocks[4])
    blocks[4].free()
    for one in sent:
        pickle.loads(one).free()
