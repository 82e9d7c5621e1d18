"""Mempool: what it adds to its backend, what a hand-over takes, and what becomes of many who want few elements; beside the
queues and semaphores by which programs bound their memory otherwise."""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import queue
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import mempools
from bench.genpool import iceoryx2_case
from bench.harness import Case, Target, arguments, measure, report, timed

PAIRS = 100_000
NBYTES = 256
PAGE = 4096
HANDOVERS = 4_000
fork = multiprocessing.get_context("fork")
ours = mempools.Arena.anonymous("64M")


def few(name: str, nr: int, **options: Any) -> Any:
    """A pool of nr elements of a page, all of them its reserve: the backend has none."""
    return ours.mempool(name, nbytes=PAGE, min_nr=nr, size=nr * PAGE, **options)


# ---- one pair, nobody else


def in_loop(work: Callable[[int], Any], number: int) -> Case:
    """A case out of a coroutine function that does its work as often as it is told."""

    def case() -> float:
        before = time.thread_time_ns()
        asyncio.run(work(number))
        return (time.thread_time_ns() - before) / number

    return case


async def async_pairs(number: int) -> None:
    pool = ours.mempool("python", nbytes=NBYTES, min_nr=4)
    for _ in range(number):
        await pool.alloc_async()


async def async_semaphore(number: int) -> None:
    semaphore = asyncio.Semaphore(4)
    for _ in range(number):
        await semaphore.acquire()
        semaphore.release()


async def async_queue(number: int) -> None:
    items: asyncio.Queue[None] = asyncio.Queue()
    items.put_nowait(None)
    for _ in range(number):
        items.put_nowait(await items.get())


