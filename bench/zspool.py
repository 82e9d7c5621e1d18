"""ZsPool: density beside the kernel's classes and beside a dict of bytes, what a call takes, how fast compaction is, and what
deferring a free saves."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import mempools
from bench.harness import Case, arguments, measure, report, timed
from bench.tails import beside

OBJECTS = 20_000
CALLS = 100_000
NBYTES = 256
BATCH = 240
arena = mempools.Arena.anonymous("512M")


# ---- density


def sizes_of(name: str, nr: int) -> list[int]:
    rng = random.Random(name)
    if name == "compressed pages":  # as of 4 KiB JSON values: around a third
        return [min(4096, max(32, int(rng.gauss(1450, 300)))) for _ in range(nr)]
    if name == "16 to 512 bytes":
        return [rng.randint(16, 512) for _ in range(nr)]
    return [rng.randint(4097, 65536) for _ in range(nr)]


def kernel_pages(sizes: list[int]) -> int:
    """Pages that mm/zsmalloc.c takes for objects of at most a page, by its arithmetic: full zspages, and one that is not."""
    counts: dict[tuple[int, int, int], int] = {}
    for nbytes in sizes:
        shape = kernel_class(nbytes)
        counts[shape] = counts.get(shape, 0) + 1
    return sum(-(-nr // objs) * pages for (_, pages, objs), nr in counts.items())


def kernel_class(nbytes: int) -> tuple[int, int, int]:
    size = min(4096, max(32, -(-(nbytes + 8) // 16) * 16))
    best = shape(size)
    while size < 4096 and shape(size + 16)[1:] == best[1:]:
        size += 16
        best = shape(size)
    return best


def shape(size: int) -> tuple[int, int, int]:
    pages = 1 if size & (size - 1) == 0 else min(range(1, 9), key=lambda i: (i * 4096 % size, i))
    return size, pages, pages * 4096 // size


def density(options: Any) -> None:
    nr = OBJECTS // options.scale
    for name in ("compressed pages", "16 to 512 bytes", "4 to 64 KiB"):
        sizes = sizes_of(name, nr if name != "4 to 64 KiB" else nr // 20)
        pool = arena.zspool(name)
        pool.alloc_bulk(sizes)
        ours = pool.stats().memory_bytes
        pool.destroy(force=True)
        held = [bytes(nbytes) for nbytes in sizes]
        samples: dict[str, list[float]] = {"the objects' own bytes": [sum(sizes) / len(sizes)]}
        samples["ZsPool, pages taken"] = [ours / len(sizes)]
        if max(sizes) <= 4096:
            samples["the kernel's classes, by arithmetic"] = [kernel_pages(sizes) * 4096 / len(sizes)]
        samples["bytes objects (sys.getsizeof), one process"] = [sum(map(sys.getsizeof, held)) / len(sizes)]
        report(f"Density: {len(sizes)} objects, {name}", samples, options, unit="bytes an object")


# ---- calls


def latency(options: Any) -> None:
    number = CALLS // options.scale
    pool = arena.zspool("calls")
    data = os.urandom(NBYTES)
    handle = pool.put(data)
    names = {"pool": pool, "data": data, "handle": handle, "d": {1: data}, "buffer": bytearray(NBYTES)}
    cases: dict[str, Case] = {
        "dict of bytes: a copy in and out (d[2] = bytes(bytearray), del)": timed(
            "d[2] = bytes(buffer); del d[2]", number, **names
        ),
        "alloc and free": timed(f"free(alloc({NBYTES}))", number, alloc=pool.alloc, free=pool.free),
        "put and free": timed("free(put(data))", number, put=pool.put, free=pool.free, data=data),
        "write": timed("write(handle, data)", number, write=pool.write, **names),
        "read_bytes": timed("read(handle)", number, read=pool.read_bytes, **names),
        "read_into": timed("read(handle, buffer)", number, read=pool.read_into, **names),
        "with read() as a memoryview": timed("with read(handle) as view: pass", number, read=pool.read, **names),
    }
    report(f"Calls from Python, objects of {NBYTES} bytes", measure(cases, options.rounds), options)
    pool.destroy(force=True)


# ---- compaction


def compaction(options: Any) -> None:
    nr = OBJECTS // options.scale
    samples: dict[str, list[float]] = {}
    pool = arena.zspool("compaction")

    def once(nbytes: int) -> tuple[float, int]:
        handles = pool.alloc_bulk([nbytes] * nr)
        random.Random(nbytes).shuffle(handles)
        pool.free_bulk(handles[: nr // 2])
        before = pool.stats()
        begun = time.thread_time_ns()
        pages = pool.compact()
        took = time.thread_time_ns() - begun
        moved = pool.stats().moved - before.moved
        assert pool.stats().pages_freeable == 0 and pages == before.pages_freeable
        pool.free_bulk(handles[nr // 2 :])
        pool.compact()
        return took / moved, pages

    for nbytes in (64, 256, 1450, 3000):
        samples[f"{nbytes} bytes, an object moved"] = [once(nbytes)[0] for _ in range(options.rounds)]
    report(
        "Compaction, half of the objects freed at random: every page that arithmetic allows came back", samples, options
    )
    pool.destroy(force=True)


# ---- pages for the arena's other pools


def rehoming(options: Any) -> None:
    """A pool of its own, filled with objects of many sizes, nine of ten freed at random."""
    samples: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}

    def once(made: mempools.Arena) -> None:
        pool = made.zspool("rehoming")
        rng = random.Random(1)
        handles = [pool.alloc(rng.randrange(1, 3000)) for _ in range(4 * OBJECTS // options.scale)]
        rng.shuffle(handles)
        pool.free_bulk(handles[len(handles) // 10 :])
        pool.compact()
        size, moved = pool.size, pool.stats().moved
        begun = time.thread_time_ns()
        pages = pool.rehome()
        took = time.thread_time_ns() - begun
        samples.setdefault("a page given back", []).append(took / max(1, pages))
        shares.setdefault("compact(): of the pool's bytes, to the system", []).append(
            100 - 100 * pool.stats().memory_bytes / size
        )
        shares.setdefault("rehome(): to the arena", []).append(100 * pages * 4096 / size)
        shares.setdefault("objects that moved, of those left", []).append(
            100 * (pool.stats().moved - moved) / pool.stats().objects
        )

    for _ in range(options.rounds):
        with mempools.Arena.anonymous("1G") as made:
            once(made)
    report("Pages given back to the arena", samples, options)
    report("Pages given back to the arena: shares", shares, options, unit="%")


# ---- frees


def freeing(options: Any) -> None:
    """BATCH objects at a time, so that no queue is half full: alone, and while another process frees in the same class."""
    pool = arena.zspool("frees")
    calls = {"free": pool.free, "free_deferred": pool.free_deferred}
    cases = {name: called_on(pool, free, False) for name, free in calls.items()}
    cases["drain, an object"] = called_on(pool, pool.free_deferred, True)
    report(f"Frees, objects of {NBYTES} bytes", measure(cases, options.rounds), options)

    def churn() -> None:
        pool.free_bulk(pool.alloc_bulk([NBYTES] * BATCH))

    child, end = beside(churn)
    samples: dict[str, list[float]] = {
        f"{name}, {rank}": [] for name in calls for rank in ("median", "99 %", "99.9 %", "mean")
    }
    for _ in range(options.rounds):
        for name, free in calls.items():
            took = latencies(pool, free, 100 // options.scale)
            for rank, part in (("median", 0.5), ("99 %", 0.99), ("99.9 %", 0.999)):
                samples[f"{name}, {rank}"].append(took[int(part * len(took))])
            samples[f"{name}, mean"].append(sum(took) / len(took))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(end)
    title = "A free while another process allocates and frees in the same class, wall time with the clock's"
    report(title, samples, options)
    arena.recover()
    pool.destroy(force=True)


def called_on(pool: mempools.ZsPool, free: Callable[[int], None], drained: bool) -> Case:
    """CPU time of a call of `free`, or of the drain after it, an object."""

    def case() -> float:
        took = 0
        for _ in range(100):
            handles = pool.alloc_bulk([NBYTES] * BATCH)
            begun = time.thread_time_ns()
            for handle in handles:
                free(handle)
            between = time.thread_time_ns()
            pool.drain()
            took += time.thread_time_ns() - between if drained else between - begun
        return took / (100 * BATCH)

    return case


def latencies(pool: mempools.ZsPool, free: Callable[[int], None], batches: int) -> list[int]:
    took = []
    now = time.perf_counter_ns
    for _ in range(batches):
        for handle in pool.alloc_bulk([NBYTES] * BATCH):
            before = now()
            free(handle)
            took.append(now() - before)
        pool.drain()
    return sorted(took)


def main() -> None:
    options = arguments(__doc__ or "")
    density(options)
    latency(options)
    compaction(options)
    rehoming(options)
    freeing(options)


if __name__ == "__main__":
    main()
