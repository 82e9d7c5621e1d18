"""Mempool over Python objects: the backend first, the reserve last; callbacks that fail, raise and call back."""

import os

import pytest
from pressure import Element

from mempools import Exhausted, Mempool, NotOwned, PoolError, WaitForbidden, WouldBlock, in_noio, may_wait


class Backend:
    """Makes elements and remembers them; has `room` of them."""

    def __init__(self, room=1000):
        self.room = room
        self.out = []
        self.asked = []  # whether each call was allowed to wait

    def alloc(self):
        self.asked.append(may_wait())
        if len(self.out) >= self.room:
            return None
        element = Element()
        self.out.append(element)
        return element

    def free(self, element):
        self.out.remove(element)


@pytest.fixture
def backend():
    return Backend()


@pytest.fixture
def pool(backend):
    return Mempool(3, backend.alloc, backend.free)


def never(n):
    return True


# ---- making


def test_the_reserve_is_filled_at_once(pool, backend):
    assert (pool.min_nr, pool.curr_nr, pool.outstanding, pool.saturated) == (3, 3, 0, True)
    assert len(backend.out) == 3


@pytest.mark.parametrize("failure", [None, MemoryError()])
def test_a_reserve_that_cannot_be_filled_leaves_nothing(failure):
    backend = Backend(2)

    def alloc():
        element = backend.alloc()
        if element is None and failure is not None:
            raise failure
        return element

    with pytest.raises(Exhausted, match="only 2 of the 3"):
        Mempool(3, alloc, backend.free)
    assert backend.out == []


def test_another_exception_while_it_is_filled_passes_and_leaves_nothing():
    backend = Backend(2)

    def alloc():
        element = backend.alloc()
        if element is None:
            raise ConnectionError("no more")
        return element

    with pytest.raises(ConnectionError, match="no more"):
        Mempool(3, alloc, backend.free)
    assert backend.out == []


def test_bad_arguments():
    for min_nr in (-1, 1 << 21):
        with pytest.raises(ValueError, match="0 to 1048576"):
            Mempool(min_nr, Element)
    with pytest.raises(TypeError, match="called"):
        Mempool(1, 5)
    with pytest.raises(ValueError, match="repoll"):
        Mempool(1, Element, repoll=0)
    with pytest.raises(TypeError):
        Mempool("1", Element)
    pool = Mempool(1, Element)
    with pytest.raises(TypeError, match="made already"):
        pool.__init__(1, Element)
    with pytest.raises(NotOwned, match="by identity"):
        Mempool(2, lambda: "the same one")


def test_an_object_that_was_never_made_says_so():
    pool = Mempool.__new__(Mempool)
    for use in (
        lambda: pool.min_nr,
        lambda: pool.curr_nr,
        lambda: pool.outstanding,
        lambda: pool.saturated,
        pool.alloc,
        pool.alloc_async,
        pool.alloc_preallocated,
        pool.empty,
        pool.stats,
        pool.elements_by_process,
        lambda: pool.free(Element()),
        lambda: pool.resize(3),
        lambda: pool.alloc_bulk(1),
        lambda: pool._own_elements(),
        lambda: pool._is_stuck(),
        pool._repolled,
    ):
        with pytest.raises(PoolError, match="closed"):
            use()
    assert pool._woken(7)
    pool._bump()
    assert pool._calls(-1) == -1
    assert "Mempool" in repr(pool)


# ---- the order of an allocation


def test_the_backend_first_the_reserve_last(pool, backend):
    one = pool.alloc()
    assert pool.curr_nr == 3
    backend.room = 0
    two = pool.alloc()
    assert (pool.curr_nr, pool.outstanding) == (2, 2)
    pool.free(one)
    assert pool.curr_nr == 3, "the reserve first"
    pool.free(two)
    assert pool.curr_nr == 3
    assert two not in backend.out, "then the backend"
    assert pool.outstanding == 0


def test_the_first_attempt_may_not_wait_and_the_second_may(pool, backend):
    backend.room = 0
    backend.asked.clear()
    held = [pool.alloc() for _ in range(3)]
    assert backend.asked == [False] * 3
    backend.asked.clear()
    with pytest.raises(WouldBlock, match="not allowed"):
        pool.alloc(wait=False)
    assert backend.asked == [False], "asked once before the reserve"
    with pytest.raises(WouldBlock, match="within 0 s"):
        pool.alloc(timeout=0)
    assert backend.asked[1:] == [False, True]
    pool.free_bulk(held)


def test_preallocated_and_noreserve(pool, backend):
    nr = len(backend.asked)
    held = [pool.alloc_preallocated() for _ in range(3)]
    assert len(backend.asked) == nr
    with pytest.raises(WouldBlock, match="the reserve is empty"):
        pool.alloc_preallocated()
    held.append(pool.alloc_noreserve())
    pool.free_bulk(held)
    backend.room = 0
    with pytest.raises(Exhausted, match="the reserve was not to be used"):
        pool.alloc_noreserve()
    assert pool.curr_nr == 3


