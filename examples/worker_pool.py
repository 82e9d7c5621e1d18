"""Worker processes whose results are blocks of shared memory: what comes back is a handle, the bytes stay where they are.

There are four results at a time, however many jobs: a worker that is ahead waits for the reader. When a worker is killed the
executor gives up; the pool does not. What the workers held returns to it, and the jobs that are missing run again."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import mempools

NR_JOBS = 24
RESULT = 1 << 20  # bytes


def results_of(arena):
    return arena.mempool("results", nbytes=RESULT, min_nr=4, size=4 * RESULT)


def initialize(arena):
    global results
    results = results_of(arena)


def job(number, attempt):
    block = results.alloc()  # waits while four results are under way
    with memoryview(block) as view:
        view[:] = bytes([number]) * RESULT
    if number == 9 and attempt == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number, block


def run(arena, numbers, attempt):
    """Yields (number, result) for as many jobs as get done; a result is good until the next one is asked for."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=initialize, initargs=(arena,)) as executor:
        futures = [executor.submit(job, number, attempt) for number in numbers]
        for future in as_completed(futures):
            number, block = future.result()
            with block:
                yield number, block


def main():
    arena = mempools.Arena.anonymous("8M")
    results = results_of(arena)
    todo = set(range(NR_JOBS))
    attempt = 0
    while todo:
        try:
            for number, block in run(arena, sorted(todo), attempt):
                with memoryview(block) as view:
                    assert view[0] == view[-1] == number
                todo.remove(number)
        except BrokenProcessPool:
            print("a worker was killed: what is missing runs again")
            attempt += 1
    arena.recover()
    print(f"{NR_JOBS} jobs done, results in the pool again: {results.curr_nr} of {results.min_nr}")


if __name__ == "__main__":
    main()
