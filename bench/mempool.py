"""Mempool: what it adds to its backend, what a hand-over takes, and what becomes of many who want few elements; beside the
queues and semaphores by which programs bound their memory otherwise."""

import argparse
import asyncio
import multiprocessing
import os
import queue
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import mempools
from bench.genpool import iceoryx2_case
from bench.harness import Case, Target, arguments, measure, report, timed

PAIRS = 100_000
NBYTES = 256
PAGE = 4096
HANDOVERS = 500
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


# ---- hand-overs: from giving back the one thing that there is, to the moment at which who waits for it has it

Take, Give = Callable[[], Any], Callable[[Any], object]


def handover(take: Take, give: Give, number: int, start: Callable[[Callable[[], None]], Any]) -> float:
    """Microseconds, median of `number`. `start` runs the waiter elsewhere, and gives what can be joined."""
    told, tell = os.pipe()
    said, say = os.pipe()

    def waiter() -> None:
        for _ in range(number):
            os.read(told, 1)
            taken = take()
            now = time.monotonic_ns()
            give(taken)
            os.write(say, now.to_bytes(8, "little"))

    other = start(waiter)
    samples = []
    for _ in range(number):
        taken = take()
        os.write(tell, b"1")
        time.sleep(0.0003)  # it waits by now; if not, its sample is a long one, and the median does not care
        before = time.monotonic_ns()
        give(taken)
        samples.append(int.from_bytes(os.read(said, 8), "little") - before)
    other.join()
    for fd in (told, tell, said, say):
        os.close(fd)
    return statistics.median(samples) / 1000


def in_thread(waiter: Callable[[], None]) -> Any:
    thread = threading.Thread(target=waiter)
    thread.start()
    return thread


def in_process(cpu: int) -> Callable[[Callable[[], None]], Any]:
    """Starts the waiter on that CPU; this process is on the first one."""

    def run(waiter: Callable[[], None]) -> None:
        os.sched_setaffinity(0, {cpu})
        waiter()

    def start(waiter: Callable[[], None]) -> Any:
        process = fork.Process(target=run, args=(waiter,))
        process.start()
        return process

    return start


async def by_tasks(take: Callable[[], Any], give: Give, number: int) -> float:
    """The same between two tasks of one loop."""
    samples = []
    for _ in range(number):
        taken = await take()

        async def waiter() -> int:
            other = await take()
            now = time.monotonic_ns()
            give(other)
            return now

        task = asyncio.create_task(waiter())
        await asyncio.sleep(0)
        before = time.monotonic_ns()
        give(taken)
        samples.append(await task - before)
    return statistics.median(samples) / 1000


async def queue_of_tasks(number: int) -> float:
    items: asyncio.Queue[None] = asyncio.Queue()
    items.put_nowait(None)
    return await by_tasks(items.get, items.put_nowait, number)


async def semaphore_of_tasks(number: int) -> float:
    semaphore = asyncio.Semaphore(1)
    return await by_tasks(semaphore.acquire, lambda _: semaphore.release(), number)


PROCESSES_ONE = "Mempool, processes on one CPU"