def test_bulk_is_all_or_nothing(pool, backend):
    pool.fail_backend(never)
    one = pool.alloc()
    with pytest.raises(WouldBlock):
        pool.alloc_bulk(3, wait=False)
    assert pool.curr_nr == 2
    with pytest.raises(ValueError, match="at most min_nr"):
        pool.alloc_bulk(4)
    assert pool.alloc_bulk(0) == []
    two = pool.alloc_bulk(2)
    assert len({id(element) for element in (one, *two)}) == 3
    pool.free(one)
    pool.free_bulk(two)
    assert (pool.curr_nr, pool.outstanding) == (3, 0)


@pytest.mark.parametrize("nr", [3, 64, 65, 192, 193, 500])
def test_bulk_of_any_size(nr):
    pool = Mempool(nr, Element)
    pool.fail_backend(lambda n: n == 1)  # the first one is the backend's
    held = pool.alloc_bulk(nr)
    assert len({id(element) for element in held}) == nr
    assert (pool.curr_nr, pool.stats().reserve) == (1, nr - 1)
    pool.fail_backend()
    pool.free_bulk(held)
    assert pool.curr_nr == nr


def test_a_bulk_mixes_backend_and_reserve():
    pool = Mempool(4, Element)
    pool.fail_backend(lambda n: n >= 2)
    held = pool.alloc_bulk(4)
    assert (pool.curr_nr, pool.outstanding) == (2, 4)
    pool.free_bulk(held)
    assert (pool.curr_nr, pool.outstanding) == (4, 0)


@pytest.mark.parametrize("min_nr", [0, 1])
def test_a_pool_of_minimum_zero_has_one(min_nr):
    pool = Mempool(min_nr, Element)
    assert pool.curr_nr == 1
    pool.fail_backend(never)
    element = pool.alloc()
    assert pool.curr_nr == 0
    with pytest.raises(WouldBlock):
        pool.alloc(wait=False)
    with pytest.raises(ValueError):
        pool.alloc_bulk(2)
    pool.free(element)
    assert pool.curr_nr == 1
    assert pool.alloc_bulk(1) == [element]


# ---- callbacks


def test_what_a_backend_raises_passes_and_nothing_is_lost(pool, backend):
    def raises():
        raise ConnectionError("refused")

    other = Mempool(2, lambda: backend.alloc() if len(backend.out) < 7 else raises(), backend.free)
    held = [other.alloc() for _ in range(2)]
    with pytest.raises(ConnectionError):
        other.alloc_bulk(2)
    assert (other.curr_nr, other.outstanding) == (2, 2)
    with pytest.raises(ConnectionError):
        other.alloc(timeout=0)
    other.free_bulk(held)
    assert (other.curr_nr, other.outstanding) == (2, 0)


def test_a_bulk_that_fails_gives_back_what_it_has_whatever_free_raises():
    freed = []

    def free(element):
        freed.append(element)
        raise OSError("broken")

    def fails(n):
        if n == 2:
            raise ConnectionError("refused")

    pool = Mempool(3, Element, free)
    pool.fail_backend(fails)
    with pytest.raises(OSError, match="broken"):
        pool.alloc_bulk(3)  # two from the backend, which the full reserve does not want
    assert len(freed) == 2
    assert (pool.curr_nr, pool.outstanding) == (3, 0)


def test_a_reset_hook():
    log = []
    pool = Mempool(1, dict, reset=dict.clear, free=log.append)
    element = pool.alloc_preallocated()
    element["used"] = True
    pool.free(element)
    assert pool.alloc_preallocated() is element
    assert element == {}
    other = pool.alloc()
    other["used"] = True
    pool.free(element)
    pool.free(other)
    assert log == [{}], "what goes back to the backend is reset, too"


def test_a_reset_hook_that_raises_leaves_the_element_with_its_holder():
    bad = []

    def reset(element):
        if element in bad:
            raise ConnectionResetError("gone")

    pool = Mempool(2, Element, reset=reset)
    element = pool.alloc_preallocated()
    bad.append(element)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            pool.free(element)
        assert (pool.curr_nr, pool.outstanding) == (1, 1)
    bad.clear()
    pool.free(element)
    assert (pool.curr_nr, pool.outstanding) == (2, 0)


def test_a_reset_hook_that_frees_the_same_element_again():
    again = []

    def reset(element):
        if again:
            again.pop().free(element)

    pool = Mempool(1, Element, reset=reset)
    element = pool.alloc_preallocated()
    again.append(pool)
    with pytest.raises(NotOwned, match="double free"):
        pool.free(element)
    assert (pool.curr_nr, pool.outstanding) == (0, 1)
    pool.free(element)
    assert pool.curr_nr == 1


