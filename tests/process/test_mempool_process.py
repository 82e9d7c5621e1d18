"""Several processes on one Mempool: elements that travel, holders and waiters that are killed, fork and spawn, destructors."""

import gc
import multiprocessing
import os
import pickle
import signal
import weakref

import pytest
from children import start, status_of, until

from mempools import LayoutMismatch, NotOwned, WouldBlock


def open_pool(arena, min_nr=2, **options):
    """A pool whose backend has nothing for this process."""
    pool = arena.mempool("pool", **{"nbytes": 64, "min_nr": min_nr, "repoll": 0.05, **options})
    pool.fail_backend(lambda n: True)
    return pool


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    assert status_of(pid) == -signal.SIGKILL


def hold_and_sleep(arena, nr):
    pool = open_pool(arena)
    held = pool.alloc_bulk(nr)
    assert held
    signal.pause()


def test_a_killed_holder_s_elements_come_back_and_a_waiter_gets_them(arena):
    pool = open_pool(arena)
    holder = start(lambda: hold_and_sleep(arena, 2))
    until(lambda: pool.curr_nr == 0)
    waiter = start(lambda: open_pool(arena).alloc(timeout=100).free())
    until(lambda: pool.stats().waiters == 1)
    kill(holder)
    assert status_of(waiter) == 0
    arena.recover()
    assert (pool.curr_nr, pool.outstanding) == (2, 0)
    pool.check()


def test_a_killed_waiter_swallows_no_wake_up(arena):
    pool = open_pool(arena, fifo=True)
    held = pool.alloc_bulk(2)
    waiters = [start(lambda: open_pool(arena, fifo=True).alloc(timeout=100).free()) for _ in range(1)]
    until(lambda: pool.stats().waiters == 1)
    waiters.append(start(lambda: open_pool(arena, fifo=True).alloc(timeout=100).free()))
    until(lambda: pool.stats().waiters == 2)
    os.kill(waiters[0], signal.SIGSTOP)  # it is granted the element and never takes it
    held.pop().free()
    kill(waiters[0])
    assert status_of(waiters[1]) == 0
    held.pop().free()
    arena.recover()
    assert (pool.curr_nr, pool.stats().waiters) == (2, 0)


def test_a_waiter_whose_waker_was_killed_wakes(arena):
    """The waker dies at each step of its free in turn."""
    from mempools.check import steps

    pool = open_pool(arena, min_nr=1)

    def free_and_die(n, said):
        element = open_pool(arena, min_nr=1).alloc()
        os.write(said, b"x")
        until(lambda: pool.stats().waiters == 1)
        with steps.kill_at(n):
            element.free()

    for n in range(1, 60, 7):
        ready, said = os.pipe()
        waker = start(lambda n=n, said=said: free_and_die(n, said))
        os.read(ready, 1)
        pool.alloc(timeout=100).free()
        code = status_of(waker)
        os.close(ready)
        os.close(said)
        arena.recover()
        assert (pool.curr_nr, pool.outstanding, pool.stats().waiters) == (1, 0, 0)
        pool.check()
        if code == 0:
            break


@pytest.mark.parametrize("event", ["a death", "a resize"])
def test_nobody_overtakes_when_all_are_to_look_again(arena, event):
    pool = open_pool(arena, min_nr=3, fifo=True, repoll=100)
    held = pool.alloc_bulk(2)
    served, says = os.pipe()

    def wait(nr):
        elements = open_pool(arena, min_nr=3, fifo=True, repoll=100).alloc_bulk(nr, timeout=100)
        os.write(says, bytes([nr]))
        del elements

    waiters = []
    for nr in (2, 1):
        waiters.append(start(lambda nr=nr: wait(nr)))
        until(lambda: pool.stats().waiters == len(waiters))
    if event == "a death":
        mourned = start(lambda: (open_pool(arena, min_nr=3, fifo=True), signal.pause()))
        until(lambda: mourned in {process.pid for process in arena.processes()})
        kill(mourned)
        arena.recover()
    else:
        pool.resize(4)
    held.pop().free()
    assert os.read(served, 1) == b"\2", "the second took what was enough for it, but not its turn"
    assert [status_of(pid) for pid in waiters] == [0, 0]
    os.close(served)
    os.close(says)


