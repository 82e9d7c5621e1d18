"""Failing executions made by hand, for the tests of what draws, prints and exports them."""

from mempools.check.trace import INITIAL, Barrier, Fn, Kind, Order, Remedy, Step, Trace

# One CPU fills a word and raises a flag, the other sees the flag and not the word.
MESSAGE_PASSING = Trace(
    scenario="handoff.block",
    cpus=("producer", "consumer"),
    steps=(
        Step(index=0, cpu=0, kind=Kind.START),
        Step(index=1, cpu=0, kind=Kind.WRITE, site="handoff.fill", location="data", wrote=42),
        Step(index=2, cpu=1, kind=Kind.START),
        Step(
            index=3,
            cpu=1,
            kind=Kind.READ,
            site="handoff.limit",
            location="limit",
            read=8,
            reads_from=INITIAL,
            newest=INITIAL,
        ),
        Step(index=4, cpu=0, kind=Kind.WRITE, site="R:handoff.publish", location="flag", wrote=1, was="store_release"),
        Step(index=5, cpu=0, kind=Kind.END),
        Step(index=6, cpu=1, kind=Kind.READ, site="handoff.poll", location="flag", read=1, reads_from=4, newest=4),
        Step(index=7, cpu=1, kind=Kind.READ, site="handoff.use", location="data", read=0, reads_from=INITIAL, newest=1),
        Step(index=8, cpu=1, kind=Kind.END),
    ),
    violation="the consumer saw the flag without the data: 0, not 42",
    replay="0.1.0.1",
    initial={"limit": 8},
    culprit=7,
    mutation="R:handoff.publish=write_once",
    remedies=(Remedy((Barrier("store_release", 4), Barrier("load_acquire", 6)), forbids=7),),
)

# Each CPU stores, then looks for the other's store: both look too early.
STORE_BUFFERING = Trace(
    scenario="litmus.SB",
    cpus=("", ""),
    steps=(
        Step(index=1, cpu=0, kind=Kind.WRITE, location="x", wrote=1, size=4),
        Step(index=2, cpu=0, kind=Kind.READ, location="y", read=0, size=4, reads_from=INITIAL, newest=INITIAL),
        Step(index=3, cpu=1, kind=Kind.WRITE, location="y", wrote=1, size=4),
        Step(index=4, cpu=1, kind=Kind.READ, location="x", read=0, size=4, reads_from=INITIAL, newest=1),
    ),
    violation="exists (0:r0=0 /\\ 1:r0=0)",
    replay="02",
    remedies=(Remedy((Barrier("smp_mb before", 2), Barrier("smp_mb before", 4)), forbids=4),),
)


def _lock(index: int, cpu: int, lock: str, **more: object) -> Step:
    done = {} if "blocked" in more else {"read": 0, "wrote": 1, "reads_from": INITIAL, "newest": INITIAL}
    return Step(
        index=index, cpu=cpu, kind=Kind.LOCK, order=Order.ACQUIRE, site=f"A:pair.{lock}", location=lock, **done, **more
    )


DEADLOCK = Trace(
    scenario="pair.abba",
    cpus=("a then b", "b then a"),
    steps=(_lock(1, 0, "a"), _lock(2, 1, "b"), _lock(3, 0, "b", blocked=True), _lock(4, 1, "a", blocked=True)),
    violation="deadlock: 2 of 2 CPUs can never go on",
    replay="01",
)

# The owner of a two-word claim dies between the words; recovery frees the first and forgets what it saw of the second.
CRASH = Trace(
    scenario="genpool.recover",
    cpus=("alloc", "recovery", "alloc"),
    steps=(
        Step(
            index=1, cpu=0, kind=Kind.RMW, order=Order.ACQUIRE, fn=Fn.CMPXCHG, site="A:ownermap.claim",
            location="map[0]", read=0, wrote=0x0101, reads_from=INITIAL, newest=INITIAL,
        ),
        Step(index=2, cpu=0, kind=Kind.WINDOW, site="D:ownermap.claim"),
        Step(index=3, cpu=0, kind=Kind.CRASH, text="one word claimed of two"),
        Step(
            index=4, cpu=2, kind=Kind.FAILED_CMPXCHG, order=Order.ACQUIRE, fn=Fn.CMPXCHG, site="A:ownermap.claim",
            location="map[0]", read=0x0101, expected=0, new=0x0303, reads_from=1, newest=1,
        ),
        Step(index=5, cpu=1, kind=Kind.AWAIT_END, target=0),
        Step(index=6, cpu=1, kind=Kind.READ, site="recovery.look", location="map[0]", read=0x0101, reads_from=1, newest=1),
        Step(index=7, cpu=1, kind=Kind.WINDOW, site="D:recovery.free"),
        Step(
            index=8, cpu=1, kind=Kind.WRITE, order=Order.RELEASE, site="R:recovery.free", location="map[0]", wrote=0,
        ),
        Step(
            index=9, cpu=2, kind=Kind.RMW, order=Order.ACQUIRE, fn=Fn.CMPXCHG, site="A:ownermap.claim",
            location="map[0]", read=0, wrote=0x0303, reads_from=8, newest=8,
        ),
        Step(index=10, cpu=1, kind=Kind.NOTE, text="recovery ends"),
    ),
    violation="granule 2 has no owner, and is not free",
    replay="0k1",
    culprit=10,
)  # fmt: skip

# The waiter reads the count before the free, sleeps after the wake-up.
LOST_WAKEUP = Trace(
    scenario="mempool.sleep",
    cpus=("alloc", "free"),
    steps=(
        Step(index=1, cpu=0, kind=Kind.READ, site="mempool.look", location="curr_nr", read=0, reads_from=INITIAL, newest=INITIAL),
        Step(index=2, cpu=1, kind=Kind.RMW, order=Order.FULL, fn=Fn.ADD, site="F:mempool.put", location="curr_nr",
             read=0, wrote=1, reads_from=INITIAL, newest=INITIAL),
        Step(index=3, cpu=1, kind=Kind.READ, site="mempool.waiters", location="waiters", read=0, size=4,
             reads_from=INITIAL, newest=INITIAL),
        Step(index=4, cpu=1, kind=Kind.FUTEX_WAKE, site="mempool.wake", location="seq", size=4, result=0),
        Step(index=5, cpu=1, kind=Kind.END),
        Step(index=6, cpu=0, kind=Kind.WRITE, site="mempool.queue", location="waiters", wrote=1, size=4),
        Step(index=7, cpu=0, kind=Kind.FUTEX_WAIT, site="mempool.sleep", location="seq", size=4, expected=0, blocked=True),
    ),
    violation="deadlock: CPU 0 can never go on",
    replay="0110",
)  # fmt: skip

ALL = {
    "message-passing": MESSAGE_PASSING,
    "store-buffering": STORE_BUFFERING,
    "deadlock": DEADLOCK,
    "crash": CRASH,
    "lost-wakeup": LOST_WAKEUP,
}
