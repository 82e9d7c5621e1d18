"""Waits for a Mempool that can never end are found out, with names; waits that can end are not."""

import asyncio
import os
import pickle
import threading
import time

import pytest
from children import until
from pressure import pools_of, whole

from mempools import Arena, WaitForbidden, WouldBlock, lockdep

pytestmark = pytest.mark.skipif(
    lockdep.enabled(), reason="what is found here when it happens is found by lockdep before"
)


@pytest.fixture(params=["objects", "blocks"])
def make(request):
    with pools_of(request.param) as make:
        yield make


def test_nested_with_of_one_thread(make):
    pool = make(2)
    with pool.acquire(), pool.acquire():
        with pytest.raises(WaitForbidden, match=r"every element is held.*MainThread.*alloc_bulk"):
            pool.alloc()
        with pytest.raises(WouldBlock):
            pool.alloc(timeout=0.01)
    assert whole(pool)


def test_a_thread_alone_that_holds_everything(make):
    pool = make(2)
    held = pool.alloc_bulk(2)
    with pytest.raises(WaitForbidden, match=f"process {os.getpid()}|this process"):
        pool.alloc()
    pool.free_bulk(held)
    assert whole(pool)


def test_tasks_that_all_wait(make):
    pool = make(3, repoll=0.05)
    told = []

    async def worker(barrier):
        async with pool.acquire():
            await barrier.wait()
            try:
                async with pool.acquire():
                    pass
            except WaitForbidden as error:
                told.append(str(error))

    async def main():
        barrier = asyncio.Barrier(3)
        async with asyncio.TaskGroup() as group:
            for i in range(3):
                group.create_task(worker(barrier), name=f"worker {i}")

    asyncio.run(main())
    assert len(told) == 1, "the last one is told, and the others go on"
    assert all(f"worker {i}" in told[0] for i in range(3))
    assert whole(pool)


def test_threads_that_all_wait(make):
    pool = make(2, repoll=0.05)
    told, barrier = [], threading.Barrier(2)

    def work():
        with pool.acquire():
            barrier.wait()
            try:
                pool.free(pool.alloc())
            except WaitForbidden as error:
                told.append(str(error))

    threads = [threading.Thread(target=work, name=name) for name in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) >= 1
    assert "ann" in told[0]
    assert "bob" in told[0]
    assert whole(pool)


def test_two_processes_that_hold_one_of_two_each():
    with Arena.anonymous("1M") as arena:
        pool = arena.mempool("pool", nbytes=64, min_nr=2, repoll=0.05)
        ready, said = os.pipe()
        go, told_go = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                mine = arena.mempool("pool", nbytes=64, min_nr=2, repoll=0.05)
                mine.fail_backend(lambda n: True)
                with mine.alloc():
                    os.write(said, b"x")
                    os.read(go, 1)
                    try:
                        mine.alloc().free()
                        code = 0
                    except WaitForbidden:
                        code = 3
            finally:
                os._exit(code)
        pool.fail_backend(lambda n: True)
        os.read(ready, 1)
        told = False
        with pool.alloc():
            os.write(told_go, b"x")
            try:
                pool.alloc().free()
            except WaitForbidden as error:
                told = True
                assert f"process {pid} (1)" in str(error)
                assert f"process {os.getpid()} (1)" in str(error)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, 3)
        assert told or code == 3
        for fd in (ready, said, go, told_go):
            os.close(fd)
        assert whole(pool)


# ---- no false alarm


def test_a_hand_over_between_threads(make):
    """The consumer frees what the waiting producer allocated."""
    pool = make(2, repoll=0.01)
    queue, total = [], 200

    def consume():
        for _ in range(total):
            while not queue:
                time.sleep(0)
            pool.free(queue.pop(0))

    thread = threading.Thread(target=consume)
    thread.start()
    for _ in range(total):
        queue.append(pool.alloc())
    thread.join()
    assert whole(pool)


