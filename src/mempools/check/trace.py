"""What one execution was and what a check came to, for those who draw, print or export it.

The engine fills these from its records. A step's `index` is the engine's number of the event: indices grow along the
execution, and need not follow each other. Other steps are named by their index, the initial value of a location by
INITIAL; None means that there is nothing to name.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

INITIAL: Final = -1
CHANGED: Final = "?"  # of Step.was: a mutation did something else than weaken the order


class Kind(enum.Enum):
    READ = enum.auto()
    WRITE = enum.auto()
    RMW = enum.auto()  # read and wrote: a cmpxchg too, if it succeeded
    FAILED_CMPXCHG = enum.auto()  # read only
    FENCE = enum.auto()  # `order` says which: FULL, ACQUIRE for smp_rmb, RELEASE for smp_wmb
    LOCK = enum.auto()
    TRYLOCK = enum.auto()  # took the lock if it wrote
    UNLOCK = enum.auto()
    RELAX = enum.auto()
    FUTEX_WAIT = enum.auto()
    FUTEX_WAKE = enum.auto()
    RCU_LOCK = enum.auto()
    RCU_UNLOCK = enum.auto()
    SYNCHRONIZE_RCU = enum.auto()
    AWAIT_END = enum.auto()  # waits until the CPU `target` has died or finished
    WINDOW = enum.auto()
    CRASH = enum.auto()
    INTERRUPT = enum.auto()  # one begins; `text` names it
    NOTE = enum.auto()  # `text` alone
    START = enum.auto()
    END = enum.auto()


class Order(enum.IntEnum):
    """As numbered in ops.pxd."""

    RELAXED = 0
    ACQUIRE = 1
    RELEASE = 2
    FULL = 3
    PLAIN = 4


class Fn(enum.IntEnum):
    """What a read-modify-write computes: as numbered in ops.pxd, where a cmpxchg is an operation of its own."""

    XCHG = 0
    ADD = 1
    OR = 2
    AND = 3
    XOR = 4
    CMPXCHG = 5


# By the numbers of ops.pxd. A cmpxchg that wrote nothing is a FAILED_CMPXCHG.
KIND_OF_OP: Final = (
    Kind.READ,
    Kind.WRITE,
    Kind.RMW,
    Kind.RMW,
    Kind.LOCK,
    Kind.TRYLOCK,
    Kind.UNLOCK,
    Kind.FENCE,
    Kind.FENCE,
    Kind.FENCE,
    Kind.RELAX,
    Kind.FUTEX_WAIT,
    Kind.FUTEX_WAKE,
    Kind.RCU_LOCK,
    Kind.RCU_UNLOCK,
    Kind.SYNCHRONIZE_RCU,
    Kind.AWAIT_END,
    Kind.START,
    Kind.NOTE,
    Kind.SYNCHRONIZE_RCU,
)

_SUFFIX = {Order.RELAXED: "_relaxed", Order.ACQUIRE: "_acquire", Order.RELEASE: "_release"}
_READ = {Order.ACQUIRE: "load_acquire", Order.PLAIN: "plain read"}
_WRITE = {Order.RELEASE: "store_release", Order.PLAIN: "plain write"}
_FENCE = {Order.FULL: "smp_mb", Order.ACQUIRE: "smp_rmb", Order.RELEASE: "smp_wmb"}
_FAMILY = {Fn.XCHG: "xchg", Fn.ADD: "fetch_add", Fn.OR: "fetch_or", Fn.AND: "fetch_and", Fn.XOR: "fetch_xor"}
_OTHER = {
    Kind.LOCK: "spin_lock",
    Kind.TRYLOCK: "spin_trylock",
    Kind.UNLOCK: "spin_unlock",
    Kind.RELAX: "cpu_relax",
    Kind.RCU_LOCK: "rcu_read_lock",
    Kind.RCU_UNLOCK: "rcu_read_unlock",
    Kind.AWAIT_END: "await_end",
}


def operation(kind: Kind, order: Order = Order.RELAXED, fn: Fn | None = None) -> str:
    """The name of an operation in the vocabulary of the machine layer."""
    if kind is Kind.READ:
        return _READ.get(order, "read_once")
    if kind is Kind.WRITE:
        return _WRITE.get(order, "write_once")
    if kind in (Kind.RMW, Kind.FAILED_CMPXCHG):
        family = "cmpxchg" if fn is None else _FAMILY.get(fn, "cmpxchg")
        return family + _SUFFIX.get(order, "")
    if kind is Kind.FENCE:
        return _FENCE.get(order, "barrier")
    return _OTHER.get(kind, kind.name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of one CPU. A blocked one is what a CPU waits for when nothing can go on any more."""

    index: int
    cpu: int
    kind: Kind
    order: Order = Order.RELAXED  # as executed: a mutation may have weakened it
    fn: Fn | None = None
    op: str = ""  # what the source calls it, if it is not operation(kind, order, fn)
    site: str = ""
    location: str = ""
    size: int = 8  # bytes
    read: int | None = None  # the value read
    wrote: int | None = None  # the value written
    expected: int | None = None  # by a cmpxchg, by a futex_wait
    new: int | None = None  # what a failed cmpxchg would have written
    result: int | None = None  # of a futex call, if known: 0 or -errno; how many were woken
    reads_from: int | None = None
    newest: int | None = None  # the newest message of the location at that time; another one than reads_from: stale
    inserted_before: int | None = None  # the next message in coherence order, for a store that is not its end
    woken: tuple[int, ...] = ()  # CPUs that a futex_wake woke
    target: int | None = None  # the CPU that await_end waits for
    silent: bool = False  # a read-modify-write whose result nobody uses: smp_rmb does not order its read
    was: str = ""  # the operation that a mutation weakened
    skipped: bool = False  # a mutation left it out: it had no effect
    blocked: bool = False  # could not be done
    interrupt: bool = False  # done by an interrupt on that CPU
    text: str = ""  # of a note; what an interrupt is; what a crash leaves
    because: str = ""  # why the model allows this step, if the engine can tell

    @property
    def name(self) -> str:
        return self.op or operation(self.kind, self.order, self.fn)

    @property
    def stale(self) -> bool:
        return self.newest is not None and self.reads_from is not None and self.newest != self.reads_from

    @property
    def reads(self) -> bool:
        return self.read is not None

    @property
    def writes(self) -> bool:
        return self.wrote is not None and not self.skipped

    @property
    def took(self) -> bool:
        """It took a lock."""
        return not self.blocked and (self.kind is Kind.LOCK or (self.kind is Kind.TRYLOCK and self.writes))


