"""GenPool: what a pair (allocate, free) costs from Python and in compiled code, one by one and in bulk, in one thread and
in two, beside what else hands out shared memory from Python."""

import argparse
import array
import ctypes
import multiprocessing.heap
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory

import mempools
from bench.harness import Case, Target, arguments, called, measure, missing, report, timed
from mempools.objects import loops

PAIRS = 200_000
NBYTES = 256
BLOCK = "Block: pool.alloc(256), dropped"


def iceoryx2_case(number: int) -> Case | None:
    """A publisher's loan of 256 bytes, dropped."""
    try:
        import iceoryx2
    except ImportError:
        missing("iceoryx2")
        return None
    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    name = iceoryx2.ServiceName.new("mempools-bench")
    service = node.service_builder(name).publish_subscribe(iceoryx2.Slice[ctypes.c_uint8]).open_or_create()
    publisher = service.publisher_builder().initial_max_slice_len(NBYTES).create()
    return timed(f"publisher.loan_slice_uninit({NBYTES})", number, publisher=publisher, service=service, node=node)


def python_pairs(options: argparse.Namespace, arena: mempools.Arena) -> None:
    """Calls from Python."""
    nr = PAIRS // options.scale
    pool = arena.genpool("python")
    pages = arena.genpool("python pages", granule=4096)
    heap = multiprocessing.heap.Heap()
    out = array.array("Q", bytes(32 * 8))
    names = {"alloc": pool.alloc, "alloc_offset": pool.alloc_offset, "free_offset": pool.free_offset}
    cases: dict[str, Case] = {
        "bytearray(256)": timed("bytearray(256)", nr),
        BLOCK: timed("alloc(256)", nr, **names),
        "Block of 4 KiB, 64 granules": timed("alloc(4096)", nr, **names),
        "Block of 4 KiB, one granule": timed("alloc(4096)", nr, alloc=pages.alloc),
        "alloc_offset(256), free_offset": timed("free_offset(alloc_offset(256), 256)", nr, **names),
        "alloc_bulk(32, 64, out), free_bulk: an object": per_object(
            timed("alloc(32, 64, out); free(out, 64)", nr // 32, alloc=pool.alloc_bulk, free=pool.free_bulk, out=out)
        ),
        "multiprocessing.heap": timed("heap.free(heap.malloc(256))", nr // 50, heap=heap),
        "SharedMemory, create and unlink": timed(
            "s = SharedMemory(create=True, size=256); s.close(); s.unlink()", nr // 400, SharedMemory=SharedMemory
        ),
    }
    iceoryx2 = iceoryx2_case(nr // 10)
    if iceoryx2 is not None:
        cases["iceoryx2, loan and drop"] = iceoryx2
    targets = [
        Target(BLOCK, 0.5, of="bytearray(256)"),
        Target(BLOCK, 1 / 15, of="iceoryx2, loan and drop"),
        Target(BLOCK, 1 / 80, of="multiprocessing.heap"),
        Target(BLOCK, 1 / 300, of="SharedMemory, create and unlink"),
    ]
    report("GenPool from Python: one pair", measure(cases, options.rounds), options, targets)


def per_object(case: Case) -> Case:
    return lambda: case() / 32


def compiled_pairs(options: argparse.Namespace, arena: mempools.Arena) -> None:
    """The same without Python's calls."""
    nr = 10 * PAIRS // options.scale
    pool = arena.genpool("compiled")
    pages = arena.genpool("compiled pages", granule=4096)
    bulk = called(loops.genpool_bulk_pairs, pool.handle(), 64, nr // 10, per=nr // 10 * 32)
    cases = {
        "64 bytes, one granule": called(loops.genpool_pairs, pool, 64, nr, per=nr),
        "256 bytes, 4 granules": called(loops.genpool_pairs, pool.handle(), 256, nr, per=nr),
        "640 bytes, 10 granules": called(loops.genpool_pairs, pool.handle(), 640, nr, per=nr),
        "4 KiB, 64 granules": called(loops.genpool_pairs, pool.handle(), 4096, nr, per=nr),
        "4 KiB, one granule of 4 KiB": called(loops.genpool_pairs, pages, 4096, nr, per=nr),
        "bulk of 32: an object": bulk,
    }
    targets = [Target("64 bytes, one granule", 15), Target("bulk of 32: an object", 2)]
    report("GenPool in compiled code: one pair", measure(cases, options.rounds), options, targets)


def two_threads(
    work: Callable[[mempools.GenPool], object], pools: list[mempools.GenPool], per: int
) -> tuple[float, float]:
    """Runs work(pool) for each pool in a thread of its own: CPU nanoseconds for each pair and thread, and how much of the
    time they had the CPUs at once (CPU time used by both, per second of wall time)."""
    start = threading.Barrier(len(pools))
    spent = [0] * len(pools)
    ends = [(0, 0)] * len(pools)

    def thread(index: int) -> None:
        start.wait()
        began, before = time.monotonic_ns(), time.thread_time_ns()
        work(pools[index])
        spent[index] = time.thread_time_ns() - before
        ends[index] = began, time.monotonic_ns()

    threads = [threading.Thread(target=thread, args=(index,)) for index in range(len(pools))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    wall = max(end for _, end in ends) - min(began for began, _ in ends)
    return sum(spent) / len(pools) / per, sum(spent) / wall


def threads_pairs(options: argparse.Namespace, arena: mempools.Arena) -> None:
    """Two threads at once."""
    nr = 5 * PAIRS // options.scale
    pool = arena.genpool("threads")
    handles = [pool.handle(), pool.handle()]
    overlaps: dict[str, list[float]] = {}

    def compiled(pool: mempools.GenPool) -> None:
        loops.genpool_pairs(pool, 64, nr)

    def python(pool: mempools.GenPool) -> None:
        alloc, free = pool.alloc_offset, pool.free_offset
        for _ in range(nr // 10):
            free(alloc(64), 64)

    def case(name: str, work: Callable[[mempools.GenPool], None], pools: list[mempools.GenPool], per: int) -> Case:
        def run() -> float:
            # On a machine that others use, the threads may hardly meet: of some tries the one where they met most.
            tries = [two_threads(work, pools, per) for _ in range(8 if len(pools) > 1 else 1)]
            cost, overlap = max(tries, key=lambda pair: pair[1])
            overlaps.setdefault(name, []).append(overlap)
            return cost

        return run

    plan = {
        "compiled, one thread": (compiled, handles[:1], nr),
        "compiled, two threads, a handle each": (compiled, handles, nr),
        "compiled, two threads, one handle": (compiled, [pool, pool], nr),
        "Python, one thread": (python, handles[:1], nr // 10),
        "Python, two threads, a handle each": (python, handles, nr // 10),
        "Python, two threads, one handle": (python, [pool, pool], nr // 10),
    }
    cases = {name: case(name, *what) for name, what in plan.items()}
    samples = measure(cases, options.rounds)
    gil = "with" if getattr(sys, "_is_gil_enabled", lambda: True)() else "without"
    report(
        f"GenPool in two threads, {gil} the GIL: one pair and thread (64 bytes, CPU time)",
        samples,
        options,
        [Target("compiled, two threads, a handle each", 25)],
        facts={
            "CPUs in use, median": {name: round(sorted(seen)[len(seen) // 2], 2) for name, seen in overlaps.items()}
        },
    )


def main() -> None:
    options = arguments(__doc__ or "")
    arena = mempools.Arena("64M")
    python_pairs(options, arena)
    compiled_pairs(options, arena)
    threads_pairs(options, arena)


if __name__ == "__main__":
    main()
