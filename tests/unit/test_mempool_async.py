"""Tasks that wait for elements of a Mempool: cancelled, timed out, of several loops, woken by threads and other processes."""

import asyncio
import gc
import os
import threading

import pytest
from children import in_child
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pressure import Element, pools_of, whole

from mempools import Arena, Mempool, PoolError, WaitForbidden, WouldBlock


@pytest.fixture(params=["objects", "blocks", "private blocks"])
def make(request):
    with pools_of(request.param) as make:
        yield make


async def until_waiting(pool, nr):
    while pool.stats().waiters < nr:
        await asyncio.sleep(0)


def test_waiting_on_the_loop_s_thread_is_an_error(make):
    pool = make(1)

    async def main():
        with pytest.raises(WaitForbidden, match="alloc_async"):
            pool.alloc()
        with pytest.raises(WaitForbidden, match="alloc_bulk_async"):
            pool.alloc_bulk(1)
        pool.free(pool.alloc(wait=False))
        with pytest.raises(WaitForbidden):
            with pool.acquire():
                pass

    asyncio.run(main())
    assert whole(pool)


def test_a_task_gets_what_another_frees(make):
    pool = make(2, repoll=1000)

    async def worker(seen):
        async with pool.acquire(1000) as element:
            seen.append(id(element))
            await asyncio.sleep(0)
        pool.free_bulk(await pool.alloc_bulk_async(2, 1000))

    async def main():
        seen = []
        await asyncio.gather(*(worker(seen) for _ in range(30)))
        assert len(seen) == 30

    asyncio.run(main())
    assert whole(pool)


def test_fifo_serves_tasks_in_order(make):
    pool = make(1, fifo=True, repoll=1000)
    order = []

    async def worker(i):
        element = await pool.alloc_async(1000)
        order.append(i)
        await asyncio.sleep(0)
        pool.free(element)

    async def main():
        await asyncio.gather(*(worker(i) for i in range(10)))

    asyncio.run(main())
    assert order == list(range(10))
    assert whole(pool)


def test_timeouts(make):
    pool = make(1)

    async def main():
        element = await pool.alloc_async()
        for timeout in (0, 0.001):
            with pytest.raises(WouldBlock, match="within"):
                await pool.alloc_async(timeout)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(timeout):
                    await pool.alloc_async()
        with pytest.raises(ValueError):
            await pool.alloc_bulk_async(2)
        pool.free(element)

    asyncio.run(main())
    assert whole(pool)
    assert pool.stats().timeouts == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fifo=st.booleans(),
    needs=st.lists(st.integers(1, 3), min_size=2, max_size=6),
    cancels=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=5),
)
def test_cancellation_at_any_point_loses_nothing(fifo, needs, cancels):
    """I30: each (i, n) cancels task i at the n-th turn of the loop, be it asleep, assigned to, or at work."""
    pool = Mempool(3, Element, fifo=fifo, repoll=1000)
    pool.fail_backend(lambda n: True)

    async def worker(nr):
        elements = await pool.alloc_bulk_async(nr, 1000)
        try:
            await asyncio.sleep(0)
        finally:
            pool.free_bulk(elements)

    async def main():
        tasks = [asyncio.create_task(worker(nr)) for nr in needs]
        for turn in range(13):
            for i, at in cancels:
                if at == turn and i < len(tasks):
                    tasks[i].cancel()
            await asyncio.sleep(0)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in done)

    asyncio.run(main())
    assert whole(pool)
    assert pool.sleepers is None or pool.sleepers.waiting == {}


def test_cancellation_of_one_that_has_been_woken_passes_its_turn_on(make):
    pool = make(1, fifo=True, repoll=1000)

    async def main():
        element = await pool.alloc_async()
        first, second = (asyncio.create_task(pool.alloc_async(1000)) for _ in range(2))
        await until_waiting(pool, 2)
        pool.free(element)  # the first one's future is done, the task has not run
        first.cancel()
        pool.free(await second)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert whole(pool)


