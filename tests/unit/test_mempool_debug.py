"""What helps to find faults of a Mempool's users: poison, messages with both places, leaks, faults at will."""

import warnings

import pytest
from pressure import Element

import mempools
from mempools import Mempool, NotOwned, PoisonWarning, WouldBlock
from mempools.objects.poison import report


@pytest.fixture
def tracing():
    mempools.trace_allocations(True)
    yield
    mempools.trace_allocations(False)


def poisoned(arena, min_nr=2, nbytes=64):
    pool = arena.mempool("pool", nbytes=nbytes, min_nr=min_nr, poison=True)
    pool.fail_backend(lambda n: True)
    return pool


def spoil(arena, pool, at=5):
    """Writes to an element through an array that outlives it: of the backend, which sees the whole chunk."""
    element = pool.alloc()
    offset = element.offset
    del element
    with open(f"/proc/self/fd/{arena._mapping.fd}", "r+b", buffering=0) as file:
        file.seek(offset + at)
        file.write(b"\x01")


@pytest.mark.parametrize("nbytes", [1, 2, 64, 100])
def test_poison_that_nobody_touched(arena, nbytes):
    pool = poisoned(arena, nbytes=nbytes)
    for _ in range(3):
        element = pool.alloc()
        assert bytes(element) == b"\x5a" * nbytes
        with memoryview(element) as view:
            view[:] = b"x" * nbytes
        del element, view


def test_a_write_to_a_free_element_is_shown(arena):
    pool = poisoned(arena)
    spoil(arena, pool)
    with pytest.warns(
        PoisonWarning, match=r"byte 5 of 64 is 0x01 instead of 0x6b; bytes 0 to 13: 6b 6b 6b 6b 6b 01 6b"
    ):
        element = pool.alloc()
    assert element is not None
    spoil(arena, pool, 63)
    with pytest.warns(PoisonWarning, match=r"byte 63 of 64 is 0x01 instead of 0xa5; bytes 55 to 63"):
        pool.alloc_preallocated()


@pytest.mark.parametrize("nr", [1, 2, 3])
def test_a_warning_that_is_an_error_loses_nothing(arena, nr):
    pool = poisoned(arena, 3)
    spoil(arena, pool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PoisonWarning):
            pool.alloc_bulk(nr)
    assert (pool.curr_nr, pool.outstanding, pool.stats().waiters) == (3, 0, 0)
    assert len({element.offset for element in pool.alloc_bulk(3)}) == 3


def test_the_report():
    assert report(b"\x6b" * 7 + b"\xa5", 0x6B, 0xA5) is None
    assert "byte 0 of 1" in report(b"\x6b", 0x6B, 0xA5)


def test_poison_by_the_environment(arena, monkeypatch):
    monkeypatch.setenv("MEMPOOLS_DEBUG", "other,poison")
    pool = arena.mempool("pool", nbytes=64, min_nr=1)
    assert bytes(pool.alloc_preallocated()) == b"\x5a" * 64


def test_wrong_frees_name_both_places(arena, tracing):
    pool = arena.mempool("pool", nbytes=200, min_nr=2)
    other = arena.genpool("other", granule=64)
    place = r"allocated at .*test_mempool_debug\.py:\d+ in test_wrong"
    offset = pool.alloc_offset()
    with pytest.raises(NotOwned, match=f"inside a block.*{place}"):
        pool.free_offset(offset + pool.blocks.granule)
    with pytest.raises(NotOwned, match="is not the start"):
        pool.free_offset(offset + 1)
    with pytest.raises(NotOwned):
        pool.free_offset(other.alloc(200).offset)
    pool.free_offset(offset)
    with pytest.raises(NotOwned, match=f"{place}.*, freed at .*test_mempool_debug"):
        pool.free_offset(offset)
    large = pool.blocks.alloc(400)
    with pytest.raises(NotOwned, match="of 200 bytes, but"):
        pool.free_offset(large.offset)
    element = pool.alloc_preallocated()
    pool.free(element)
    with pytest.raises(NotOwned, match="freed at"):
        pool.free(element)
    assert (pool.curr_nr, pool.outstanding) == (2, 0)


def test_leaks_are_listed_by_place(arena, tracing):
    pool = arena.mempool("pool", nbytes=64, min_nr=2)
    pool.fail_backend(lambda n: n % 2)
    held = [pool.alloc(), pool.alloc(), pool.alloc_preallocated()]
    found = [one for one in mempools.allocations() if one.pool == "pool"]
    assert sorted(one.offset for one in found) == sorted(element.offset for element in held)
    assert all("test_mempool_debug.py" in one.site and one.nbytes == 64 for one in found)
    del held
    assert [one for one in mempools.allocations() if one.pool == "pool"] == []


@pytest.mark.parametrize("kind", ["objects", "blocks"])
@pytest.mark.parametrize("wanted", [1, 5])
def test_every_attempt_fails_in_turn_until_none_does(arena, kind, wanted):
    """The n-th attempt fails, then all from the n-th on: nothing is lost, and no more is asked than is there."""
    pool = Mempool(5, Element) if kind == "objects" else arena.mempool("pool", nbytes=64, min_nr=5)
    for n in range(wanted + 2):
        for fails in (lambda i, n=n: i == n, lambda i, n=n: i >= n):
            pool.fail_backend(fails)
            held = pool.alloc_bulk(wanted) if wanted > 1 else [pool.alloc()]
            assert pool.curr_nr == 5 - max(wanted - n, 0)
            pool.free_bulk(held)
            assert (pool.curr_nr, pool.outstanding) == (5, 0)
    held = [pool.alloc_preallocated() for _ in range(3)]
    for n in range(3):
        pool.fail_backend(lambda i, n=n: i >= n)
        with pytest.raises(WouldBlock):
            pool.alloc_bulk(5, wait=False)
        # What the backend had given fills the reserve, which needs less of the backend the next time.
        assert (pool.curr_nr, pool.outstanding) == (2 + n * (n + 1) // 2, 3)
        if pool.curr_nr + n + 1 >= 5:
            break
    pool.free_bulk(held)
    assert (pool.curr_nr, pool.outstanding) == (5, 0)


def test_a_fault_that_raises_passes(arena):
    def fails(n):
        raise OSError("as the test wants it")

    for pool in (Mempool(2, Element), arena.mempool("pool", nbytes=64, min_nr=2)):
        pool.fail_backend(fails)
        with pytest.raises(OSError, match="as the test wants"):
            pool.alloc()
        assert (pool.curr_nr, pool.outstanding) == (2, 0)