def python_pairs(options: argparse.Namespace) -> None:
    nr = PAIRS // options.scale
    blocks = ours.genpool("blocks", granule=NBYTES)
    pool = ours.mempool("python", nbytes=NBYTES, min_nr=4)
    empty = few("empty", 4)
    objects = mempools.Mempool(4, object)
    waiting: queue.Queue[None] = queue.Queue()
    waiting.put(None)
    simple: queue.SimpleQueue[None] = queue.SimpleQueue()
    simple.put(None)
    names = {"alloc": pool.alloc, "offset": pool.alloc_offset, "free": pool.free_offset}
    cases: dict[str, Case] = {
        BACKEND: timed("alloc(256)", nr, alloc=blocks.alloc),
        BLOCK: timed("alloc()", nr, **names),
        "the backend by offsets": timed(
            "free(alloc(256), 256)", nr, alloc=blocks.alloc_offset, free=blocks.free_offset
        ),
        "by offsets": timed("free(offset())", nr, **names),
        "from the reserve, by offsets": timed("free(alloc())", nr, alloc=empty.alloc_offset, free=empty.free_offset),
        "from the reserve, a Block": timed("alloc()", nr, alloc=empty.alloc),
        "with pool.acquire(), a Block": timed("with acquire(): pass", nr // 4, acquire=pool.acquire),
        "await pool.alloc_async(), a Block": in_loop(async_pairs, nr // 4),
        "over objects": timed("free(alloc())", nr // 4, alloc=objects.alloc, free=objects.free),
        "queue.Queue": timed("q.put(q.get())", nr // 4, q=waiting),
        "queue.SimpleQueue": timed("q.put(q.get())", nr, q=simple),
        "threading.Semaphore": timed("s.acquire(); s.release()", nr // 4, s=threading.Semaphore(4)),
        "multiprocessing.Semaphore": timed("s.acquire(); s.release()", nr, s=fork.Semaphore(4)),
        "asyncio.Semaphore": in_loop(async_semaphore, nr // 4),
        "asyncio.Queue": in_loop(async_queue, nr // 4),
    }
    iceoryx2 = iceoryx2_case(nr // 10)
    if iceoryx2 is not None:
        cases["iceoryx2, loan and drop"] = iceoryx2
    targets = [
        Target(BLOCK, 1.2, of=BACKEND),
        Target(BLOCK, 150),
        Target("by offsets", 1.2, of="the backend by offsets"),
        Target("by offsets", 150),
    ]
    report("Mempool, nobody waits: one pair", measure(cases, options.rounds), options, targets)


BACKEND = "the backend alone: a Block of 256 bytes"
BLOCK = "a Block of 256 bytes"


# ---- hand-overs: two who have one thing between them, by turns


def turns_of(pool: Any) -> Callable[[int], None]:
    def work(number: int) -> None:
        for _ in range(number):
            pool.free_offset(pool.alloc_offset())

    return work


@contextlib.contextmanager
def all_waiting(pool: Any, nr: int) -> Iterator[None]:
    """Starts those who want the pool's one element within the block when all of them wait. From there on, with fifo, they
    take turns: who gives it back goes behind who waits."""
    held = None if pool is None else pool.alloc_offset()
    yield
    if pool is not None:
        while pool.stats().waiters < nr:
            time.sleep(0)
        pool.free_offset(held)


def semaphores(first: Any, second: Any) -> tuple[Callable[[int], None], Callable[[int], None]]:
    def one(number: int) -> None:
        for _ in range(number):
            first.release()
            second.acquire()

    def other(number: int) -> None:
        for _ in range(number):
            first.acquire()
            second.release()

    return one, other


def queues(first: Any, second: Any) -> tuple[Callable[[int], None], Callable[[int], None]]:
    def one(number: int) -> None:
        for _ in range(number):
            first.put(None)
            second.get()

    def other(number: int) -> None:
        for _ in range(number):
            first.get()
            second.put(None)

    return one, other


def by_threads(works: tuple[Callable[[int], None], ...], number: int, pool: Any = None) -> float:
    """Wall time of both, each `number` times: microseconds for each of the 2 * number. With a pool: begun when all wait."""
    start = threading.Barrier(len(works) + 1)

    def run(work: Callable[[int], None]) -> None:
        start.wait()
        work(number)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    with all_waiting(pool, len(works)):
        start.wait()
    before = time.monotonic_ns()
    for thread in threads:
        thread.join()
    return (time.monotonic_ns() - before) / len(works) / number / 1000


def by_processes(works: tuple[Callable[[int], None], ...], number: int, cpus: list[int], pool: Any = None) -> float:
    """The same in processes, the n-th on the n-th CPU."""
    said, say = os.pipe()  # a byte at a time: what several processes read must not come in pieces
    told, tell = os.pipe()

    def run(work: Callable[[int], None], cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        work(2)  # to warm up, and so that all are there
        os.write(say, b"1")
        os.read(told, 1)
        work(number)
        os.write(say, b"1")

    children = [fork.Process(target=run, args=(work, cpus[i % len(cpus)])) for i, work in enumerate(works)]
    for child in children:
        child.start()
    for _ in children:
        os.read(said, 1)
    with all_waiting(pool, len(works)):
        before = time.monotonic_ns()
        os.write(tell, b"1" * len(works))
    if pool is not None:
        before = time.monotonic_ns()
    for _ in children:
        os.read(said, 1)
    spent = time.monotonic_ns() - before
    for child in children:
        child.join()
    for fd in (said, say, told, tell):
        os.close(fd)
    return spent / len(works) / number / 1000


async def task_turns(pool: Any, number: int) -> None:
    async def task() -> None:
        for _ in range(number):
            (await pool.alloc_async()).free()

    held = pool.alloc(wait=False)
    tasks = [asyncio.create_task(task()), asyncio.create_task(task())]
    while pool.stats().waiters < 2:
        await asyncio.sleep(0)
    held.free()
    await asyncio.gather(*tasks)


async def task_queues(number: int) -> None:
    first: asyncio.Queue[None] = asyncio.Queue()
    second: asyncio.Queue[None] = asyncio.Queue()

    async def one() -> None:
        for _ in range(number):
            first.put_nowait(None)
            await second.get()

    async def other() -> None:
        for _ in range(number):
            await first.get()
            second.put_nowait(None)

    await asyncio.gather(one(), other())


def wall(work: Callable[[], Any], number: int) -> Case:
    def case() -> float:
        before = time.monotonic_ns()
        asyncio.run(work())
        return (time.monotonic_ns() - before) / 2 / number / 1000

    return case


PROCESSES_ONE = "Mempool, processes on one CPU"


def handovers(options: argparse.Namespace, cpus: list[int]) -> None:
    nr = HANDOVERS // options.scale
    pool = few("turns", 1, fifo=True)

    turns = turns_of(pool), turns_of(pool)
    here = semaphores(threading.Semaphore(0), threading.Semaphore(0))
    there = semaphores(fork.Semaphore(0), fork.Semaphore(0))
    simple = queues(queue.SimpleQueue(), queue.SimpleQueue())
    waiting = queues(queue.Queue(), queue.Queue())
    pipes = queues(fork.SimpleQueue(), fork.SimpleQueue())
    cases: dict[str, Case] = {
        PROCESSES_ONE: lambda: by_processes(turns, nr, cpus[:1], pool),
        "multiprocessing.Semaphore, processes on one CPU": lambda: by_processes(there, nr, cpus[:1]),
        "multiprocessing.SimpleQueue, processes on one CPU": lambda: by_processes(pipes, nr, cpus[:1]),
        "Mempool, processes on two CPUs": lambda: by_processes(turns, nr, cpus, pool),
        "multiprocessing.Semaphore, processes on two CPUs": lambda: by_processes(there, nr, cpus),
        "Mempool, threads": lambda: by_threads(turns, nr, pool),
        "threading.Semaphore, threads": lambda: by_threads(here, nr),
        "queue.Queue, threads": lambda: by_threads(waiting, nr),
        "queue.SimpleQueue, threads": lambda: by_threads(simple, nr),
        "Mempool, tasks": wall(lambda: task_turns(pool, nr), nr),
        "asyncio.Queue, tasks": wall(lambda: task_queues(nr), nr),
    }
    targets = [Target(PROCESSES_ONE, 2.5)]
    report("A hand-over (wall time)", measure(cases, options.rounds), options, targets, unit="us")


# ---- more who want than there is


def saturated(options: argparse.Namespace, cpus: list[int]) -> None:
    """Two who take and give back as fast as they can, one element between them, no turns kept."""
    nr = 10 * HANDOVERS // options.scale
    pool = few("saturated", 1)

    pairs = turns_of(pool)

    def semaphore(semaphore: Any) -> Callable[[int], None]:
        def work(number: int) -> None:
            for _ in range(number):
                semaphore.acquire()
                semaphore.release()

        return work

    def waiting(items: Any) -> Callable[[int], None]:
        def work(number: int) -> None:
            for _ in range(number):
                items.put(items.get())

        items.put(None)
        return work

    here, there, items = semaphore(threading.Semaphore(1)), semaphore(fork.Semaphore(1)), waiting(queue.Queue())
    cases: dict[str, Case] = {
        "Mempool, 2 processes": lambda: by_processes((pairs, pairs), nr, cpus),
        "multiprocessing.Semaphore, 2 processes": lambda: by_processes((there, there), nr, cpus),
        "Mempool, 2 threads": lambda: by_threads((pairs, pairs), nr),
        "threading.Semaphore, 2 threads": lambda: by_threads((here, here), nr),
        "queue.Queue, 2 threads": lambda: by_threads((items, items), nr),
    }
    report("One element for two: a pair (wall time)", measure(cases, options.rounds), options, unit="us")


def counts(pool: Any, nr: int, seconds: float) -> list[int]:
    """How often each of nr processes gets the one element while all want it for the same time."""
    here, there = fork.Pipe()
    go = fork.Event()

    def run() -> None:
        number = 0
        go.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pool.free_offset(pool.alloc_offset())
            number += 1
        there.send(number)

    children = [fork.Process(target=run) for _ in range(nr)]
    for child in children:
        child.start()
    go.set()
    found = [here.recv() for _ in children]
    for child in children:
        child.join()
    return found


def fairness(options: argparse.Namespace) -> None:
    seen: dict[str, list[list[int]]] = {}

    def case(name: str, pool: Any) -> Case:
        def run() -> float:
            found = counts(pool, 4, 0.2 / options.scale)
            seen.setdefault(name, []).append(sorted(found))
            return (max(found) - min(found)) / (sum(found) / len(found))

        return run

    cases = {
        "with fifo": case("with fifo", few("in turn", 1, fifo=True)),
        "without": case("without", few("barging", 1)),
    }
    report(
        "One element for four processes: (most - least) / mean of what each got",
        measure(cases, options.rounds),
        options,
        unit="spread",
        facts={"the last counts": {name: found[-1] for name, found in seen.items()}},
    )


def overload(options: argparse.Namespace) -> None:
    """Memory for buffers of 256 KiB, when 200 tasks want one each."""
    nbytes, nr = 256 << 10, 200
    buffers = mempools.Arena("4M").mempool("buffers", nbytes=nbytes, min_nr=8, size=8 * nbytes)

    async def pooled() -> None:
        async def task() -> None:
            async with buffers.acquire():
                await asyncio.sleep(0)

        await asyncio.gather(*[task() for _ in range(nr)])

    async def plain() -> None:
        async def task() -> None:
            buffer = bytearray(nbytes)
            await asyncio.sleep(0)
            del buffer

        await asyncio.gather(*[task() for _ in range(nr)])

    def of_pool() -> float:
        asyncio.run(pooled())
        return buffers.blocks.size / 2**20

    def of_python() -> float:
        tracemalloc.start()
        asyncio.run(plain())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 2**20

    cases = {"Mempool of 8": of_pool, "bytearray": of_python}
    report("200 tasks want 256 KiB each: memory for buffers", measure(cases, 3), options, unit="MiB")


def main() -> None:
    options = arguments(__doc__ or "")
    cpus = sorted(os.sched_getaffinity(0))[:2]
    python_pairs(options)
    handovers(options, cpus)
    saturated(options, cpus)
    fairness(options)
    overload(options)


if __name__ == "__main__":
    main()
