"""Where alloc and free may be called from: destructors, callbacks, signal handlers, event loops, threads, forked children."""

import asyncio
import ctypes
import gc
import os
import shutil
import signal
import subprocess
import threading
import weakref

import pytest

from mempools import Exhausted, NotOwned

GRANULE = 64
ROUNDS = 2000


@pytest.fixture
def pool(arena):
    return arena.genpool("pool", granule=GRANULE, size=262144)


def use(pool):
    """What a callback does with the pool."""
    offset = pool.alloc_offset(100)
    block = pool.alloc(9 * GRANULE)
    pool.free_offset(offset, 100)
    block.free()
    pool.free_bulk(pool.alloc_bulk(10, GRANULE), GRANULE)


class Holder:
    """Not inside the test: free-threaded 3.13 never frees a class, nor what its methods close over."""

    def __init__(self, pool):
        self.pool = pool
        self.block = pool.alloc(200)
        self.offset = pool.alloc_offset(300)

    def __del__(self):
        self.block.free()
        self.pool.free_offset(self.offset, 300)
        use(self.pool)


def test_destructors(pool):
    for _ in range(100):
        Holder(pool)
    holders = [Holder(pool) for _ in range(10)]
    holders[0].cycle = holders
    del holders
    gc.collect()
    assert pool.avail == pool.size


def test_weakref_callbacks(pool):
    class Thing:
        pass

    freed = []
    for _ in range(50):
        offset = pool.alloc_offset(100)
        thing = Thing()
        weakref.finalize(thing, lambda offset=offset: (pool.free_offset(offset, 100), use(pool), freed.append(offset)))
        del thing
    assert len(freed) == 50
    assert pool.avail == pool.size


def test_collector_callbacks(pool):
    calls = []

    def callback(phase, info):
        use(pool)
        calls.append(phase)

    gc.callbacks.append(callback)
    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        held = []
        for _ in range(300):
            held.append([pool.alloc(1)])  # a new list, so that the collector runs
            use(pool)
            if len(held) % 20 == 0:
                gc.collect()
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(callback)
    assert len(calls) > 10
    del held
    assert pool.avail == pool.size


def test_python_signal_handlers(pool):
    ticks = []

    def handler(number, frame):
        use(pool)
        ticks.append(pool.alloc(50))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        while len(ticks) < 50:
            use(pool)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len({block.offset for block in ticks}) == len(ticks)
    ticks.clear()
    assert pool.avail == pool.size


def test_an_event_loop(pool):
    async def task(nr):
        for i in range(50):
            block = pool.alloc(nr + i + 1)
            with memoryview(block) as view:
                view[:] = bytes([nr]) * len(view)
            await asyncio.sleep(0)
            assert bytes(block) == bytes([nr]) * (nr + i + 1)

    async def main():
        await asyncio.gather(*(task(nr) for nr in range(20)))

    asyncio.run(main())
    gc.collect()
    assert pool.avail == pool.size


# ---- threads


def stress(pool, threads, *, handles):
    """Each thread marks the words of its blocks; two owners of one granule would see each other's marks."""
    barrier = threading.Barrier(threads)
    failures = []

    def run(number):
        mine = pool.handle() if handles else pool
        mark = bytes([number + 1])
        held = []
        try:
            barrier.wait()
            for i in range(ROUNDS):
                nbytes = (i * 7 + number * 13) % (12 * GRANULE) + 1
                try:
                    block = mine.alloc(nbytes)
                except Exhausted:
                    held.clear()
                    continue
                with memoryview(block) as view:
                    view[:] = mark * nbytes
                held.append(block)
                if i % 16 == 0:
                    offsets = mine.alloc_bulk(4, GRANULE)
                    mine.free_bulk(offsets, GRANULE)
                if len(held) > 6:
                    old = held.pop(i % 7)
                    if bytes(old) != mark * len(old):
                        failures.append((number, i, old))
                    old.free()
        except Exhausted:
            pass
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    gc.collect()
    assert pool.avail == pool.size


@pytest.mark.parametrize("handles", [False, True])
def test_threads(pool, handles):
    stress(pool, 4, handles=handles)


def test_threads_that_make_the_pool_grow(arena):
    stress(arena.genpool("growing", granule=GRANULE), 4, handles=True)


