"""What is expected of each re-creation, of the shipped scenarios that belong to a race, and of their litmus tests.

The tests check it, docs/figures/races.py draws it and makes the tables of docs/design/races/ from it.
"""

from dataclasses import dataclass

NEVER, SOMETIMES, UNKNOWN = "never", "sometimes", "unknown"


@dataclass(frozen=True, slots=True)
class Case:
    what: str  # the variant, as the table of the page says it
    scene: str
    goes_wrong: str = NEVER
    why: str = ""  # the violation
    mutations: tuple[tuple[str, str], ...] = ()
    load_buffering: bool = False
    figure: str = ""  # file name of the drawing, without its suffix

    @property
    def name(self) -> str:
        parts = [self.scene, *(f"{site} {kind}" for site, kind in self.mutations)]
        return ", ".join(parts) + (", load buffering" if self.load_buffering else "")


@dataclass(frozen=True, slots=True)
class Litmus:
    what: str
    file: str
    goes_wrong: str = NEVER


STUCK = "nobody can go on"
LOST = "the reserve is lost"
FOR_GOOD = "the reserve is smaller for good"
WMB, RMB = ("R:mempool.taken", "remove"), ("A:mempool.free", "remove")
WAITER, WAKER = ("F:mempool.wait", "remove"), ("F:mempool.waker", "remove")
UNPIN, PIN = ("R:zsmalloc.unpin", "relax"), ("A:zsmalloc.pin", "relax")
LISTEN, CALL = ("A:reserve.calls", "relax"), ("R:reserve.calls", "relax")
RECORD = ("R:zsmalloc.record", "relax")
RELEASE, CLAIM = ("R:ownermap.release", "relax"), ("A:ownermap.claim", "relax")
CLEAR, SET = ("R:genpool.clear", "relax"), ("A:genpool.set", "relax")
PIN_GONE = "the pin is gone"
DATA_RACE = "data race"

