"""Statistics of each user of an asyncio server, in per-CPU memory: made in the event loop, where nobody may wait, from a pool
that a thread keeps filled.

A user's first request takes an area from the pool. When there is none just then, the request goes uncounted, and the next one
tries again: statistics are not worth a wait. `mempools.lockdep` watches that nothing here could ever wait for itself."""

import asyncio

import mempools
from mempools import lockdep

NR_USERS, NR_REQUESTS = 50, 40


class Statistics:
    def __init__(self, arena):
        self.pool = arena.percpu_pool("statistics", nbytes=16, low=16, high=32)
        self.users = {}
        self.uncounted = 0

    def note(self, user, nbytes):
        if user not in self.users:
            area = self.pool.alloc()  # an area, or None: never waits
            if area is None:
                self.uncounted += 1
                return
            self.users[user] = area.word(0), area.word(8)
        requests, total = self.users[user]
        requests.add(1)
        total.add(nbytes)


async def user(statistics, number):
    for request in range(NR_REQUESTS):
        statistics.note(f"user {number}", 100 + request % 10)
        await asyncio.sleep(0)


async def serve(statistics):
    await asyncio.gather(*(user(statistics, number) for number in range(NR_USERS)))
    try:
        statistics.pool.refill()  # a mistake: it would stop the loop
    except mempools.WaitForbidden:
        print("to wait for a refill in the event loop is refused")


def main():
    lockdep.enable()
    arena = mempools.Arena.anonymous("16M")
    statistics = Statistics(arena)
    asyncio.run(serve(statistics))
    requests = sum(requests.sum() for requests, _ in statistics.users.values())
    print(f"{requests} requests counted of {NR_USERS * NR_REQUESTS - statistics.uncounted}")
    print(f"violations: {len(lockdep.report().violations)}")


if __name__ == "__main__":
    main()
