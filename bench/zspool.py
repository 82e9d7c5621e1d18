"""ZsPool: density beside the kernel's classes and beside a dict of bytes, what a call takes, how fast compaction is."""

import os
import random
import sys
import time
from typing import Any

import mempools
from bench.harness import Case, arguments, measure, report, timed

OBJECTS = 20_000
CALLS = 100_000
NBYTES = 256
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


def main() -> None:
    options = arguments(__doc__ or "")
    density(options)
    latency(options)
    compaction(options)


if __name__ == "__main__":
    main()