def handovers(options: argparse.Namespace, cpus: list[int]) -> None:
    nr = HANDOVERS // options.scale
    pool, simple, waiting, pipe = few("one", 1), queue.SimpleQueue[None](), queue.Queue[None](), fork.SimpleQueue()
    for items in (simple, waiting, pipe):
        items.put(None)
    here, there = threading.Semaphore(1), fork.Semaphore(1)
    ways: dict[str, tuple[Take, Give]] = {
        "Mempool": (pool.alloc_offset, pool.free_offset),
        "multiprocessing.Semaphore": (there.acquire, lambda _: there.release()),
        "multiprocessing.SimpleQueue": (pipe.get, pipe.put),
        "threading.Semaphore": (here.acquire, lambda _: here.release()),
        "queue.Queue": (waiting.get, waiting.put),
        "queue.SimpleQueue": (simple.get, simple.put),
    }

    def case(way: str, start: Callable[[Callable[[], None]], Any]) -> Case:
        return lambda: handover(*ways[way], nr, start)

    cases = {
        f"{way}, processes on {name}": case(way, in_process(cpu))
        for name, cpu in (("one CPU", cpus[0]), ("two CPUs", cpus[-1]))
        for way in list(ways)[:3]
    }
    cases |= {f"{way}, threads": case(way, in_thread) for way in ways if not way.startswith("multiprocessing")}
    cases["Mempool, tasks"] = lambda: asyncio.run(by_tasks(pool.alloc_async, lambda block: block.free(), nr))
    cases["asyncio.Semaphore, tasks"] = lambda: asyncio.run(semaphore_of_tasks(nr))
    cases["asyncio.Queue, tasks"] = lambda: asyncio.run(queue_of_tasks(nr))
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus[:1])
    samples = measure(cases, options.rounds)
    os.sched_setaffinity(0, affinity)
    report("A hand-over to one who waits", samples, options, [Target(PROCESSES_ONE, 2.5)], unit="us")


# ---- more who want than there is

# What one party does: it prepares, calls the second argument, and then works as often as the first one says.
Work = Callable[[int, Callable[[], object]], None]


def pairs(take: Callable[[], Any], give: Callable[[Any], object]) -> Work:
    def work(number: int, begin: Callable[[], object]) -> None:
        begin()
        for _ in range(number):
            give(take())

    return work


def by_threads(works: tuple[Work, ...], number: int) -> float:
    """Wall time of both, each `number` times: microseconds for each of the 2 * number."""
    start = threading.Barrier(len(works) + 1)
    threads = [threading.Thread(target=work, args=(number, start.wait)) for work in works]
    for thread in threads:
        thread.start()
    start.wait()
    before = time.monotonic_ns()
    for thread in threads:
        thread.join()
    return (time.monotonic_ns() - before) / len(works) / number / 1000


def by_processes(works: tuple[Work, ...], number: int, cpus: list[int]) -> float:
    """The same in processes, the n-th on the n-th CPU."""
    said, say = os.pipe()  # a byte at a time: what several processes read must not come in pieces
    told, tell = os.pipe()

    def begin() -> None:
        os.write(say, b"1")
        os.read(told, 1)

    def run(work: Work, cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        work(number, begin)
        os.write(say, b"1")

    children = [fork.Process(target=run, args=(work, cpus[i % len(cpus)])) for i, work in enumerate(works)]
    for child in children:
        child.start()
    for _ in children:
        os.read(said, 1)
    before = time.monotonic_ns()
    os.write(tell, b"1" * len(works))
    for _ in children:
        os.read(said, 1)
    spent = time.monotonic_ns() - before
    for child in children:
        child.join()
    for fd in (said, say, told, tell):
        os.close(fd)
    return spent / len(works) / number / 1000


def saturated(options: argparse.Namespace, cpus: list[int]) -> None:
    """Two who take and give back as fast as they can, one element between them, no turns kept."""
    nr = PAIRS // 5 // options.scale
    pool = few("saturated", 1)
    items: queue.Queue[None] = queue.Queue()
    items.put(None)

    def of_semaphore(semaphore: Any) -> Work:
        return pairs(semaphore.acquire, lambda _: semaphore.release())

    of_pool, of_queue = pairs(pool.alloc_offset, pool.free_offset), pairs(items.get, items.put)
    here, there = of_semaphore(threading.Semaphore(1)), of_semaphore(fork.Semaphore(1))
    cases: dict[str, Case] = {
        "Mempool, 2 processes": lambda: by_processes((of_pool, of_pool), nr, cpus),
        "multiprocessing.Semaphore, 2 processes": lambda: by_processes((there, there), nr, cpus),
        "Mempool, 2 threads": lambda: by_threads((of_pool, of_pool), nr),
        "threading.Semaphore, 2 threads": lambda: by_threads((here, here), nr),
        "queue.Queue, 2 threads": lambda: by_threads((of_queue, of_queue), nr),
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
