"""The debug mode lockdep: planted circles are found before anybody waits, with both stacks; ordinary use is silent."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from mempools import Arena, Mempool, WaitForbidden, WouldBlock, in_noio, lockdep, noio
from mempools.lockdep import IO, LockOrder, LockOrderWarning, holds, might_wait


@pytest.fixture
def checked():
    with lockdep.checking():
        yield


@pytest.fixture
def silent(checked):
    yield
    assert lockdep.report().violations == ()


@pytest.fixture(params=["objects", "blocks"])
def pool(request, checked):
    if request.param == "objects":
        yield Mempool(2, list, name="pool")
        return
    with Arena.anonymous("1M") as arena:
        yield arena.mempool("pool", nbytes=64, min_nr=2)
        gc.collect()
        arena.check()


def in_thread(call, name="another"):
    """Runs to its end: nothing that is called later runs beside it. What it raised."""
    raised = []

    def run():
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name=name)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def take_both(outer, inner):
    with outer:
        with inner:
            pass


# ---- locks


def test_two_orders_of_two_locks_that_never_met(checked):
    a, b = lockdep.Lock("a"), lockdep.Lock("b")
    assert in_thread(lambda: take_both(a, b)) is None
    with pytest.raises(LockOrder) as raised:
        take_both(b, a)
    said = str(raised.value)
    assert isinstance(raised.value, WaitForbidden)
    assert "thread 'MainThread' would wait for 'a' while it holds 'b'" in said
    assert "somebody who holds 'a' has waited for 'b' (thread 'another')" in said
    assert "'b' -> 'a' -> 'b'" in said
    now, before = said.split("thread 'another' before")
    for stack in (now, before):
        assert stack.count("in take_both") == 2
        assert "with outer:" in stack and "with inner:" in stack
    assert "in test_two_orders_of_two_locks_that_never_met" in now
    assert "in <lambda>" in before
    assert not a.locked() and not b.locked()
    assert lockdep.report().violations == (said,)


def test_a_circle_of_three(checked):
    a, b, c = map(lockdep.Lock, "abc")
    take_both(a, b)
    take_both(b, c)
    with pytest.raises(LockOrder, match="'c' -> 'a' -> 'b' -> 'c'"):
        take_both(c, a)
    with pytest.raises(LockOrder):  # each time
        take_both(c, a)
    assert len(lockdep.report().violations) == 1


def test_one_lock_twice(checked):
    lock = lockdep.Lock("lock")
    with lock, pytest.raises(LockOrder, match="would wait for 'lock' while it holds 'lock', which is the same"):
        lock.acquire()


def test_two_locks_of_one_name_nested(checked):
    with pytest.raises(LockOrder):
        take_both(lockdep.Lock("node"), lockdep.Lock("node"))


def test_a_wrapped_semaphore_and_one_released_by_another_thread(checked):
    semaphore, lock = lockdep.watch(threading.Semaphore(2), "semaphore"), lockdep.Lock("lock")
    take_both(semaphore, lock)
    semaphore.acquire()
    assert in_thread(semaphore.release) is None
    with lock:  # this thread does not hold it any more
        pass
    with lock, pytest.raises(LockOrder):
        semaphore.acquire()


@pytest.mark.parametrize("thing", [object(), asyncio.Lock()])
def test_what_is_no_lock_cannot_be_watched(thing):
    with pytest.raises(TypeError, match="no lock"):
        lockdep.watch(thing, "thing")


def test_what_a_watched_lock_says():
    assert repr(lockdep.Lock("a")).startswith("<mempools.lockdep.WatchedLock 'a' of <unlocked")
    assert isinstance(lockdep.watch(threading.RLock(), "a"), lockdep.WatchedRLock)
    for lock in lockdep.Lock("a"), lockdep.RLock("a"):
        with pytest.raises(RuntimeError):
            lock.release()


def test_warnings_are_given_once_and_the_wait_goes_on():
    with lockdep.checking(warn=True):
        a, b = lockdep.Lock("a"), lockdep.Lock("b")
        take_both(a, b)
        with pytest.warns(LockOrderWarning, match="'b' -> 'a' -> 'b'"):
            take_both(b, a)
        take_both(b, a)
        assert len(lockdep.report().violations) == 1


# ---- what is no violation


def test_ordinary_use_of_locks_is_silent(silent):
    a, b, again = lockdep.Lock("a"), lockdep.Lock("b"), lockdep.RLock("again")
    for _ in range(2):
        take_both(a, b)
        in_thread(lambda: take_both(a, b))
    with again, a, again, b, again:
        pass
    with b:
        assert a.acquire(blocking=False)  # does not wait
        a.release()
        assert a.acquire(timeout=10)  # ends by itself
        a.release()
    a.acquire()
    b.acquire()
    a.release()
    b.release()
    assert ("'a'", "'b'") in lockdep.report().orders


def test_threads_that_keep_the_order_are_silent(silent):
    locks = [lockdep.Lock(f"lock {nr}") for nr in range(4)]

    def run(seed):
        for nr in range(60):
            first = (seed + nr) % 3
            take_both(locks[first], locks[first + 1 + nr % (3 - first)])

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lockdep.report().orders


@pytest.mark.parametrize("make", [lockdep.Lock, lockdep.RLock])
def test_a_condition_over_a_watched_lock(silent, make):
    condition = threading.Condition(make("condition"))
    seen = []

    def give():
        with condition:
            seen.append(1)
            condition.notify()

    with condition:
        if make is lockdep.RLock:
            condition.acquire()
        thread = threading.Thread(target=give)
        thread.start()
        assert condition.wait_for(lambda: seen, timeout=10)
        if make is lockdep.RLock:
            condition.release()
    thread.join()
    assert in_thread(lambda: take_both(condition, lockdep.Lock("inner"))) is None


def test_nothing_is_recorded_while_it_is_off():
    assert not lockdep.enabled()
    a, b = lockdep.Lock("a"), lockdep.Lock("b")
    take_both(a, b)
    take_both(b, a)
    with holds("work"):
        might_wait("work")
    assert lockdep.report() == lockdep.Report((), (), ())
    with lockdep.checking():
        assert lockdep.enabled()
        a.acquire()
        with lockdep.checking():
            assert lockdep.report().orders == ()
        might_wait("work")
        assert str(lockdep.report()) == "4 classes, 1 orders, 0 violations\n'a' -> 'work'"
    a.release()
    lockdep.enable()
    lockdep.disable()
    assert not lockdep.enabled()


def test_the_environment_turns_it_on():
    code = "from mempools import lockdep; print(lockdep.enabled())"
    environment = {**os.environ, "MEMPOOLS_DEBUG": "poison,lockdep"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"


# ---- through hand-overs


def test_handing_the_work_to_a_thread_hides_nothing(checked):
    """The worker once took the lock. Later its holder waits for work of another kind: it could have been the same."""
    lock = lockdep.Lock("lock")
    with lockdep.watch(ThreadPoolExecutor(1), "refill") as worker:
        assert worker.submit(take_both, lock, lockdep.Lock("inner")).result() is None
        with lock:
            future = worker.submit(int)
            assert future.result(timeout=10) == 0  # ends by itself
            with pytest.raises(LockOrder, match="holds 'refill' has waited for 'lock'"):
                future.result()
        assert list(worker.map(abs, [-1, 2])) == [1, 2]


def test_the_worker_is_told_when_it_comes_last(checked):
    lock = lockdep.Lock("lock")

    def work():
        with holds("refill"), lock:
            pass

    with lock:
        might_wait("refill")
    assert isinstance(in_thread(work, "worker"), LockOrder)
    with lock:
        pass  # it is free


def test_waiting_for_a_worker_that_needs_io_is_io(checked):
    """Seed 003: in noio, a wait for the thread that does what noio forbids."""

    def refill():
        with holds("refill"):
            might_wait(IO)

    in_thread(refill, "worker")
    might_wait("refill")
    with noio(), pytest.raises(LockOrder) as raised:
        might_wait("refill")
    assert "is inside noio, so that I/O may be waiting for it" in str(raised.value)
    assert "somebody who holds 'refill' has waited for I/O (thread 'worker')" in str(raised.value)
    with noio(), pytest.raises(LockOrder, match="which is the same"):
        might_wait(IO)


def test_a_worker_that_waits_for_itself(checked):
    with holds("refill"), pytest.raises(LockOrder):
        might_wait("refill")


# ---- pools


def test_a_lock_and_an_element(pool):
    lock = lockdep.Lock("lock")
    in_thread(lambda: take_both(pool.acquire(), lock))
    with lock, pytest.raises(LockOrder, match="would wait for Mempool 'pool' while it holds 'lock'"):
        pool.alloc()
    with lock:
        pool.free(pool.alloc(timeout=1))
        pool.free(pool.alloc(wait=False))
    with lock, pytest.raises(LockOrder):
        pool.alloc_bulk(2)
    assert pool.outstanding == 0


def test_an_element_while_holding_one(pool):
    with pool.acquire():
        with pytest.raises(LockOrder):
            pool.alloc()
    pool.free(pool.alloc())  # none is held now
    assert pool.outstanding == 0


def test_ordinary_use_of_a_pool_is_silent(pool):
    lock = lockdep.Lock("lock")

    async def task():
        async with pool.acquire():
            await asyncio.sleep(0)
        pool.free(await pool.alloc_async())

    async def main():
        await asyncio.gather(*(task() for _ in range(5)))

    with lock, pool.acquire():
        pass
    with noio():
        pool.free_bulk(pool.alloc_bulk(2))
    asyncio.run(main())
    assert lockdep.report().violations == ()


def test_a_callback_that_takes_a_lock_of_the_caller(checked):
    lock = lockdep.Lock("lock")
    made = []

    def make():
        assert in_noio()
        if not made:
            with lock:
                made.append(1)
        return []

    pool = Mempool(0, make, name="pool")
    with lock, pytest.raises(LockOrder, match="is inside a callback of Mempool 'pool' has waited for 'lock'"):
        pool.alloc()  # in this run the callback would not take it


def test_a_callback_that_needs_io(checked):
    with pytest.raises(LockOrder, match="inside noio"):
        Mempool(0, lambda: might_wait(IO), name="pool")


def test_an_element_in_noio_whose_holder_needs_io(pool):
    def hold():
        with pool.acquire():
            might_wait(IO)

    in_thread(hold)
    with noio(), pytest.raises(LockOrder, match="holds an element of Mempool 'pool' has waited for I/O|'pool'"):
        pool.alloc()


# ---- tasks


def test_the_event_loop_waits_for_who_waits_for_a_task(pool):
    """A thread holds a lock and waits for an element; a task that holds one needs the loop, which waits for the lock."""
    lock = lockdep.Lock("lock")

    def thread():
        with lock:
            pool.free(pool.alloc())

    async def another():
        with pytest.raises(LockOrder, match="task 'another' would wait for 'lock' while it blocks the event loop"):
            lock.acquire()

    async def main():
        async with pool.acquire():
            assert in_thread(thread) is None
            await asyncio.create_task(another(), name="another")

    asyncio.run(main())


def test_tasks_hold_each_for_itself(silent):
    a, b = lockdep.Lock("a"), lockdep.Lock("b")

    async def hold(first, second):
        with first:
            await asyncio.sleep(0)

    async def main():
        one = asyncio.create_task(hold(a, b))
        await asyncio.sleep(0)
        take = asyncio.create_task(hold(b, a))  # waits for b while another task has a
        await asyncio.gather(one, take)

    asyncio.run(main())
    take_both(b, a)


# ---- what interrupts


class Locker:
    """Not inside the tests: free-threaded 3.13 never frees a class."""

    def __init__(self, lock):
        self.lock = lock

    def __del__(self):
        with self.lock:
            pass


def test_a_destructor_that_takes_a_lock_of_ordinary_code(checked):
    lock = lockdep.Lock("lock")
    locker = Locker(lock)
    locker.__del__()
    with pytest.raises(LockOrder, match="'lock' -> a destructor -> 'lock'"):
        lock.acquire()  # a collection could call it here
    assert not lock.locked()
    locker.lock = lockdep.RLock("another")


def test_a_finalizer_and_a_lock_that_may_be_taken_again(silent):
    again = lockdep.RLock("again")
    weakref.finalize(threading.Event(), lambda: take_both(again, again))
    with again:
        pass
    assert ("a destructor", "'again'") in lockdep.report().orders


def test_a_signal_handler_that_takes_a_lock_of_ordinary_code(checked):
    lock = lockdep.Lock("lock")
    raised = []

    def handler(number, frame):
        try:
            lock.acquire()
        except LockOrder as error:
            raised.append(str(error))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(raised) == 1
    assert "would wait for 'lock' while it holds 'lock'" in raised[0] or "a signal handler" in raised[0]


def test_a_collection_in_the_middle_of_a_report(silent):
    """Whatever interrupts the mode itself stays out: here it would wait for the lock of the graph."""
    for nr in range(50):
        take_both(lockdep.Lock(f"outer {nr}"), lockdep.Lock(f"inner {nr}"))
    calls = []

    def callback(phase, info):
        calls.append(phase)
        take_both(lockdep.Lock(f"a{len(calls)}"), lockdep.Lock(f"b{len(calls)}"))

    threshold = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.set_threshold(1)
    try:
        lockdep.report()
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(callback)
    gc.collect()
    assert ("'outer 7'", "'inner 7'") in lockdep.report().orders


def test_it_works_in_a_forked_child(checked):
    a, b = lockdep.Lock("a"), lockdep.Lock("b")
    take_both(a, b)
    pid = os.fork()
    if pid == 0:
        try:
            take_both(b, a)
        except LockOrder:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_refused_wait_loses_no_element(pool):
    with pool.acquire(), pytest.raises(WaitForbidden):
        pool.alloc()
    pool.free_bulk(pool.alloc_bulk(2))
    pool.fail_backend(lambda n: True)
    held = pool.alloc_bulk(2)
    with pytest.raises(WouldBlock):
        pool.alloc(wait=False)
    pool.free_bulk(held)