def test_loops_of_several_threads_beside_waiting_threads(make):
    pool = make(2, repoll=1000)
    failures = []

    async def worker():
        for _ in range(20):
            async with pool.acquire(1000):
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(worker() for _ in range(5)))

    def run(work):
        try:
            work()
        except BaseException as error:
            failures.append(error)

    def thread():
        for _ in range(50):
            pool.free(pool.alloc(timeout=1000))

    threads = [threading.Thread(target=run, args=(lambda: asyncio.run(main()),)) for _ in range(2)]
    threads += [threading.Thread(target=run, args=(thread,)) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failures == []
    assert whole(pool)


def test_another_process_frees_while_a_task_waits():
    with Arena.anonymous("1M") as arena:
        pool = arena.mempool("pool", nbytes=64, min_nr=1, repoll=1000)
        pool.fail_backend(lambda n: True)
        read, write = os.pipe()
        ready, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                mine = arena.mempool("pool", nbytes=64, min_nr=1)
                element = mine.alloc_preallocated()
                os.write(said, b"x")
                os.read(read, 1)
                mine.free(element)
                os._exit(0)
            finally:
                os._exit(1)
        os.read(ready, 1)

        async def main():
            task = asyncio.create_task(pool.alloc_async(1000))
            await until_waiting(pool, 1)
            os.write(write, b"x")
            (await task).free()

        asyncio.run(main())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        for fd in (read, write, ready, said):
            os.close(fd)
        assert whole(pool)


@pytest.mark.parametrize("make", ["blocks", "private blocks"], indirect=True)  # of objects there is one
def test_another_object_of_the_pool_wakes_tasks(make):
    pool = make(1, repoll=1000)
    again = pool.blocks.arena.mempool("pool", nbytes=64, min_nr=1, repoll=1000)

    async def main():
        element = again.alloc_preallocated()
        task = asyncio.create_task(pool.alloc_async(1000))
        await until_waiting(pool, 1)
        again.free(element)
        pool.free(await task)

    asyncio.run(main())
    assert whole(pool)


def test_a_loop_that_is_closed_while_a_task_waits(make):
    """Its task never runs again: its turn is the next one's."""
    pool = make(1, fifo=True, repoll=1000)
    element, got = pool.alloc(), []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending!"
    task = loop.create_task(pool.alloc_async(1000))
    loop.run_until_complete(until_waiting(pool, 1))
    loop.close()
    thread = threading.Thread(target=lambda: got.append(pool.alloc(timeout=1000)))
    thread.start()
    while pool.stats().waiters < 2:
        pass
    pool.free(element)
    thread.join()
    pool.free(got.pop())
    assert pool.stats().waiters == 0
    del task, loop
    gc.collect()
    assert whole(pool)


def test_a_backend_that_raises_while_a_task_waits():
    def alloc():
        if len(made) == 1:
            if failing:
                raise ConnectionError("refused")
            return None
        made.append(Element())
        return made[-1]

    made, failing = [], []
    pool = Mempool(1, alloc, repoll=0.01)

    async def main():
        element = await pool.alloc_async()
        task = asyncio.create_task(pool.alloc_async())
        other = asyncio.create_task(pool.alloc_async(1000))
        await until_waiting(pool, 2)
        failing.append(True)
        with pytest.raises(ConnectionError):
            await task
        with pytest.raises(ConnectionError):
            await other
        pool.free(element)

    asyncio.run(main())
    assert whole(pool)


def test_a_closed_arena_tells_the_tasks_that_wait():
    arena = Arena.anonymous("1M")
    pool = arena.mempool("pool", nbytes=64, min_nr=1, repoll=0.01)
    pool.fail_backend(lambda n: True)

    async def main():
        element = await pool.alloc_async()
        task = asyncio.create_task(pool.alloc_async(1000))
        await until_waiting(pool, 1)
        arena.close()
        with pytest.raises(PoolError, match="closed"):
            await task
        del element

    asyncio.run(main())


def test_a_forked_child_knows_nothing_of_the_tasks_of_its_parent(make):
    """Else whoever frees there wakes the parent's loops, or takes the parent's place in the queue."""
    pool = make(1, repoll=1000)

    async def main():
        element = pool.alloc_preallocated()
        task = asyncio.create_task(pool.alloc_async(1000))
        await until_waiting(pool, 1)
        assert len(pool.sleepers.waiting) == 1

        def work():
            assert pool.sleepers.waiting == {}

        assert in_child(work) == 0
        pool.free(element)
        pool.free(await task)

    asyncio.run(main())
    assert whole(pool)