def test_callbacks_run_in_noio_and_may_not_wait_for_their_pool():
    seen = []

    def alloc():
        seen.append(in_noio())
        if pools and not deep:
            deep.append(True)
            with pytest.raises(WaitForbidden, match="inside a callback"):
                pools[0].alloc()
            with pytest.raises(WaitForbidden):
                pools[0].alloc_bulk(1)
            assert pools[0].alloc(wait=False) is not None
            pools[0].free(Element())
        return Element()

    pools, deep = [], []
    pool = Mempool(1, alloc)
    pools.append(pool)
    held = pool.alloc()
    assert deep == [True]
    assert all(seen)
    assert held is not None


def test_a_backend_that_frees_elements_of_its_pool_serves_the_caller():
    """The reserve is looked at after the backend was asked."""
    held = []

    def alloc():
        if not held:
            return Element()
        pool.free(held.pop())
        return None

    pool = Mempool(2, alloc)
    held += [pool.alloc_preallocated(), pool.alloc_preallocated()]
    one, two = pool.alloc(), pool.alloc()
    assert one is not two
    assert pool.stats().waits == 0


# ---- freeing


def test_double_free_and_none(pool):
    element = pool.alloc_preallocated()
    pool.free(element)
    with pytest.raises(NotOwned, match="double free"):
        pool.free(element)
    with pytest.raises(TypeError, match="None"):
        pool.free(None)
    assert pool.curr_nr == 3


def test_a_foreign_object_does_not_upset_the_counts():
    pool = Mempool(3, Element)
    pool.free(Element())
    assert (pool.curr_nr, pool.outstanding) == (3, 0)


def test_free_bulk_stops_at_the_one_that_is_refused(pool):
    held = [pool.alloc_preallocated() for _ in range(3)]
    with pytest.raises(NotOwned):
        pool.free_bulk([held[0], held[0], held[1]])
    assert pool.curr_nr == 1
    pool.free_bulk(held[1:])


# ---- resizing, the end


def test_resize(pool, backend):
    assert pool.resize(70)
    assert (pool.min_nr, pool.curr_nr, len(backend.out)) == (70, 70, 70)
    assert pool.resize(2)
    assert (pool.min_nr, pool.curr_nr, len(backend.out)) == (2, 2, 2)
    assert pool.resize(0)
    assert (pool.min_nr, pool.curr_nr) == (0, 1)
    backend.room = 5
    assert not pool.resize(200), "partly filled, and said so"
    assert (pool.min_nr, pool.curr_nr) == (200, 5)
    for _ in range(10):
        pool.free(backend.alloc() or Element())
    assert pool.curr_nr == 15, "frees go on filling it"
    for min_nr in (-1, 1 << 21):
        with pytest.raises(ValueError):
            pool.resize(min_nr)


def test_a_resize_whose_free_raises_can_be_repeated():
    failing = [True]

    def free(element):
        if failing:
            raise OSError(failing.pop())

    pool = Mempool(5, Element, free)
    with pytest.raises(OSError):
        pool.resize(2)
    assert (pool.min_nr, pool.curr_nr) == (2, 4)  # the minimum first: a death here loses none that is needed
    assert pool.resize(2)
    assert (pool.min_nr, pool.curr_nr) == (2, 2)


def test_the_largest_reserve_has_room():
    pool = Mempool(1, Element)
    pool.fail_backend(lambda n: n >= 10)
    assert not pool.resize(1 << 20)
    assert (pool.min_nr, pool.curr_nr) == (1 << 20, 11)


def test_empty_gives_the_reserve_back(pool, backend):
    element = pool.alloc_preallocated()
    pool.empty()
    assert (pool.curr_nr, pool.outstanding) == (0, 1)
    assert backend.out == [element]
    pool.free(element)
    assert pool.curr_nr == 1


def test_a_forked_child_has_a_copy(pool):
    """Checklist 31: no waiter or lock of the parent's other threads."""
    pid = os.fork()
    if pid == 0:
        try:
            pool.fail_backend(never)
            held = [pool.alloc(wait=False) for _ in range(3)]
            pool.free_bulk(held)
            os._exit(0 if pool.curr_nr == 3 else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool.curr_nr == 3


# ---- statistics


def test_statistics(pool):
    held = [pool.alloc(), pool.alloc_preallocated()]
    pool.free_bulk(held)
    with pytest.raises(WouldBlock):
        pool.fail_backend(never)
        pool.alloc_bulk(3)
        pool.alloc(timeout=0)
    stats = pool.stats()
    assert (stats.backend, stats.reserve, stats.frees, stats.refills) == (4, 4, 5, 4)
    assert (stats.waits, stats.timeouts, stats.waiters, stats.low_water) == (0, 1, 0, 0)
    assert len(stats.wait_histogram) == 24
    assert stats.holders == {}
