"""How long a read of an object may take at worst while another process allocates, frees and compacts in the same pool, and how
long recovery takes when a process dies that had a million objects."""

import argparse
import os
import random
import signal
import time
from collections.abc import Callable

import mempools
from bench.harness import arguments, report

OBJECTS = 20_000
READS = 200_000
MILLION = 1_000_000
RANKS = {"median": 0.5, "99 %": 0.99, "99.9 %": 0.999, "99.99 %": 0.9999, "worst": 1.0}


def beside(work: Callable[[], object] | None) -> tuple[int, int]:
    """A child that does work() over and over; its process id (0: none), and a pipe it has said on that it begins."""
    if work is None:
        return 0, -1
    ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"!")
        while True:
            work()
    os.read(ready[0], 1)
    os.close(ready[1])
    return child, ready[0]


def reading(options: argparse.Namespace) -> None:
    rng = random.Random(1)
    sizes = [max(32, int(rng.gauss(1450, 300))) for _ in range(OBJECTS)]
    with mempools.Arena.anonymous("256M") as arena:
        pool = arena.zspool("objects")
        mine = [pool.alloc(nbytes) for nbytes in sizes]
        theirs: list[int] = []

        def burn() -> None:
            sum(range(1000))

        def churn() -> None:
            while len(theirs) < OBJECTS // 2:
                theirs.append(pool.alloc(rng.choice(sizes)))
            rng.shuffle(theirs)
            for handle in theirs[OBJECTS // 4 :]:
                pool.free(handle)
            del theirs[OBJECTS // 4 :]

        def compact() -> None:
            churn()
            pool.compact()

        cases = {
            "nobody else": None,
            "another computes": burn,
            "another allocates and frees": churn,
            "and compacts": compact,
        }
        found: dict[str, dict[str, float]] = {rank: {} for rank in RANKS}
        order = [rng.choice(mine) for _ in range(READS // options.scale)]
        read, now = pool.read_bytes, time.perf_counter_ns
        for name, work in cases.items():
            child, end = beside(work)
            took = []
            for handle in order:
                before = now()
                read(handle)
                took.append(now() - before)
            if child:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                os.close(end)
            took.sort()
            for rank, part in RANKS.items():
                found[rank][name] = took[min(int(part * len(took)), len(took) - 1)] / 1000
        for rank, row in found.items():
            title = f"A read of about 1,450 bytes, {rank} of {len(order):,}"
            report(title, {name: [value] for name, value in row.items()}, options, unit="us")
        arena.recover()
        pool.check()


def recovery(options: argparse.Namespace) -> None:
    nr = MILLION // options.scale
    with mempools.Arena.anonymous(nr * 100 + (8 << 20)) as arena:
        pool = arena.zspool("objects")
        took = []
        for _ in range(3):
            end = os.pipe()
            child = os.fork()
            if child == 0:
                pool.alloc_bulk([64] * nr)
                os.write(end[1], b"!")
                time.sleep(1000)
            os.read(end[0], 1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            before = time.perf_counter_ns()
            assert arena.recover() == 1
            took.append((time.perf_counter_ns() - before) / 1e6)
            assert pool.stats().objects == 0
        report(f"recover() after the death of who had {nr:,} objects of 64 bytes", {"ZsPool": took}, options, unit="ms")


def main() -> None:
    options = arguments(__doc__ or "")
    reading(options)
    recovery(options)


if __name__ == "__main__":
    main()
