"""Two processes share a cache of small results: one fills it and is killed, the other reads, thins it out and compacts."""

import os
import signal

from mempools import Arena, StaleHandle

RESULTS = 2000


def fill(pool, pipe) -> None:
    """Even results are given to the pool; the odd ones are this process's, and go with it."""
    for number in range(RESULTS):
        handle = pool.put(f"result {number} ".encode() * (number % 40 + 1), keep=number % 2 == 0)
        os.write(pipe, handle.to_bytes(8, "little"))
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    with Arena.anonymous("8M") as arena:
        pool = arena.zspool("results")
        hears, says = os.pipe()
        pid = os.fork()
        if pid == 0:
            fill(arena.zspool("results"), says)
        os.close(says)
        with os.fdopen(hears, "rb") as pipe:
            raw = pipe.read()
        os.waitpid(pid, 0)
        arena.recover()
        handles = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
        there = []
        for handle in handles:
            try:
                there.append((handle, pool.read_bytes(handle)))
            except StaleHandle:
                continue
        print(f"{len(there)} of {RESULTS} results outlived their process")
        with pool.read(there[0][0]) as view:  # stays where it is
            for handle, _ in there[1::2]:
                pool.free(handle)
            before = pool.stats().pages_used
            freed = pool.compact()
            print(f"pages went back: {freed == before - pool.stats().pages_used and freed > 0}")
            print(f"the view is whole: {bytes(view) == there[0][1]}")
        print(f"the rest is whole: {all(pool.read_bytes(handle) == data for handle, data in there[::2])}")
        pool.check()


if __name__ == "__main__":
    main()
