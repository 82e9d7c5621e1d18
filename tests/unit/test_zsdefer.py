"""Deferred frees of a ZsPool: the handle is stale at once, the place comes back later, with others'."""

import asyncio
import os
import subprocess
import sys
import threading

import pytest
from children import in_child, start, status_of

from mempools import Arena, Busy, Exhausted, NotOwned, StaleHandle

QUEUE = 504  # objects that a process can have deferred
HALF = QUEUE // 2


@pytest.fixture
def pool(arena):
    pool = arena.zspool("objs")
    yield pool
    pool.check()


def pending(pool):
    stats = pool.stats()
    return stats.objects, stats.deferred


def test_a_handle_is_stale_at_once(pool):
    handle = pool.put(b"x")
    pool.free_deferred(handle)
    assert pending(pool) == (1, 1)
    for use in (pool.free_deferred, pool.free, pool.keep, pool.read, pool.read_bytes, pool.nbytes):
        with pytest.raises(StaleHandle):
            use(handle)
    with pytest.raises(StaleHandle):
        pool.write(handle, b"y")
    assert pool.drain() == 1
    assert pending(pool) == (0, 0)
    with pytest.raises(StaleHandle):
        pool.free_deferred(handle)
    assert pool.drain() == 0


def test_what_never_was_a_handle(pool):
    handle = pool.put(b"x")
    for wrong in (0, 1, handle + 1, handle + (1 << 40), handle | 0xFF << 32, 2**64 - 1):
        with pytest.raises(NotOwned) as error:
            pool.free_deferred(wrong)
        assert type(error.value) is NotOwned
    assert pending(pool) == (1, 0)
    pool.free(handle)
    with pytest.raises(TypeError):
        pool.free_deferred("x")


def test_a_place_is_used_again_after_a_drain(pool):
    handles = pool.put_bulk([b"x" * 2000] * 4)
    pages = pool.stats().pages_used
    for handle in handles:
        pool.free_deferred(handle)
    assert pool.drain() == 4
    pool.put_bulk([b"y" * 2000] * 4)
    assert pool.stats().pages_used == pages


def test_a_view_outlives_its_object(pool):
    handle = pool.put(b"some bytes")
    with pool.read(handle) as view:
        pool.free_deferred(handle)
        assert view == b"some bytes"
        assert pool.drain() == 0
        assert pending(pool) == (1, 1)
        with pytest.raises(StaleHandle):
            pool.free(handle)
        assert view == b"some bytes"
    assert pending(pool) == (0, 0)
    assert pool.drain() == 0


def test_of_two_views_the_last_one_ends_it(pool):
    handle = pool.put(b"x")
    first, second = pool.read(handle), pool.read(handle)
    pool.free_deferred(handle)
    first.close()
    assert pending(pool) == (1, 1)
    second.close()
    assert pending(pool) == (0, 0)


def test_many_are_given_back_by_who_defers_them(pool):
    handles = pool.alloc_bulk([64] * 2000)
    most = 0
    for handle in handles:
        pool.free_deferred(handle)
        most = max(most, pool.stats().deferred)
    assert HALF <= most <= HALF + 32
    assert pool.drain() < most
    assert pending(pool) == (0, 0)


def test_a_full_queue(pool):
    handles = pool.alloc_bulk([64] * (QUEUE + 3))
    views = [pool.read(handle) for handle in handles[: QUEUE + 1]]
    for handle in handles:
        pool.free_deferred(handle)
    # One that is read has no room in it and ends with its reader, two that nobody reads have ended.
    assert pending(pool) == (QUEUE + 1, QUEUE)
    for handle in handles:
        with pytest.raises(StaleHandle):
            pool.read(handle)
    for view in views:
        view.close()
    assert pending(pool) == (0, 0)
    handle = pool.put(b"x")
    pool.free_deferred(handle)
    assert pool.drain() == 1


def test_on_an_event_loop_nothing_is_given_back_before_the_queue_is_full(pool):
    handles = pool.alloc_bulk([64] * (QUEUE + 1))

    async def free():
        for handle in handles[:QUEUE]:
            pool.free_deferred(handle)
        found = pending(pool)
        pool.free_deferred(handles[QUEUE])
        return found

    assert asyncio.run(free()) == (QUEUE + 1, QUEUE)
    assert pending(pool) == (1, 1)
    assert pool.drain() == 1


def test_objects_of_many_classes(pool):
    sizes = [*range(10, 2000, 67), 5000, 9000, 65536] * 2
    handles = pool.alloc_bulk(sizes)
    kept = handles[::7]
    for handle in handles:
        if handle not in kept:
            pool.free_deferred(handle)
    assert pool.drain() == len(handles) - len(kept)
    pool.check()
    assert pending(pool) == (len(kept), 0)
    pool.free_bulk(kept)


def fill(pool, nbytes):
    handles = []
    while True:
        try:
            handles.append(pool.alloc(nbytes))
        except Exhausted:
            return handles


def test_an_allocation_that_finds_no_room_drains():
    with Arena.anonymous("1M") as arena:
        pool = arena.zspool("objs")
        pool.free_deferred(pool.alloc(4096))
        pool.drain()
        handles = fill(pool, 4096)
        for handle in handles:
            pool.free_deferred(handle)
        assert pool.stats().deferred
        again = [pool.alloc(4096) for _ in handles]
        with pytest.raises(Exhausted):
            pool.alloc(4096)
        pool.free_bulk(again)
        pool.check()


