"""Workers count what they do, are killed, and nothing that they counted is lost; the last user of a resource closes it.

A parent forks workers that share counters. `budget` is never overstepped by all of them together. A reference count says when
the last worker has let go of what they share.
"""

import os
import signal

import mempools

NR_WORKERS = 4
BUDGET = 2000


def work(done, budget, resource):
    with resource:
        while budget.limited_add(BUDGET, 1):
            done.inc()


def main():
    arena = mempools.Arena.anonymous("4M")
    stats = arena.percpu("stats")
    done, budget = stats.counters(2)
    resource = stats.refcount()
    pids = []
    for _ in range(NR_WORKERS):
        pid = os.fork()
        if pid == 0:
            try:
                work(done, budget, resource)
            finally:
                os._exit(0)
        pids.append(pid)
    os.kill(pids[0], signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
    print(f"spent: {budget.sum()} of {BUDGET}")
    print(
        f"done: {'all' if budget.sum() - done.sum() <= 1 else 'not all'} that was paid for, but what one was killed in"
    )
    resource.kill()
    left = resource.count()  # of the worker that was killed, if it had come so far
    resource.release = lambda: print("the resource is closed")
    if left:
        resource.put_many(left)
    else:
        resource.release()


if __name__ == "__main__":
    main()
