"""Checks of scenarios: bounds, a search that tells how far it is, and what came of it as Result and Trace.

A check ends in PASS: every execution within the bounds was explored and none violates a property; FAIL: with the execution
that does; or UNKNOWN: a bound was hit, and it is named.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

from mempools.check.explorer import Explorer, Record
from mempools.check.trace import (
    CHANGED,
    INITIAL,
    KIND_OF_OP,
    Barrier,
    Bound,
    Fn,
    Kind,
    Order,
    Outcome,
    Remedy,
    Result,
    Step,
    Trace,
    operation,
)

Mutation = tuple[str, str]  # site, what is done to it
Watch = Callable[[Explorer, float], None]  # from time to time during a long run, with the seconds so far

OP_NAMES = (
    "read write rmw cmpxchg lock trylock unlock mb rmb wmb relax futex_wait futex_wake rcu_lock rcu_unlock "
    "synchronize_rcu await_end start choose synchronize_rcu"
).split()
ORDER_NAMES = "relaxed acquire release full plain".split()
TIMEOUT, INTERRUPT, DIE = 58, 60, 61  # choices of state.pxd
PROMISE, FULFIL = range(48, 56), 56
BATCH = 2000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is explored at most; each has an environment variable, MEMPOOLS_CHECK_ and its name in capitals."""

    steps: int = 2000  # of one execution
    spins: int = 3  # turns of a loop that waits and writes
    executions: int = 5_000_000
    seconds: int = 600
    preemptions: int = -1  # switches away from a CPU that could go on; -1: any number

    @classmethod
    def of_environment(cls, **given: int | None) -> "Bounds":
        """The defaults, the environment's, those given: the later counts."""
        values = {}
        for field in fields(cls):
            text = os.environ.get(variable(field.name))
            if (value := given.get(field.name)) is not None:
                values[field.name] = value
            elif text is not None:
                try:
                    values[field.name] = int(text)
                except ValueError:
                    raise ValueError(f"{variable(field.name)} is {text!r}: a whole number is needed") from None
        return cls(**values)

    def described(self) -> dict[str, Bound]:
        return {
            field.name: Bound(getattr(self, field.name), variable(field.name))
            for field in fields(self)
            if field.name != "preemptions" or self.preemptions >= 0
        }


def variable(name: str) -> str:
    return f"MEMPOOLS_CHECK_{name.upper()}"


def explorer_for(scene: str, bounds: Bounds, mutations: Sequence[Mutation] = (), **options: Any) -> Explorer:
    return Explorer(
        scene,
        steps=bounds.steps,
        spins=bounds.spins,
        preemptions=None if bounds.preemptions < 0 else bounds.preemptions,
        mutations=mutations,
        **options,
    )


def explore(explorer: Explorer, bounds: Bounds, watch: Watch | None = None) -> tuple[str, list[str], float]:
    """Runs until the tree is explored, something fails or a bound is hit: how it ended, bounds hit, seconds."""
    begun = time.monotonic()
    batch, hit = BATCH, []
    while True:
        left = bounds.executions - explorer.counts["executions"]
        state = explorer.run(max(1, min(batch, left)))
        took = time.monotonic() - begun
        if state != "more":
            break
        if explorer.counts["executions"] >= bounds.executions:
            hit.append("executions")
            break
        if took > bounds.seconds:
            hit.append("seconds")
            break
        if watch is not None:
            watch(explorer, took)
    return state, hit + explorer.bounds, took


def check(
    scene: str,
    bounds: Bounds | None = None,
    *,
    mutations: Sequence[Mutation] = (),
    watch: Watch | None = None,
    remedies: bool = True,
    **options: Any,
) -> Result:
    """Explores one scenario, by name (mempools.check.scenes.scenes lists them); `mutations` weaken sites of the core in it.
    Process-wide: one exploration at a time, and no other thread inside the core meanwhile."""
    bounds = bounds or Bounds.of_environment()
    explorer = explorer_for(scene, bounds, mutations, **options)
    return result_of(explorer, bounds, *explore(explorer, bounds, watch), mutations=mutations, remedies=remedies)