@dataclass(frozen=True, slots=True)
class Barrier:
    """A stronger operation at a step, or a fence before it."""

    change: str  # "store_release", "smp_wmb before"
    step: int


@dataclass(frozen=True, slots=True)
class Remedy:
    """Barriers that together make this execution impossible, tried out by the engine."""

    barriers: tuple[Barrier, ...]
    forbids: int | None = None  # the step that could not be done any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    scenario: str
    cpus: tuple[str, ...]  # what each CPU does, in a word or two
    steps: tuple[Step, ...]
    violation: str  # empty if the execution is right
    replay: str
    initial: Mapping[str, int] = field(default_factory=dict)  # by location; 0 where nothing is said
    culprit: int | None = None  # the step at which the violation was found
    mutation: str | None = None
    remedies: tuple[Remedy, ...] = ()
    load_buffering: bool = False  # a store may run ahead of the reads before it
    again: str = ""  # how to run it again, if not by its scenario's name
    _at: dict[int, Step] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """A trace that names what is not there would be drawn wrong: found here, where the engine made it."""
        last = INITIAL
        self._at.update((step.index, step) for step in self.steps)
        for step in self.steps:
            if step.index <= last:
                raise ValueError(f"step #{step.index} comes after #{last}: indices grow")
            if not 0 <= step.cpu < len(self.cpus):
                raise ValueError(f"step #{step.index} is by CPU {step.cpu}, of {len(self.cpus)}")
            last = step.index
        for step in self.steps:
            for name in ("reads_from", "newest", "inserted_before"):
                other = getattr(step, name)
                if other is not None and other != INITIAL:
                    self._check_message(step, name, self._at.get(other))
        for index in (self.culprit, *(b.step for r in self.remedies for b in r.barriers)):
            if index is not None and index not in self._at:
                raise ValueError(f"there is no step #{index}")

    def _check_message(self, step: Step, name: str, writer: Step | None) -> None:
        if writer is None or not writer.writes or writer.location != step.location:
            raise ValueError(f"step #{step.index}: {name} is {getattr(step, name)}, which writes no {step.location!r}")
        if writer.index > step.index and not self.load_buffering:
            raise ValueError(f"step #{step.index}: {name} is #{writer.index}, which is later")

    def step(self, index: int) -> Step:
        return self._at[index]

    def coherence(self, location: str) -> list[int]:
        """The messages of a location in coherence order, INITIAL first."""
        order = [INITIAL]
        for step in self.steps:
            if step.writes and step.location == location:
                behind = step.inserted_before
                order.insert(order.index(behind) if behind in order else len(order), step.index)
        return order


class Outcome(enum.Enum):
    PASS = "PASS"  # every execution within the bounds was seen, and none of them fails
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"  # a bound was hit before all was seen


@dataclass(frozen=True, slots=True)
class Bound:
    value: int
    variable: str  # the environment variable that sets it


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the check of one scenario came to."""

    scenario: str
    outcome: Outcome
    cpus: int
    executions: int
    graphs: int  # different ones among the executions; 0: not counted
    blocked: int  # executions given up because another one shows the same
    steps: int
    seconds: float
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    hit: tuple[str, ...] = ()  # names of the bounds that cut something off
    trace: Trace | None = None
    mutation: str | None = None
    error: BaseException | None = field(default=None, repr=False, compare=False)  # that a body in Python raised
