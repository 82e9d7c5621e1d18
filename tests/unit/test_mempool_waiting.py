"""Threads that wait for elements of a Mempool, of objects and of blocks."""

import os
import signal
import threading
import time

import pytest
from pressure import pools_of, whole

from mempools import Arena, Busy, WouldBlock


@pytest.fixture(params=["objects", "blocks"])
def make(request):
    with pools_of(request.param) as make:
        yield make


def until_waiting(pool, nr):
    """Until nr threads are in the pool's queue."""
    while pool.stats().waiters < nr:
        time.sleep(0.001)


def started(target, *args):
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def test_a_timeout_takes_nothing(make):
    pool = make(2)
    held = pool.alloc_bulk(2)
    for timeout in (0, 0.001, -1):
        with pytest.raises(WouldBlock, match="within"):
            pool.alloc(timeout=timeout)
        with pytest.raises(WouldBlock):
            pool.alloc_bulk(2, timeout=timeout)
    for timeout in (float("nan"), "1"):
        with pytest.raises((ValueError, TypeError)):
            pool.alloc(timeout=timeout)
    pool.free_bulk(held)
    assert whole(pool)


@pytest.mark.parametrize("min_nr", [0, 1])
def test_a_waiter_gets_what_is_freed(make, min_nr):
    pool = make(min_nr, repoll=1000)
    element, got = pool.alloc(), []
    thread = started(lambda: got.append(pool.alloc(timeout=1000)))
    until_waiting(pool, 1)
    pool.free(element)
    thread.join()
    pool.free(got.pop())
    assert whole(pool)
    assert pool.stats().waits == 1


def test_fifo_serves_in_order_and_nobody_overtakes(make):
    pool = make(1, fifo=True, repoll=1000)
    first, order = pool.alloc(), []

    def wait(i):
        element = pool.alloc(timeout=1000)
        order.append(i)
        pool.free(element)

    threads = []
    for i in range(5):
        threads.append(started(wait, i))
        until_waiting(pool, i + 1)
    with pytest.raises(WouldBlock):
        pool.alloc(wait=False)
    pool.free(first)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert whole(pool)


def test_fifo_lets_nobody_pass_the_oldest_that_needs_more(make):
    pool = make(2, fifo=True, repoll=1000)
    held, order = pool.alloc_bulk(2), []

    def wait(nr):
        elements = pool.alloc_bulk(nr, timeout=1000)
        order.append(nr)
        pool.free_bulk(elements)

    two = started(wait, 2)
    until_waiting(pool, 1)
    one = started(wait, 1)
    until_waiting(pool, 2)
    pool.free(held.pop())
    with pytest.raises(WouldBlock):
        pool.alloc(wait=False)
    assert order == []
    pool.free(held.pop())
    two.join()
    one.join()
    assert order == [2, 1]
    assert whole(pool)


def test_without_fifo_a_newcomer_may_take_what_comes_back(make):
    pool = make(1, repoll=1000)
    first, got = pool.alloc(), []
    thread = started(lambda: got.append(pool.alloc(timeout=1000)))
    until_waiting(pool, 1)
    for _ in range(50):  # whoever wins, nothing is lost
        pool.free(first)
        try:
            first = pool.alloc(wait=False)
        except WouldBlock:
            break
    else:
        pool.free(first)
    thread.join()
    pool.free(got.pop())
    assert whole(pool)


def test_a_waiter_that_gives_up_passes_its_turn_on(make):
    pool = make(1, fifo=True, repoll=1000)
    first, got = pool.alloc(), []

    def impatient():
        with pytest.raises(WouldBlock):
            pool.alloc(timeout=0.05)

    one = started(impatient)
    until_waiting(pool, 1)
    two = started(lambda: got.append(pool.alloc(timeout=1000)))
    until_waiting(pool, 2)
    one.join()
    pool.free(first)
    two.join()
    pool.free(got.pop())
    assert whole(pool)


