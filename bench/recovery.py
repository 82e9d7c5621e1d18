"""Recovery: how long `recover()` takes when a process was killed that held half of an arena of 1 GiB."""

import multiprocessing
import os
import signal
import time

import mempools
from bench.harness import Case, Target, arguments, measure, report

ARENA = 1 << 30
SIZE = ARENA // 8 * 7  # the rest is for maps and tables
BULK = 1 << 16


def hold(arena: mempools.Arena, name: str, granule: int, alternate: bool, ready: object) -> None:
    """Takes blocks of one granule, half of the pool: the first half of it, or every other one; then waits to be killed."""
    pool = arena.genpool(name, granule=granule, size=SIZE)
    share = pool.size // granule // 2
    taken = 0
    while taken < share:
        got = pool.alloc_bulk(min(BULK, 2 * (share - taken) if alternate else share - taken), granule)
        if alternate:
            for offset in got[1::2]:
                pool.free_offset(offset, granule)
            # The hint has passed them: the next blocks come from behind the last one.
        taken += len(got) // 2 if alternate else len(got)
    ready.send(taken)
    signal.pause()


def recovery(granule: int, alternate: bool) -> Case:
    """Milliseconds of one `recover()`; the child is made, fills its half and is killed outside the measured time."""

    def case() -> float:
        with mempools.Arena.anonymous(ARENA) as arena:
            pool = arena.genpool("half", granule=granule, size=SIZE)
            here, there = multiprocessing.Pipe()
            child = multiprocessing.get_context("fork").Process(
                target=hold, args=(arena, "half", granule, alternate, there)
            )
            child.start()
            taken = here.recv()
            used = pool.size - pool.avail
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            before = time.thread_time_ns()
            dead = arena.recover()
            spent = time.thread_time_ns() - before
            assert dead == 1 and used >= taken * granule and pool.avail == pool.size, (
                dead,
                taken,
                pool.avail,
                pool.size,
            )
            return spent / 1e6

    return case


def main() -> None:
    options = arguments(__doc__ or "")
    cases = {
        "blocks of 64 bytes, the first half": recovery(64, False),
        "blocks of 64 bytes, every other one": recovery(64, True),
        "blocks of 4 KiB, the first half": recovery(4096, False),
        "blocks of 4 KiB, every other one": recovery(4096, True),
    }
    report(
        "Recovery of half of 1 GiB, held by a killed process (CPU time)",
        measure(cases, max(3, options.rounds // 3)),
        options,
        [Target(name, 10) for name in cases],
        unit="ms",
    )


if __name__ == "__main__":
    main()