def test_without_room_for_a_queue_it_is_a_free():
    with Arena.anonymous("1M") as arena:
        pool = arena.zspool("objs")
        handles = fill(pool, 4096)
        view = pool.read(handles[1])
        pool.free_deferred(handles[0])
        pool.free_deferred(handles[1])
        assert pending(pool) == (len(handles) - 1, 0)
        for handle in handles[:2]:
            with pytest.raises(StaleHandle):
                pool.free_deferred(handle)
        view.close()
        assert pending(pool) == (len(handles) - 2, 0)
        pool.check()
        arena.check()


def test_compact_and_destroy_drain(arena):
    pool = arena.zspool("other")
    handles = pool.put_bulk([b"x" * 1000] * 100)
    for handle in handles[:50]:
        pool.free_deferred(handle)
    pool.compact()
    assert pending(pool) == (50, 0)
    for handle in handles[50:-1]:
        pool.free_deferred(handle)
    with pytest.raises(Busy, match="has 1 objects"):
        pool.destroy()
    pool.free_deferred(handles[-1])
    pool.destroy()


def test_another_process_drains_the_queue_of_one_that_lives(arena, pool):
    handles = pool.put_bulk([b"x"] * 10, keep=True)
    (hear, tell), (wait, go) = os.pipe(), os.pipe()

    def work():
        mine = arena.zspool("objs")
        for handle in handles:
            mine.free_deferred(handle)
        os.write(tell, b".")
        os.read(wait, 1)
        if mine.stats().objects or mine.drain():
            os._exit(2)
        mine.free_deferred(mine.put(b"y"))
        if mine.drain() != 1:
            os._exit(3)

    pid = start(work)
    assert os.read(hear, 1) == b"."
    assert pending(pool) == (10, 10)
    assert pool.drain() == 10
    assert pending(pool) == (0, 0)
    os.write(go, b".")
    assert status_of(pid) == 0
    for end in (hear, tell, wait, go):
        os.close(end)


def test_what_a_dead_process_deferred_is_freed(arena, pool):
    handles = pool.put_bulk([b"x"] * 10, keep=True)

    def work():
        for handle in handles[:-1]:
            arena.zspool("objs").free_deferred(handle)
        os.kill(os.getpid(), 9)

    view = pool.read(handles[0])
    assert in_child(work) == -9
    arena.recover()
    assert pending(pool) == (2, 0)
    with pytest.raises(StaleHandle):
        pool.read(handles[0])
    view.close()
    assert pending(pool) == (1, 0)
    pool.free(handles[-1])


LEAVES = """
import sys
from mempools import Arena
with Arena.attach("deferred") as arena:
    pool = arena.zspool("objs")
    for handle in sys.argv[1:]:
        pool.free_deferred(int(handle))
"""


def test_what_a_process_that_leaves_has_deferred_is_freed():
    with Arena.create("deferred", "1M") as arena:
        pool = arena.zspool("objs")
        handles = pool.put_bulk([b"x"] * 10, keep=True)
        subprocess.run([sys.executable, "-c", LEAVES, *map(str, handles[1:])], check=True)
        found = pending(pool)
        pool.check()
        arena.unlink("deferred")
    assert found == (1, 0)


def test_of_two_processes_one_ends_an_object(arena, pool):
    handle = pool.put(b"x", keep=True)
    pool.free_deferred(handle)

    def work():
        with pytest.raises(StaleHandle):
            arena.zspool("objs").free_deferred(handle)

    assert in_child(work) == 0
    assert pool.drain() == 1


def test_a_private_arena_after_fork():
    with Arena("1M") as arena:
        pool = arena.zspool("objs")
        handles = pool.put_bulk([b"x"] * 3)
        pool.free_deferred(handles[0])

        def work():
            assert pending(pool) == (3, 1)
            pool.free_deferred(handles[1])
            assert pool.drain() == 2
            pool.check()

        assert in_child(work) == 0
        assert pending(pool) == (3, 1)
        assert pool.drain() == 1


def test_threads(pool):
    """Each object is deferred by two threads: one of them is told that it is gone."""
    nr, rounds, won = 4, 300, []
    handles = pool.alloc_bulk([100] * (nr * rounds))
    barrier = threading.Barrier(nr)

    def work(i):
        done = 0
        barrier.wait()
        for k in range(rounds * 2):
            try:
                pool.free_deferred(handles[(i // 2 * 2) * rounds + k])
                done += 1
            except StaleHandle:
                pass
            if k % 50 == i:
                pool.drain()
            pool.free_deferred(pool.alloc(100))
        won.append(done)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(nr)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == len(handles)
    pool.drain()
    assert pending(pool) == (0, 0)


def test_from_a_destructor(pool):
    class Held:
        def __init__(self):
            self.handle = pool.put(b"x")

        def __del__(self):
            pool.free_deferred(self.handle)

    held = [Held() for _ in range(1000)]
    del held
    pool.drain()
    assert pending(pool) == (0, 0)