# Page by page; the names of the pages are those of docs/design/races/.
CASES: dict[str, list[Case]] = {
    "depletion": [
        Case("write barrier after the reserve was used, read barrier before it is looked at", "races.depletion"),
        Case("no write barrier", "races.depletion", SOMETIMES, LOST, (WMB,), figure="depletion"),
        Case("no read barrier", "races.depletion", SOMETIMES, LOST, (RMB,)),
        Case("neither", "races.depletion", SOMETIMES, LOST, (WMB, RMB)),
        Case("before the patch: a full barrier in the free alone", "races.depletion-old", SOMETIMES, LOST),
        Case("write barrier before the unlock", "races.depletion-early"),
        Case("and then somebody waits for the element", "races.depletion-waiter"),
        Case("the same without write barrier", "races.depletion-waiter", SOMETIMES, STUCK, (WMB,)),
        Case("the same without read barrier", "races.depletion-waiter", SOMETIMES, STUCK, (RMB,)),
        Case("shipped: one thread takes, another gives back", "mempool.depletion"),
        Case("shipped: no write barrier", "mempool.depletion", SOMETIMES, FOR_GOOD, (WMB,)),
        Case("shipped: no read barrier", "mempool.depletion", SOMETIMES, FOR_GOOD, (RMB,)),
        Case("shipped: while another process takes and gives", "mempool.depletion-three"),
        Case("shipped: the minimum is lowered beside a free", "mempool.shrink"),
        Case("shipped: and beside an allocation", "mempool.shrink-take"),
    ],
    "wake-up": [
        Case("the queue is joined under the lock", "races.wake"),
        Case("two who wait, take and give back", "races.wake-3"),
        Case("no barrier before the waker looks who waits", "races.wake-3", mutations=(("F:mempool.free", "remove"),)),
        Case("the queue is joined after the lock", "races.wake-join-late", SOMETIMES, STUCK, figure="wake-join-late"),
        Case("woken before the element is there", "races.wake-first", SOMETIMES, STUCK),
        Case("without a lock: each stores, full barrier, looks", "races.wake-lockless"),
        Case("no barrier in the waiter", "races.wake-lockless", SOMETIMES, STUCK, (WAITER,)),
        Case("no barrier in the waker", "races.wake-lockless", SOMETIMES, STUCK, (WAKER,), figure="wake-lockless"),
        Case("neither", "races.wake-lockless", SOMETIMES, STUCK, (WAITER, WAKER)),
        Case("two wait, all are woken", "races.wake-all"),
        Case("one is woken, and may not need it", "races.wake-one", SOMETIMES, STUCK, figure="wake-one"),
        Case("one is woken, all leave the queue", "races.wake-one-of-all", SOMETIMES, STUCK),
        Case("one is woken, who does not need it wakes the next", "races.wake-one-passed-on"),
        Case("minimum 0: one element is kept for who waits", "races.zero-minimum"),
        Case("minimum 0: kept if less than 0 are there", "races.zero-minimum-less", SOMETIMES, STUCK),
        Case(
            "minimum 0: kept if not more than 0 are there", "races.zero-minimum-less-or-equal", SOMETIMES,
            "pushed past the minimum",
        ),
        Case("shipped: the robust lock, three wait", "robustlock.three"),
        Case("shipped: two wait, a third only tries", "robustlock.tried"),
        Case("shipped: one comes while the element is given back", "mempool.wake"),
        Case("shipped: two sleep, the element is given back", "mempool.wake-two"),
        Case("shipped: in the order of their coming", "mempool.wake-fifo"),
        Case("shipped: a pool without a minimum", "mempool.zero"),
        Case("shipped: two who each take two of three", "mempool.bulk"),
        Case("shipped: one who was woken goes without its element", "mempool.cancel"),
        Case("shipped: the oldest goes, for whom there was too little", "mempool.cancel-fifo"),
        Case("shipped: a thread listens for a task", "mempool.task"),
        Case("shipped: its look is not ordered after the count", "mempool.task", SOMETIMES, STUCK, (LISTEN,)),
        Case("shipped: the count is not ordered after the state", "mempool.task", SOMETIMES, STUCK, (CALL,)),
    ],
    "reclaim": [
        Case("free takes the spin lock alone", "races.reclaim"),
        Case("free takes the mutex", "races.reclaim-mutex", SOMETIMES, STUCK, figure="reclaim-mutex"),
        Case("the spin lock is kept while memory is allocated", "races.reclaim-keeps-lock", SOMETIMES, STUCK),
        Case("the worker does not reclaim", "races.noio"),
        Case("the worker reclaims", "races.noio-worker-in-reclaim", SOMETIMES, STUCK, figure="noio"),
    ],
    "restart": [
        Case("searches again after the lock was dropped", "races.restart"),
        Case("goes on where it was", "races.restart-not", SOMETIMES, "that somebody uses", figure="restart-not"),
    ],
    "unlink": [
        Case("taken off the list under both locks, destroyed under the mutex", "races.unlink"),
        Case("under the spin lock alone", "races.unlink-lock", SOMETIMES, "is populated", figure="unlink-lock"),
        Case("under the mutex alone", "races.unlink-mutex", SOMETIMES, "is taken from", figure="unlink-mutex"),
    ],
    "interrupt": [
        Case("interrupts are off while the lock is held", "races.interrupt"),
        Case("they are not", "races.interrupt-enabled", SOMETIMES, STUCK, figure="interrupt-enabled"),
        Case("shipped: an allocation interrupts an allocation", "genpool.interrupted"),
        Case("shipped: a claim interrupts a claim", "ownermap.claim-interrupted"),
    ],
    "percpu-pool": [
        Case("whoever finds the pool empty does without", "races.pool"),
        Case("waits, with a lock that reclaim takes", "races.pool-waits", SOMETIMES, STUCK, figure="pool-waits"),
        Case("waits without a lock, and the refill succeeds", "races.pool-waits-outside"),
        Case("waits without a lock, and the refill may fail", "races.pool-waits-no-memory", SOMETIMES, STUCK),
        Case("does without, and the refill may fail", "races.pool-no-memory"),
    ],
    "claim": [
        Case("the roll-back frees what was claimed", "races.roll-back"),
        Case("it frees all that was wanted", "races.roll-back-all", SOMETIMES, "that nobody has", figure="roll-back-all"),
        Case("each chunk is searched from its start", "races.start"),
        Case("from where the last search ended", "races.start-carried", SOMETIMES, "and there is room"),
        Case("nothing is found beside a roll-back", "races.empty", SOMETIMES, "nothing is found", figure="empty"),
        Case("two who never give up", "races.retry", UNKNOWN, "spins"),
        Case("the count is right when all is quiet", "races.avail"),
        Case("the size is taken off before it is rounded", "races.avail-unrounded", SOMETIMES, "nobody has anything"),
        Case("the count is never below nothing", "races.avail-watched", SOMETIMES, "less than nothing", figure="avail"),
        Case("shipped: three claims that overlap", "ownermap.claim-overlap"),
        Case("shipped: and are released", "ownermap.claim-overlap-release"),
        Case("shipped: two words beside one granule; not all fail", "genpool.two-words"),
    ],
    "hand-over": [
        Case("free releases, the claim acquires", "races.bit"),
        Case("free orders nothing", "races.bit", SOMETIMES, "does not see", (CLEAR,), figure="bit"),
        Case("the claim orders nothing", "races.bit", SOMETIMES, "does not see", (SET,)),
        Case("shipped: a block is used, released, claimed, used", "ownermap.hand-over"),
        Case("the release orders nothing", "ownermap.hand-over", SOMETIMES, DATA_RACE, (RELEASE,)),
        Case("the claim orders nothing", "ownermap.hand-over", SOMETIMES, DATA_RACE, (CLAIM,)),
        Case("shipped: the same through GenPool", "genpool.hand-over"),
        Case("shipped: a chunk is added and seen", "chunks.seen"),
        Case("it is published without release", "chunks.seen", SOMETIMES, "has no room", (("R:chunks.publish", "relax"),)),
        Case("it is found without acquire", "chunks.seen", SOMETIMES, "has no room", (("A:chunks.head", "relax"),)),
    ],
    "aba": [
        Case("bits", "races.aba-bits"),
        Case("a list, its head a bare number", "races.aba", SOMETIMES, "that somebody has", figure="aba"),
        Case("a list, its head with a tag", "races.aba-tagged"),
    ],
    "pin": [
        Case("place and pin in one store, then the unpin", "races.pin"),
        Case("the place without the pin", "races.pin-lost", SOMETIMES, PIN_GONE, figure="pin-lost"),
        Case("the place, then the pin", "races.pin-then-or", SOMETIMES, PIN_GONE),
        Case("the compiler does the one store in two", "races.pin", SOMETIMES, PIN_GONE, (("zsmalloc.record", "tear"),)),
        Case("a 64-bit field, stored once", "races.torn"),
        Case("stored plainly", "races.torn", SOMETIMES, "half of", (("field.store", "tear"),), figure="torn"),
        Case("two fields of a word, each set atomically", "races.fields"),
        Case("one of them read, changed and stored", "races.fields", SOMETIMES, "lost", (("field.first", "split"),)),
    ],
    "unpin": [
        Case("migrate, read; the unpin releases", "races.unpin"),
        Case("migrate, read, write", "races.unpin-3"),
        Case("the unpin orders nothing", "races.unpin", SOMETIMES, "where it is not yet", (UNPIN,)),
        Case("the pin orders nothing", "races.unpin", SOMETIMES, "where it is not yet", (PIN,)),
        Case("the store of the place is the unpin, with release", "races.unpin-store"),
        Case(
            "the same, without", "races.unpin-store", SOMETIMES, "where it is not yet", (RECORD,), figure="unpin-store"
        ),
        Case("the last read of the old slot; release", "races.leak", load_buffering=True),
        Case(
            "the same, without; stores may run ahead", "races.leak", SOMETIMES, "next owner", (RECORD,), True, "leak"
        ),
        Case("the same, without; stores stay behind reads", "races.leak", mutations=(RECORD,)),
    ],
    "handle": [
        Case("the free pins, then looks where the object is", "races.pin"),
        Case("looks first", "races.pin-looked-before", SOMETIMES, "freed twice", figure="pin-looked-before"),
        Case("a fresh handle is stored whole", "races.born"),
        Case("the bit that it finds is kept", "races.born-pinned", SOMETIMES, STUCK, figure="born-pinned"),
    ],
}  # fmt: skip