def test_two_bulk_callers_that_need_more_than_half_each(make):
    pool = make(4, repoll=1000)

    def work():
        for _ in range(100):
            pool.free_bulk(pool.alloc_bulk(3, timeout=1000))

    threads = [started(work) for _ in range(2)]
    for thread in threads:
        thread.join()
    assert whole(pool)


def test_more_waiters_than_the_queue_has_places(make):
    pool = make(3)
    held = pool.alloc_bulk(3)

    def work():
        pool.free(pool.alloc(timeout=1000))

    threads = [started(work) for _ in range(270)]
    until_waiting(pool, 256)
    pool.free_bulk(held)
    for thread in threads:
        thread.join()
    assert whole(pool)


def test_many_threads_and_a_resize_under_load(make):
    pool = make(3, repoll=0.05)
    failures, running = [], threading.Event()

    def work(i):
        try:
            while not running.is_set():
                nr = 1 + i % 3
                try:
                    elements = pool.alloc_bulk(nr, timeout=1000)
                except (ValueError, WouldBlock):
                    continue  # the reserve is smaller than that now
                assert len({id(element) for element in elements}) == nr
                pool.free_bulk(elements)
        except BaseException as error:
            failures.append(error)

    threads = [started(work, i) for i in range(4)]
    pool.fail_backend()
    for min_nr in (70, 2, 200, 65, 0, 1, 193, 3):
        pool.resize(min_nr)
        assert pool.min_nr == min_nr
    running.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert pool.stats().waiters == 0
    assert pool.outstanding == 0
    assert pool.resize(3)
    assert pool.curr_nr == 3


def test_two_resizes_at_a_time(make):
    pool = make(1)
    pool.fail_backend()
    failures = []

    def work(sizes):
        try:
            for min_nr in sizes:
                pool.resize(min_nr)
        except BaseException as error:
            failures.append(error)

    threads = [started(work, sizes) for sizes in ([70, 3] * 20, [200, 1] * 20)]
    for thread in threads:
        thread.join()
    assert failures == []
    pool.resize(5)
    assert (pool.min_nr, pool.curr_nr, pool.outstanding) == (5, 5, 0)


def test_who_waits_for_more_than_a_resize_leaves_is_told(make):
    pool = make(3, repoll=1000)
    held, told = pool.alloc_bulk(3), []

    def work():
        with pytest.raises(WouldBlock, match="was resized"):
            pool.alloc_bulk(3, timeout=1000)
        told.append(True)

    thread = started(work)
    until_waiting(pool, 1)
    pool.resize(2)
    thread.join()
    assert told == [True]
    pool.free_bulk(held)
    assert pool.stats().waiters == 0


class Stop(Exception):
    """By a signal handler."""


def test_ctrl_c_loses_nothing(make):
    """A real SIGINT while the main thread waits, and a signal whose handler frees what it waits for."""
    pool = make(2, repoll=1000)
    held = pool.alloc_bulk(2)

    def interrupt():
        until_waiting(pool, 1)
        os.kill(os.getpid(), signal.SIGINT)

    for wait in (lambda: pool.alloc(timeout=1000), lambda: pool.alloc_bulk(2, timeout=1000)):
        thread = started(interrupt)
        with pytest.raises(KeyboardInterrupt):
            wait()
        thread.join()
        assert pool.stats().waiters == 0
    before = signal.signal(signal.SIGINT, lambda *_: pool.free(held.pop()))
    try:
        thread = started(interrupt)
        element = pool.alloc(timeout=1000)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    pool.free(element)
    pool.free_bulk(held)
    assert whole(pool)


def test_a_pool_is_not_destroyed_under_a_waiter():
    with Arena.anonymous("1M") as arena:
        pool = arena.mempool("pool", nbytes=64, min_nr=1, repoll=1000)
        pool.fail_backend(lambda n: True)
        element, got = pool.alloc(), []
        thread = started(lambda: got.append(pool.alloc(timeout=1000)))
        until_waiting(pool, 1)
        with pytest.raises(Busy, match="waits"):
            pool.destroy(force=True)
        pool.free(element)
        thread.join()
        got.pop().free()