def test_one_who_has_been_woken_may_still_be_served(make):
    """With fifo the one that waits is promised what comes back; another who holds and waits is no deadlock."""
    pool = make(3, fifo=True, repoll=0.01)
    loose, ready, failures = pool.alloc(), threading.Barrier(3), []

    def work(starts):
        try:
            with pool.acquire():
                ready.wait()
                starts.wait()
                pool.free(pool.alloc())
        except BaseException as error:
            failures.append(error)

    starts = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=work, args=(event,)) for event in starts]
    for thread in threads:
        thread.start()
    ready.wait()
    starts[0].set()
    until_waiting(pool)
    pool.free(loose)
    starts[1].set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert whole(pool)


def test_what_was_freed_inside_its_with_block_is_not_held():
    with Arena.anonymous("1M") as arena:
        pool = arena.mempool("pool", nbytes=64, min_nr=2, repoll=0.01)
        pool.fail_backend(lambda n: True)
        other = pool.alloc()
        thread = None
        with pool.alloc() as block:
            block.free()
            # The other element is anybody's to free.
            thread = threading.Thread(target=lambda: (until_waiting(pool), other.free()))
            thread.start()
            both = pool.alloc_bulk(2)
        thread.join()
        pool.free_bulk(both)
        assert whole(pool)


def until_waiting(pool):
    while pool.stats().waiters < 1:
        time.sleep(0.001)


def test_pickled_elements_are_anybody_s():
    with Arena.anonymous("1M") as arena:
        pool = arena.mempool("pool", nbytes=64, min_nr=1, repoll=0.01)
        pool.fail_backend(lambda n: True)
        element = pool.alloc()
        sent = pickle.dumps(element)
        pid = os.fork()
        if pid == 0:
            try:
                received = pickle.loads(sent)
                until_waiting(pool)
                received.free()
                os._exit(0)
            finally:
                os._exit(1)
        element.free()  # the pickle still holds it
        pool.alloc().free()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert whole(pool)


def test_a_wait_that_was_interrupted_is_over(make):
    """Checked with a backend that raises in the middle of a wait."""
    pool = make(2, repoll=0.001)
    calls = []

    def fails(n):
        calls.append(n)
        if len(calls) == 6:
            raise ConnectionError
        return True

    keep_running = threading.Event()
    helper = threading.Thread(target=keep_running.wait)  # not alone
    helper.start()
    loose = pool.alloc()
    with pool.acquire():
        pool.fail_backend(fails)
        with pytest.raises(ConnectionError):
            pool.alloc()
        assert pool.holders._waiting == {}
    keep_running.set()
    helper.join()
    pool.free(loose)
    assert whole(pool)


def test_who_holds_nothing_is_not_noted(make):
    """Nobody waits for it; who holds something is, until it has what it waits for."""
    pool = make(2, repoll=0.01)
    first, second = pool.alloc_bulk(2)
    noted = []

    def work():
        pool.free(pool.alloc())

    thread = threading.Thread(target=work)
    thread.start()
    until_waiting(pool)
    noted.append(dict(pool.holders._waiting))
    pool.free(first)
    thread.join()
    third = pool.alloc()

    def hold():
        with pool.acquire():
            pool.free(pool.alloc())

    pool.free(second)
    thread = threading.Thread(target=hold, name="ann")
    thread.start()
    # It is noted after it stands in the queue, and not between one look at the backend and the next.
    until(lambda: noted.append(list(pool.holders._waiting.values())) or noted[-1])
    pool.free(third)
    thread.join()
    assert (noted[0], noted[-1]) == ({}, ["thread 'ann'"])
    assert pool.holders._waiting == {}
    assert pool.holders._published == 0
    assert whole(pool)


def test_a_forked_child_knows_nothing_of_its_parent_s_holders(make):
    pool = make(1)
    with pool.acquire():
        pid = os.fork()
        if pid == 0:
            os._exit(0 if pool.holders._held == {} else 1)
        assert len(pool.holders._held) == 1
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert whole(pool)


def test_the_woken_take_what_came_back_and_leave_the_backend_alone(make):
    pool = make(1)
    attempts, woken = [], []
    element = pool.alloc()
    pool.fail_backend(lambda n: attempts.append(n) or True)

    def work():
        pool.free(pool.alloc())
        woken.append(len(attempts))

    thread = threading.Thread(target=work)
    thread.start()
    until_waiting(pool)
    before = len(attempts)
    pool.free(element)
    thread.join()
    assert woken == [before]
    assert whole(pool)