def test_one_block_freed_by_many_threads(pool):
    """Of those that free one block at once, one does."""
    for nr in (1, 20):
        for _ in range(200):
            block = pool.alloc(nr * GRANULE)
            barrier = threading.Barrier(3)
            done = []

            def free(block=block, barrier=barrier, done=done):
                barrier.wait()
                try:
                    block.free()
                    done.append(1)
                except NotOwned:
                    pass

            workers = [threading.Thread(target=free) for _ in range(3)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            assert len(done) == 1
    assert pool.avail == pool.size


def test_a_view_and_a_free_at_once(pool):
    """Either the view is made and the free refused, or the free is done and the view refused."""
    for _ in range(200):
        block = pool.alloc(100)
        barrier = threading.Barrier(2)
        got = []

        def look(block=block, barrier=barrier, got=got):
            barrier.wait()
            try:
                got.append(memoryview(block))
            except NotOwned:
                pass

        worker = threading.Thread(target=look)
        worker.start()
        barrier.wait()
        try:
            block.free()
        except BufferError:
            assert not block.freed
        worker.join()
        assert bool(got) != block.freed
        for view in got:
            view.release()
    del block
    assert pool.avail == pool.size


# ---- a child forked in the middle


def test_a_child_forked_while_threads_are_inside(arena, pool):
    stop = threading.Event()

    def run():
        mine = pool.handle()
        while not stop.is_set():
            mine.free_offset(mine.alloc_offset(20 * GRANULE), 20 * GRANULE)
            mine.free_bulk(mine.alloc_bulk(12, GRANULE), GRANULE)

    workers = [threading.Thread(target=run) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                try:
                    use(pool)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    arena.recover()
    assert pool.avail == pool.size


# ---- C


HANDLER = r"""
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>

typedef int (*alloc_fn)(void *pool, void *hint, uint64_t nbytes, uint64_t *address);
typedef int (*free_fn)(void *pool, uint64_t address, uint64_t nbytes);
static alloc_fn pool_alloc;
static free_fn pool_free;
static void *pool, *hint;
static uint64_t held[64], nr_held;
static volatile uint64_t calls, wrong;

static void handler(int number) {
    static const uint64_t sizes[] = {1, 200, 64 * 20, 64 * 9};
    uint64_t address, nbytes = sizes[calls % 4];
    (void)number;
    calls++;
    if (pool_alloc(pool, hint, nbytes, &address) == 0) {
        if (pool_free(pool, address, nbytes) != 0) wrong++;
        if (pool_free(pool, address, nbytes) == 0) wrong++;
    }
    if (calls % 3 && nr_held < 64) {
        if (pool_alloc(pool, hint, 64, &held[nr_held]) == 0) nr_held++;
    } else if (nr_held) {
        if (pool_free(pool, held[--nr_held], 64) != 0) wrong++;
    }
}

void start(uint64_t a, uint64_t f, uint64_t p, uint64_t h, uint64_t usec) {
    struct sigaction action;
    struct itimerval every = {{0, usec}, {0, usec}};
    pool_alloc = (alloc_fn)a; pool_free = (free_fn)f; pool = (void *)p; hint = (void *)h;
    calls = wrong = nr_held = 0;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &every, 0);
}
uint64_t count(void) { return calls; }
uint64_t stop(void) {
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, 0);
    signal(SIGALRM, SIG_DFL);
    while (nr_held) if (pool_free(pool, held[--nr_held], 64) != 0) wrong++;
    return wrong;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("handler")
    (folder / "handler.c").write_text(HANDLER)
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", folder / "h.so", folder / "handler.c"], check=True)
    loaded = ctypes.CDLL(str(folder / "h.so"))
    loaded.start.argtypes = [ctypes.c_uint64] * 5
    loaded.count.restype = loaded.stop.restype = ctypes.c_uint64
    return loaded


def test_a_c_signal_handler(library, pool):
    """The handler interrupts the main thread at any instruction, also inside the pool."""
    library.start(*pool.c_api, 50)
    try:
        while library.count() < 3000:
            use(pool)
    finally:
        wrong = library.stop()
    assert wrong == 0
    assert pool.avail == pool.size


def test_a_c_signal_handler_in_a_pool_that_grows(library, arena):
    pool = arena.genpool("growing", granule=GRANULE)
    library.start(*pool.c_api, 50)
    try:
        blocks = []
        while library.count() < 1000:
            try:
                blocks.append(pool.alloc(700))
            except Exhausted:
                blocks.clear()
    finally:
        wrong = library.stop()
    del blocks
    assert wrong == 0
    assert pool.avail == pool.size


def test_the_c_entry_points(pool):
    alloc_address, free_address, ref, hint = pool.c_api
    alloc = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64)
    )(alloc_address)
    free = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)(free_address)
    address = ctypes.c_uint64()
    assert alloc(ref, hint, 100, ctypes.byref(address)) == 0
    assert pool.size - pool.avail == 128
    assert free(ref, address.value, 1) < 0
    assert free(ref, address.value, 100) == 0
    assert free(ref, address.value, 100) < 0
    assert alloc(ref, hint, 0, ctypes.byref(address)) < 0
    assert alloc(ref, hint, 1 << 40, ctypes.byref(address)) == -1
    assert pool.handle().c_api[3] != hint
    assert pool.avail == pool.size


def test_an_algorithm_is_replaced_while_others_allocate(pool):
    """Without the GIL the callable and its data must not go while a thread takes a reference to them."""

    def swap():
        for n in range(500):
            pool.set_algo(lambda view, nr, n: view.find(nr), n)
            pool.set_algo(None)

    def take():
        for _ in range(500):
            pool.alloc(100).free()

    threads = [threading.Thread(target=target) for target in (swap, take, take)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.avail == pool.size