def result_of(
    explorer: Explorer,
    bounds: Bounds,
    state: str,
    hit: Sequence[str],
    seconds: float,
    *,
    mutations: Sequence[Mutation] = (),
    remedies: bool = True,
) -> Result:
    """What `explore` came to; a failure is run again for its trace."""
    counts = explorer.counts
    trace = None
    if state == "failed":
        path = explorer.path
        found = list(find_remedies(explorer, mutations, path)) if remedies else []
        trace = trace_of(explorer, path, mutations, found)
    return Result(
        scenario=explorer.scene,
        outcome=Outcome.FAIL if state == "failed" else Outcome.UNKNOWN if hit else Outcome.PASS,
        cpus=len(explorer.cpu_names),
        executions=counts["executions"],
        graphs=counts["graphs"],
        blocked=counts["redundant"] + counts["spinning"],
        steps=counts["steps"],
        seconds=seconds,
        bounds=bounds.described(),
        hit=tuple(hit),
        trace=trace,
        mutation=describe(mutations),
    )


def describe(mutations: Sequence[Mutation]) -> str | None:
    return ", ".join(f"{site}: {kind}" for site, kind in mutations) or None


def replay(
    scene: str, path: str, bounds: Bounds | None = None, mutations: Sequence[Mutation] = (), **options: Any
) -> Trace:
    """The one execution that a replay string names. ValueError: it is none of this scenario's."""
    return trace_of(explorer_for(scene, bounds or Bounds.of_environment(), mutations, **options), path, mutations, [])


# ---- what would forbid it ----


def find_remedies(explorer: Explorer, mutations: Sequence[Mutation], path: str) -> Iterator[Remedy]:
    """Sites that, made stronger, make the execution impossible: single ones; if there are none, pairs."""
    records, _ = _with_promises(explorer.replay(path))
    first: dict[str, int] = {}
    for index, record in enumerate(records):
        kind, order, site = record[4], record[5], record[10]
        if site and kind in ("read", "write", "rmw", "cmpxchg") and order in ("relaxed", "acquire", "release"):
            first.setdefault(site, index)
    sites = [site for site in first if site not in {site for site, _ in mutations}]
    sites += [site for site, _ in mutations if site in first]
    for size in (1, 2):
        found = False
        for group in combinations(sites, size) if len(sites) <= 24 or size == 1 else ():
            stronger = [*mutations, *((site, "strengthen") for site in group)][:4]
            explorer.mutate(stronger)
            if _forbidden(explorer, path):
                found = True
                yield Remedy(tuple(Barrier(_stronger(records[first[site]]), first[site]) for site in group))
        explorer.mutate(mutations)
        if found:
            return


def _forbidden(explorer: Explorer, path: str) -> bool:
    """Is the execution impossible now, or right?"""
    try:
        explorer.replay(path)
    except ValueError:
        return True
    return not explorer.why


def _stronger(record: Record) -> str:
    kind = record[4]
    return {"read": "load_acquire", "write": "store_release"}.get(kind, "fully ordered")


# ---- a trace ----


def trace_of(explorer: Explorer, path: str, mutations: Sequence[Mutation], remedies: Sequence[Remedy]) -> Trace:
    records, kept = _with_promises(explorer.replay(path))
    index_of = kept | {record[1]: index for index, record in enumerate(records) if record[1] >= 0}
    steps = [_step(explorer, index, record, index_of) for index, record in enumerate(records)]
    initial = {}
    for step, record in zip(steps, records, strict=True):
        if step.location:
            initial[step.location] = explorer.initial(record[7], step.size)
    for cpu, kind, site, address in explorer.blocked:
        steps.append(_blocked(explorer, len(steps), cpu, kind, site, address))
    return Trace(
        scenario=explorer.scene,
        cpus=explorer.cpu_names,
        steps=tuple(steps),
        violation=explorer.why,
        replay=path,
        initial=initial,
        culprit=max((index for index, record in enumerate(records) if record[0] == explorer.culprit), default=None),
        mutation=describe(mutations),
        remedies=tuple(remedies),
        load_buffering=explorer.load_buffering,
    )


