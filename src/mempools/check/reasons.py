"""What a trace says about its own failure: who waits for whom, why a read may be stale, which steps do not matter.

All of it is read off the steps. The reason for a stale read is found by its shape (a message passed on through one CPU or
several; two CPUs that each store and then look): where the shape is another one nothing is said, rather than something
wrong. The engine's own words, `Step.because`, come first where it has them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mempools.check.trace import CHANGED, INITIAL, Kind, Order, Step, Trace

MAX_EXPLAINED = 3  # steps


# ---- waiting ----


@dataclass(frozen=True, slots=True)
class Wait:
    step: Step
    on: tuple[int, ...]  # the CPUs that could end it
    text: str
    held: Step | None = None  # the step that took the lock


def waits(trace: Trace) -> list[Wait]:
    """One for each CPU that can never go on."""
    return [_wait(trace, step) for step in trace.steps if step.blocked]


def _wait(trace: Trace, step: Step) -> Wait:
    known = () if step.target is None else (step.target,)
    if step.kind is Kind.LOCK and (held := _holder(trace, step.location)):
        text = f"waits at #{step.index} for {step.location}, held by CPU {held.cpu} since #{held.index}"
        return Wait(step, (held.cpu,), text + _end(trace, held.cpu), held)
    if step.kind is Kind.FUTEX_WAIT:
        return Wait(step, known, f"sleeps at #{step.index} on {step.location}{_news(trace, step)}")
    if step.kind is Kind.AWAIT_END and known:
        return Wait(step, known, f"waits at #{step.index} for the end of CPU {step.target}")
    if step.kind is Kind.SYNCHRONIZE_RCU:
        readers = _rcu_readers(trace)
        names = ", ".join(f"CPU {cpu}" for cpu in readers)
        return Wait(step, readers, f"waits at #{step.index} for the RCU readers {names}")
    watched = " or ".join(_turn(trace, step)) if step.kind is Kind.RELAX else step.location
    return Wait(step, known, f"waits at #{step.index}" + (f" until somebody writes {watched}" if watched else ""))


def _holder(trace: Trace, lock: str) -> Step | None:
    held = None
    for step in trace.steps:
        if step.location == lock and step.took:
            held = step
        elif step.location == lock and step.kind is Kind.UNLOCK and not step.blocked:
            held = None
    return held


def _end(trace: Trace, cpu: int) -> str:
    for step in trace.steps:
        if step.cpu == cpu and step.kind is Kind.CRASH:
            return f", which died at #{step.index}"
        if step.cpu == cpu and step.kind is Kind.END:
            return ", which has finished"
    return ""


def _news(trace: Trace, sleep: Step) -> str:
    """What a sleeper does not know of: a newer value, a wake-up that came too early."""
    text = ""
    last = trace.coherence(sleep.location)[-1]
    if last != INITIAL and sleep.expected is not None and (writer := trace.step(last)).wrote != sleep.expected:
        text = f", which was {sleep.expected}; CPU {writer.cpu} wrote {writer.wrote} at #{last}"
    wakes = [s for s in trace.steps if s.kind is Kind.FUTEX_WAKE and s.location == sleep.location]
    if wakes and sleep.cpu not in wakes[-1].woken:
        early = "before it slept" if wakes[-1].index < sleep.index else "and not it"
        return f"{text}; the last wake-up is #{wakes[-1].index}, {early}"
    return text if wakes else text + ", and nobody wakes it"


def _rcu_readers(trace: Trace) -> tuple[int, ...]:
    depth = [0] * len(trace.cpus)
    for step in trace.steps:
        depth[step.cpu] += (step.kind is Kind.RCU_LOCK) - (step.kind is Kind.RCU_UNLOCK)
    return tuple(cpu for cpu, open_sections in enumerate(depth) if open_sections > 0)


def _turn(trace: Trace, relax: Step) -> list[str]:
    """The locations read in the last turn of a spin loop."""
    read: dict[str, None] = {}
    for step in trace.steps:
        if step is relax:
            break
        if step.cpu == relax.cpu:
            if step.kind is Kind.RELAX:
                read = {}
            elif step.reads:
                read[step.location] = None
    return list(read)


def cycle(found: Sequence[Wait]) -> list[int]:
    """CPUs that wait for each other in a ring, the first again at the end; empty if there is no ring."""
    on = {wait.step.cpu: wait.on for wait in found}
    for start in on:
        path = [start]
        while (followers := [cpu for cpu in on.get(path[-1], ()) if cpu in on]) and followers[0] not in path:
            path.append(followers[0])
        if followers and followers[0] == start:
            return [*path, start]
    return []


# ---- why a read may be stale, and two accesses race ----

Pair = tuple[tuple[Step, str], tuple[Step, str]]  # two accesses of a CPU, each as "R" or "W"


@dataclass(frozen=True, slots=True)
class Gap:
    """Two accesses of one CPU that nothing keeps in order."""

    first: Step
    second: Step
    text: str

    def __str__(self) -> str:
        return f"CPU {self.first.cpu}: nothing keeps #{self.first.index} before #{self.second.index} ({self.text})"


def explained(trace: Trace) -> list[tuple[Step, list[str]]]:
    """Stale reads and what else the engine explains, the latest first, each with lines that say what allows it."""
    found: list[tuple[Step, list[str]]] = []
    for step in reversed(trace.steps):
        if (step.stale or step.because) and len(found) < MAX_EXPLAINED:
            lines = [step.because] if step.because else [str(gap) for gap in stale_gaps(trace, step)]
            if lines:
                found.append((step, lines))
    return found


def stale_gaps(trace: Trace, read: Step) -> list[Gap]:
    """What would have had to be ordered for `read` to see a newer message; empty if the shape is unknown, or subtler than
    pairs of accesses (smp_wmb is not cumulative)."""
    if read.reads_from is None:
        return []
    order = trace.coherence(read.location)
    missed = order[order.index(read.reads_from) + 1 :]
    readers = _readers(trace)
    ways: list[list[Pair]] = []
    for index in missed:
        write = trace.step(index)
        if write.cpu != read.cpu and write.index < read.index:
            ways += _chains(trace, readers, write, (read, "R"))
            ways += _each_stores_and_looks(trace, write, read)
    return _fewest_gaps(trace, ways)


def _readers(trace: Trace) -> dict[int, list[Step]]:
    readers: dict[int, list[Step]] = {}
    for step in trace.steps:
        if step.reads_from is not None and not step.blocked:
            readers.setdefault(step.reads_from, []).append(step)
    return readers


def _fewest_gaps(trace: Trace, ways: Sequence[Sequence[Pair]]) -> list[Gap]:
    """Of the way that lacks least; nothing if one lacks nothing as far as pairs can tell."""
    found = [[gap for first, second in pairs if (gap := _gap(trace, first, second))] for pairs in ways]
    return min(found, key=len, default=[])


def race(trace: Trace) -> tuple[Step, Step] | None:
    """The plain access that ended the execution with a data race, and the store of another CPU that it races with."""
    if not trace.violation.startswith("data race") or not trace.steps or trace.steps[-1].order is not Order.PLAIN:
        return None
    last = trace.steps[-1]
    stores = [s for s in trace.steps if s.writes and s.location == last.location and s.cpu != last.cpu]
    return (last, stores[-1]) if stores else None


def race_gaps(trace: Trace, access: Step, store: Step) -> list[Gap]:
    """Why nothing orders the two."""
    end = (access, "W" if access.writes else "R")
    return _fewest_gaps(trace, list(_chains(trace, _readers(trace), store, end)))


def culprit(trace: Trace) -> int | None:
    """The step at which the violation shows."""
    if trace.culprit is None and (found := race(trace)):
        return found[0].index
    return trace.culprit


def _chains(
    trace: Trace,
    readers: Mapping[int, Sequence[Step]],
    source: Step,
    end: tuple[Step, str],
    role: str = "W",
    seen: tuple[int, ...] = (),
) -> Iterator[list[Pair]]:
    """The ways on which news of `source` came to another CPU before what that does at the `end`, as pairs in program order.
    `readers`: who read a message, `seen`: CPUs on the way so far."""
    for message in trace.steps:
        if message.cpu != source.cpu or message.index < source.index or not message.writes:
            continue
        own: list[Pair] = [] if message is source else [((source, role), (message, "W"))]
        for got in readers.get(message.index, ()):
            if got.cpu == source.cpu or got.cpu in seen:
                continue
            if got.cpu == end[0].cpu:
                if got.index < end[0].index:
                    yield [*own, ((got, "R"), end)]
            else:
                yield from ([*own, *rest] for rest in _chains(trace, readers, got, end, "R", (*seen, source.cpu)))


def _each_stores_and_looks(trace: Trace, write: Step, read: Step) -> Iterator[list[Pair]]:
    """Store buffering: the reader's CPU stored something before, and the writer's CPU looked there and missed it too."""
    for mine in trace.steps:
        if mine.cpu != read.cpu or mine.index >= read.index or not mine.writes or mine.location == read.location:
            continue
        order = trace.coherence(mine.location)
        before = order[: order.index(mine.index)]
        for look in trace.steps:
            if look.cpu == write.cpu and look.index > write.index and look.reads_from in before and look.reads:
                if look.location == mine.location:
                    yield [((mine, "W"), (read, "R")), ((write, "W"), (look, "R"))]


_NEEDS = {
    "WW": "no release at #{j}, no smp_wmb or smp_mb between them",
    "RR": "no acquire at #{i}, no smp_rmb or smp_mb between them",
    "WR": "no smp_mb between them",
    "RW": "no acquire at #{i}, no release at #{j}, no smp_mb between them",
}


def _gap(trace: Trace, one: tuple[Step, str], other: tuple[Step, str]) -> Gap | None:
    (first, a), (second, b) = one, other
    between = [s for s in trace.steps if s.cpu == first.cpu and first.index < s.index < second.index]
    if first is second or _ordered(trace, first, second, between, a + b):
        return None
    text = _NEEDS[a + b].format(i=first.index, j=second.index)
    lost = [f"; the mutation skipped #{s.index} {s.name}" for s in between if s.skipped]
    lost += [f"; #{s.index} was {s.was}" for s in (first, *between, second) if s.was not in ("", CHANGED)]
    return Gap(first, second, text + "".join(lost))


def _ordered(trace: Trace, first: Step, second: Step, between: Sequence[Step], shape: str) -> bool:
    """Whether anything keeps the two in order. A store stays behind the reads before it, unless the run let it go."""
    if shape == "RW" and not trace.load_buffering:
        return True
    if shape[0] == "R" and (first.took or (first.order is Order.ACQUIRE and first.kind is not Kind.FAILED_CMPXCHG)):
        return True
    if shape[1] == "W" and (second.order is Order.RELEASE or second.kind is Kind.UNLOCK):
        return True
    if _is_full(first) or _is_full(second) or (shape != "WR" and _unlock_lock(between)):
        return True
    fence = {"WW": Order.RELEASE, "RR": Order.ACQUIRE}.get(shape)
    return any(_is_full(s) or (s.kind is Kind.FENCE and s.order is fence and not s.skipped) for s in between)


def _unlock_lock(between: Sequence[Step]) -> bool:
    unlocked = False
    for step in between:
        if step.took and unlocked:
            return True
        unlocked |= step.kind is Kind.UNLOCK
    return False


def _is_full(step: Step) -> bool:
    """A full barrier, before and after: a fence, an RMW that succeeded, the entry to a futex call, a grace period."""
    if step.skipped:
        return False
    if step.kind in (Kind.FENCE, Kind.RMW):
        return step.order is Order.FULL
    return step.kind in (Kind.FUTEX_WAIT, Kind.FUTEX_WAKE, Kind.SYNCHRONIZE_RCU)


# ---- what can be left out of a drawing ----

NOBODY_WRITES = "reads of what nobody writes"
NOBODY_ELSE = "plain accesses to what no other CPU uses"
WINDOWS = "crash windows"
TURNS = "steps of spin loops"
ENDS = ""  # beginnings and ends: a lane shows them, nobody counts them


def foldable(trace: Trace) -> dict[int, str]:
    """The steps that do not matter, by index, with what they are."""
    written = {step.location for step in trace.steps if step.writes}
    kept = {culprit(trace)} | {barrier.step for remedy in trace.remedies for barrier in remedy.barriers}
    kept |= {remedy.forbids for remedy in trace.remedies}
    users: dict[str, set[int]] = {}
    for step in trace.steps:
        users.setdefault(step.location, set()).add(step.cpu)
    found: dict[int, str] = {}
    for cpu in range(len(trace.cpus)):
        own = [step for step in trace.steps if step.cpu == cpu]
        for nr, step in enumerate(own):
            reason = _fold(own, nr, written)
            if reason is None and _is_private(step, users):
                reason = NOBODY_ELSE
            if reason is not None and step.index not in kept:
                found[step.index] = reason
    return found


def _is_noted(step: Step) -> bool:
    """Something is said about it: it stays."""
    return bool(
        step.blocked or step.stale or step.skipped or step.was or step.because or step.inserted_before is not None
    )


def _is_private(step: Step, users: Mapping[str, set[int]]) -> bool:
    """A plain access to what one CPU alone uses: the contents of a block."""
    plain = step.order is Order.PLAIN and step.kind in (Kind.READ, Kind.WRITE)
    return plain and len(users[step.location]) == 1 and not _is_noted(step)


def _fold(own: Sequence[Step], nr: int, written: set[str]) -> str | None:
    """What the nr-th step of a CPU is, if it can be left out."""
    step = own[nr]
    if _is_noted(step):
        return None
    if step.kind in (Kind.START, Kind.END):
        return None if step.text else ENDS
    if step.kind is Kind.WINDOW:
        return None if nr + 1 < len(own) and own[nr + 1].kind is Kind.CRASH else WINDOWS
    if step.kind is Kind.RELAX:
        return TURNS
    if step.kind is Kind.READ:
        if step.location not in written:
            return NOBODY_WRITES
        if nr > 1 and own[nr - 1].kind is Kind.RELAX and _same_read(own[nr - 2], step):
            return TURNS
    return None


def _same_read(one: Step, other: Step) -> bool:
    return (one.kind, one.site, one.location, one.reads_from) == (
        other.kind,
        other.site,
        other.location,
        other.reads_from,
    )