LITMUS: dict[str, list[Litmus]] = {
    "depletion": [
        Litmus("no barrier", "depletion", SOMETIMES),
        Litmus("write barrier alone", "depletion+wmb", SOMETIMES),
        Litmus("read barrier alone", "depletion+rmb", SOMETIMES),
        Litmus("both", "depletion+wmb+rmb"),
        Litmus("full barrier in the free alone", "depletion+mb", SOMETIMES),
        Litmus("write barrier before the unlock", "depletion+early-wmb+rmb"),
    ],
    "wake-up": [
        Litmus("no barrier", "wake", SOMETIMES),
        Litmus("in the waiter alone", "wake+mb-of-waiter", SOMETIMES),
        Litmus("in the waker alone", "wake+mb-of-waker", SOMETIMES),
        Litmus("in both", "wake+mb+mb"),
        Litmus("all under the lock", "wake+locks"),
        Litmus("stored under the lock, looked up under it later", "wake+locks-twice"),
        Litmus("stored under the lock, looked up after it", "wake+unlocked-looks"),
    ],
    "hand-over": [
        Litmus("relaxed free, relaxed claim", "bit", SOMETIMES),
        Litmus("release, relaxed", "bit+release", SOMETIMES),
        Litmus("relaxed, acquire", "bit+acquire", SOMETIMES),
        Litmus("release, acquire", "bit+release+acquire"),
        Litmus("fully ordered", "bit+full+full"),
        Litmus("a chunk is published by a plain store", "publish+acquire", SOMETIMES),
        Litmus("with release", "publish+release+acquire"),
    ],
    "unpin": [
        Litmus("unpin by a plain store, pin with acquire", "unpin-once+acquire", SOMETIMES),
        Litmus("release, acquire", "unpin-release+acquire"),
        Litmus("release, relaxed", "unpin-release+relaxed", SOMETIMES),
        Litmus("the last read of the old slot, unpin by a plain store", "leak-once", SOMETIMES),
        Litmus("the same, release", "leak-release"),
    ],
}
