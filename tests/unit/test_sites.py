import pytest

import mempools


@pytest.fixture(autouse=True)
def tracing():
    mempools.trace_allocations()
    yield
    mempools.trace_allocations(False)
    assert mempools.allocations() == []


def test_errors_say_where_a_block_was_allocated_and_freed():
    pool = mempools.GenPool(bytearray(4096))
    offset = pool.alloc_offset(100)
    with pytest.raises(mempools.NotOwned, match=r"allocated at .*test_sites\.py:\d+ in test_errors_say"):
        pool.free_offset(offset, 300)
    pool.free_offset(offset, 100)
    with pytest.raises(mempools.NotOwned, match=r"double free.*allocated at .*, freed at .*test_sites\.py"):
        pool.free_offset(offset, 100)


def test_what_is_not_freed_is_listed_with_its_place():
    pool = mempools.GenPool(bytearray(4096))
    dropped, freed, kept = pool.alloc(10), pool.alloc(10), pool.alloc(10)
    bulk = pool.alloc_bulk(3, 64)
    del dropped
    freed.free()
    pool.free_bulk(bulk[:2], 64)
    found = mempools.allocations()
    assert [(a.offset, a.nbytes) for a in found] == [(kept.offset, 10), (bulk[2], 64)]
    assert all("test_sites.py" in a.site for a in found)


def test_without_tracing_nothing_is_kept():
    mempools.trace_allocations(False)
    pool = mempools.GenPool(bytearray(4096))
    block = pool.alloc(10)
    assert mempools.allocations() == []
    with pytest.raises(mempools.NotOwned) as caught:
        pool.free_offset(block.offset, 100)
    assert "allocated at" not in str(caught.value)