def test_elements_travel_and_come_back_with_the_last_holder(arena):
    pool = open_pool(arena, min_nr=1)
    element = pool.alloc()
    sent = pickle.dumps(element)

    def receive():
        received = pickle.loads(sent)
        element.free  # noqa: B018  the parent's: not ours to free
        with memoryview(received) as view:
            view[:5] = b"hello"
        del received
        gc.collect()

    assert status_of(start(receive)) == 0
    assert bytes(element)[:5] == b"hello"
    assert pool.curr_nr == 0
    element.free()
    pool.recall()
    assert (pool.curr_nr, pool.outstanding) == (1, 0)


def test_a_forked_child_frees_nothing_of_its_parent_s(arena):
    pool = open_pool(arena)
    element = pool.alloc()

    def work():
        nonlocal element
        with pytest.raises(NotOwned, match="forked from"):
            element.free()
        element = None
        gc.collect()
        assert pool.curr_nr == 1
        pool.fail_backend(lambda n: True)
        pool.alloc(timeout=100).free()

    assert status_of(start(work)) == 0
    assert (pool.curr_nr, pool.outstanding) == (1, 1)
    element.free()
    assert pool.curr_nr == 2


def _spawned(arena, element, connection):
    pool = open_pool(arena)
    connection.send((bytes(element)[:2], pool.curr_nr))
    element.free()
    mine = pool.alloc(timeout=100)
    connection.send(mine)
    connection.recv()
    mine.free()


def test_spawn(arena):
    pool = open_pool(arena)
    element = pool.alloc()
    with memoryview(element) as view:
        view[:2] = b"hi"
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_spawned, args=(arena, element, theirs))
    process.start()
    assert ours.recv() == (b"hi", 1)
    received = ours.recv()
    ours.send(None)
    process.join()
    assert process.exitcode == 0
    del received, element
    pool.recall()
    gc.collect()
    arena.recover()
    assert (pool.curr_nr, pool.outstanding) == (2, 0)
    ours.close()
    theirs.close()


def test_another_configuration_in_another_process(arena):
    pool = open_pool(arena)

    def work():
        for other in ({"nbytes": 65}, {"min_nr": 3}, {"fifo": True}):
            with pytest.raises(LayoutMismatch):
                open_pool(arena, **other)

    assert status_of(start(work)) == 0
    assert pool.curr_nr == 2


class Thing:
    """Not inside a test: free-threaded 3.13 never frees a class."""

    def __init__(self, pool):
        self.pool = pool
        self.element = pool.alloc(wait=False)

    def __del__(self):
        self.pool.free(self.element)
        self.pool.free(self.pool.alloc(wait=False))


def test_destructors_weakref_callbacks_and_signal_handlers(arena):
    pool = open_pool(arena, min_nr=4)
    for _ in range(50):
        Thing(pool)
        thing = Thing(pool)
        weakref.finalize(thing, lambda: pool.free(pool.alloc(wait=False)))
        thing.cycle = thing
        del thing
        gc.collect()
    ticks = []

    def handler(number, frame):
        try:
            pool.free(pool.alloc(wait=False))
        except WouldBlock:
            pass
        ticks.append(number)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(ticks) < 30:
            with pool.alloc(timeout=100), pool.alloc(timeout=100):
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (pool.curr_nr, pool.outstanding) == (4, 0)


def test_four_processes_share_a_small_reserve(arena):
    pool = open_pool(arena, min_nr=3)

    def work():
        mine = open_pool(arena, min_nr=3)
        for i in range(100):
            mine.free_bulk(mine.alloc_bulk(1 + i % 3, timeout=100))

    for pid in [start(work) for _ in range(4)]:
        assert status_of(pid) == 0
    arena.recover()
    assert (pool.curr_nr, pool.outstanding, pool.stats().waiters) == (3, 0, 0)
    pool.check()