def _with_promises(records: Sequence[Record]) -> tuple[list[Record], dict[int, int]]:
    """A store that was promised is drawn where the program makes it: without the steps of the promise, and with the place of
    the store for the event that the others have read from."""
    store = next((record for record in records if record[3] == FULFIL), None)
    if store is None:
        return list(records), {}
    promise = next(index for index, record in enumerate(records) if record[3] in PROMISE)
    put = next(index for index, record in enumerate(records) if index > promise and record[0] == records[promise][0])
    drawn = [record for index, record in enumerate(records) if index not in (promise, put)]
    return drawn, {records[put][1]: drawn.index(store)}


def _message(event: int, index_of: dict[int, int]) -> int:
    return index_of.get(event, INITIAL) if event >= 0 else INITIAL


def _step(explorer: Explorer, index: int, record: Record, index_of: dict[int, int]) -> Step:
    (cpu, event, frame, choice, kind, order, size, address, a, b, site, value, written) = record[:13]
    (read_event, newest_event, inserted, mutated, failed, before_event, woken, fn, asked) = record[13:]
    common: dict[str, Any] = {"index": index, "cpu": cpu, "site": site, "interrupt": frame == 1, "size": size or 8}
    if choice == DIE:
        return Step(**common | {"kind": Kind.CRASH, "text": f"before {kind} {site}"})
    if choice == INTERRUPT:
        return Step(**common | {"kind": Kind.INTERRUPT, "text": "begins"})
    if choice == TIMEOUT:
        return Step(**common | {"kind": Kind.NOTE, "text": "its time is over"})
    number = OP_NAMES.index(kind)
    what = KIND_OF_OP[number]
    common |= {"kind": what, "order": Order(ORDER_NAMES.index(order))}
    if mutated:
        function = Fn.CMPXCHG if kind == "cmpxchg" else Fn(fn)
        common |= {"was": operation(what, Order(ORDER_NAMES.index(asked)), function) if asked != order else CHANGED}
    if choice in PROMISE:
        return Step(**common | {"kind": Kind.NOTE, "text": "promises a store"})
    if what is Kind.FENCE:
        common |= {"skipped": mutated, "was": ""}
        return Step(**common | {"order": {"mb": Order.FULL, "rmb": Order.ACQUIRE, "wmb": Order.RELEASE}[kind]})
    if what is Kind.AWAIT_END:
        return Step(**common | {"target": address, "result": value})
    if kind == "choose":
        return Step(**common | {"kind": Kind.NOTE, "text": f"takes way {value} of {a}"})
    if event < 0 or what in (Kind.START, Kind.RELAX):
        return Step(**common)
    common |= {"location": explorer.name_of(address)}
    if what is Kind.FUTEX_WAKE:
        return Step(**common | {"result": value, "woken": tuple(c for c in range(8) if woken >> c & 1)})
    if kind in ("read", "rmw", "cmpxchg", "lock", "trylock", "futex_wait"):
        common |= {
            "read": value,
            "reads_from": _message(read_event, index_of),
            "newest": _message(newest_event, index_of),
        }
    if kind == "cmpxchg":
        common |= {"fn": Fn.CMPXCHG, "expected": a}
    elif kind == "rmw":
        common |= {"fn": Fn(fn)}
    elif kind == "futex_wait":
        common |= {"expected": a}
    if kind == "cmpxchg" and failed:
        return Step(**common | {"kind": Kind.FAILED_CMPXCHG, "new": b})
    if kind in ("write", "unlock", "rmw", "cmpxchg", "lock", "trylock") and not failed:
        common |= {"wrote": a if choice == FULFIL else written}
        if inserted:
            common |= {"inserted_before": _message(before_event, index_of)}
    return Step(**common)


def _blocked(explorer: Explorer, index: int, cpu: int, kind: str, site: str, address: int) -> Step:
    what = Kind.FUTEX_WAIT if kind == "asleep" else KIND_OF_OP[OP_NAMES.index(kind)]
    if what is Kind.AWAIT_END:
        return Step(index=index, cpu=cpu, kind=what, site=site, target=address, blocked=True)
    return Step(index=index, cpu=cpu, kind=what, site=site, location=explorer.name_of(address), blocked=True)
