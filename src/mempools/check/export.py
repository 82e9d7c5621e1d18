"""A failing execution for other programs: as a litmus test, for herd7 to be asked; and results as JSON.

The litmus test is the execution cut down to a straight line for each CPU: the accesses that others can notice, with their
orders and the fences between them, and a condition that holds if all the reads see what they saw and all the locations
end as they ended. herd7 saying Never means that our checker allows what the Linux kernel's memory model forbids.

What a straight line cannot say is kept where possible. Stores come after the reads before them (`if` around the rest),
as in the checker, unless the run let stores go ahead; address dependencies are lost. A futex call is the full barriers in
it, without the guarantee that it reads the newest value; the end of a process, for whoever waited for it, a release and
an acquire. Each of these can only add executions, so Never stays an answer, and Sometimes needs a look at the file's
remarks.
"""

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mempools.check import wording
from mempools.check.trace import INITIAL, Fn, Kind, Order, Result, Step, Trace

_LOCKS = (Kind.LOCK, Kind.TRYLOCK, Kind.UNLOCK)
_SUFFIX = {Order.RELAXED: "_relaxed", Order.ACQUIRE: "_acquire", Order.RELEASE: "_release"}
_FENCE = {Order.FULL: "smp_mb();", Order.ACQUIRE: "smp_rmb();", Order.RELEASE: "smp_wmb();"}
_CALL = {
    Kind.RCU_LOCK: "rcu_read_lock();",
    Kind.RCU_UNLOCK: "rcu_read_unlock();",
    Kind.SYNCHRONIZE_RCU: "synchronize_rcu();",
}
_TAKEN = {
    "atomic",
    "if",
    "else",
    "int",
    "while",
    "do",
    "for",
    "exists",
    "forall",
    "filter",
    "locations",
    "true",
    "false",
}
MAX_INT = (1 << 31) - 1
AND = " /\\ "


# ---- names and values ----


@dataclass(slots=True)
class _Values:
    """What stands for the messages of one location: their values, or numbers if those are too large or not distinct."""

    location: str
    name: str
    numbered: bool
    by_message: dict[int, int]

    @classmethod
    def of(cls, trace: Trace, location: str, name: str) -> "_Values":
        order = trace.coherence(location)
        real = {m: trace.initial.get(location, 0) if m == INITIAL else trace.step(m).wrote or 0 for m in order}
        numbered = len(set(real.values())) < len(real) or not all(0 <= v <= MAX_INT for v in real.values())
        return cls(location, name, numbered, dict(zip(order, range(len(order)), strict=True)) if numbered else real)

    def other(self, value: int | None, taken: int) -> int:
        """An operand of a cmpxchg that failed: not what it read."""
        if self.numbered or value is None or not 0 <= value <= MAX_INT or value == taken:
            return max(self.by_message.values()) + 1
        return value


def _identifiers(locations: Iterable[str]) -> dict[str, str]:
    """A C name for each location: `map[0]` is map_0."""
    found: dict[str, str] = {}
    for location in locations:
        name = re.sub(r"\W+", "_", location, flags=re.ASCII).strip("_") or "v"
        if not name[0].isalpha() or re.fullmatch(r"r\d+|P\d+", name) or name in _TAKEN or keyword.iskeyword(name):
            name = "v_" + name
        base, nr = name, 1
        while name in found.values():
            nr += 1
            name = f"{base}_{nr}"
        found[location] = name
    return found


# ---- which accesses matter ----


def sliced(trace: Trace) -> list[Step]:
    """The steps that others can notice or that order something: without the blocked ones, and without locations that one
    CPU alone uses, or nobody writes, if none of their accesses orders anything."""
    unseen = (Kind.RELAX, Kind.WINDOW, Kind.CRASH, Kind.INTERRUPT, Kind.NOTE, Kind.START, Kind.END)
    done = [step for step in trace.steps if not step.blocked and not step.skipped and step.kind not in unseen]
    idle = set()
    for location in {step.location for step in done if step.location}:
        own = [step for step in done if step.location == location]
        alone = len({step.cpu for step in own}) == 1 or not any(step.writes for step in own)
        if alone and not any(_orders(step) for step in own):
            idle.add(location)
    return [step for step in done if step.location not in idle]


def _orders(step: Step) -> bool:
    if step.kind is Kind.FAILED_CMPXCHG:
        return False
    return step.kind in (*_LOCKS, Kind.FUTEX_WAIT, Kind.FUTEX_WAKE) or step.order not in (Order.RELAXED, Order.PLAIN)


# ---- the file ----


@dataclass(slots=True)
class _Thread:
    number: int
    cpu: int
    values: Mapping[str, _Values]
    waited_for: set[int]  # CPUs whose end another one waits for
    lines: list[str] = field(default_factory=list)
    uses: dict[str, str] = field(default_factory=dict)  # parameters, with their types
    condition: list[str] = field(default_factory=list)
    open_ifs: int = 0
    registers: int = 0

    def emit(self, code: str, remark: str = "") -> None:
        indent = "\t" * (1 + self.open_ifs)
        self.lines.append(f"{indent}{code}" + (f" // {remark}" if remark else ""))

    def read(self, expression: str, value: int, step: Step, *, branch: bool) -> None:
        """A read into a register of its own; the rest of the CPU's steps depends on it if `branch`."""
        register = f"r{self.registers}"
        self.registers += 1
        self.emit(f"{register} = {expression};", _remark(step))
        self.condition.append(f"{self.number}:{register}={value}")
        if branch:
            self.emit(f"if ({register} == {value}) {{")
            self.open_ifs += 1

    def add(self, step: Step, *, branch: bool) -> None:
        if step.kind in _CALL:
            self.emit(_CALL[step.kind], _remark(step))
        elif step.kind is Kind.FENCE and step.order in _FENCE:
            self.emit(_FENCE[step.order], _remark(step))
        elif step.kind is Kind.FUTEX_WAKE:
            self.emit("smp_mb();", _remark(step))
        elif step.kind is Kind.AWAIT_END and step.target in self.waited_for:
            self.uses[_ended(step.target)] = "int"
            self.read(f"smp_load_acquire({_ended(step.target)})", 1, step, branch=branch)
        elif step.kind in _LOCKS:
            self._lock(step)
        elif step.location:
            self._access(step, branch)

    def _lock(self, step: Step) -> None:
        name = self.values[step.location].name
        self.uses[name] = "spinlock_t"
        if step.kind is Kind.TRYLOCK:
            self.read(f"spin_trylock({name})", int(step.took), step, branch=False)
        else:
            self.emit(f"spin_{'lock' if step.kind is Kind.LOCK else 'unlock'}({name});", _remark(step))

    def _access(self, step: Step, branch: bool) -> None:
        values = self.values[step.location]
        name = values.name
        self.uses[name] = "int"
        wrote = values.by_message.get(step.index, 0)
        if step.kind is Kind.WRITE:
            self.emit(_write(name, wrote, step.order), _remark(step))
            return
        read = values.by_message[INITIAL if step.reads_from is None else step.reads_from]
        if step.kind is Kind.FUTEX_WAIT:
            self.emit("smp_mb();")
            self.read(f"READ_ONCE(*{name})", read, step, branch=False)
            self.emit("smp_mb();")
        elif step.silent and step.fn is Fn.ADD and not values.numbered:
            self.emit(f"atomic_add({wrote - read}, {name});", _remark(step))
        else:
            self.read(_expression(step, name, values, read, wrote), read, step, branch=branch)

    def text(self) -> str:
        if self.cpu in self.waited_for:
            self.uses[_ended(self.cpu)] = "int"
            self.emit(f"smp_store_release({_ended(self.cpu)}, 1);", "ends here")
        while self.open_ifs:
            self.open_ifs -= 1
            self.emit("}")
        head = f"P{self.number}({', '.join(f'{kind} *{name}' for name, kind in self.uses.items())})"
        declared = "".join(f"\tint r{nr};\n" for nr in range(self.registers))
        return f"{head}\n{{\n{declared}" + "".join(f"{line}\n" for line in self.lines) + "}\n"


def _ended(cpu: int | None) -> str:
    return f"cpu{cpu}_ended"


def _remark(step: Step) -> str:
    return f"#{step.index}" + (f" {step.site}" if step.site else "")


def _write(name: str, value: int, order: Order) -> str:
    if order is Order.RELEASE:
        return f"smp_store_release({name}, {value});"
    return f"*{name} = {value};" if order is Order.PLAIN else f"WRITE_ONCE(*{name}, {value});"


def _expression(step: Step, name: str, values: _Values, read: int, wrote: int) -> str:
    """What a read or a read-modify-write is in C. One that computes is an exchange for what it wrote: as it reads the same,
    it writes the same."""
    if step.kind is Kind.READ:
        if step.order is Order.ACQUIRE:
            return f"smp_load_acquire({name})"
        return f"*{name}" if step.order is Order.PLAIN else f"READ_ONCE(*{name})"
    suffix = _SUFFIX.get(step.order, "")
    if step.kind is Kind.FAILED_CMPXCHG:
        expected = values.other(step.expected, read)
        return f"cmpxchg{suffix}({name}, {expected}, {expected + 1})"
    if step.fn is Fn.CMPXCHG:
        return f"cmpxchg{suffix}({name}, {read}, {wrote})"
    return f"xchg{suffix}({name}, {wrote})"


def litmus(trace: Trace) -> str:
    """The text of a .litmus file in the kernel's C. ValueError: no read and no order of stores to ask for."""
    steps = sliced(trace)
    locations = dict.fromkeys(step.location for step in steps if step.location)
    names = _identifiers(locations)
    values = {location: _Values.of(trace, location, names[location]) for location in locations}
    waited_for = {step.target for step in steps if step.kind is Kind.AWAIT_END and step.target is not None}
    busy = sorted({step.cpu for step in steps})
    threads = {cpu: _Thread(number, cpu, values, waited_for) for number, cpu in enumerate(busy)}
    for nr, step in enumerate(steps):
        later = any(other.cpu == step.cpu and other.writes for other in steps[nr + 1 :])
        later |= step.cpu in waited_for
        threads[step.cpu].add(step, branch=later and not trace.load_buffering)
    bodies = [thread.text() for thread in threads.values()]
    condition = [atom for thread in threads.values() for atom in thread.condition] + _finals(trace, steps, values)
    if not condition:
        raise ValueError(f"{trace.scenario}: nothing is read, and nothing written twice: there is nothing to ask for")
    set_up = "".join(f"{v.name}={v.by_message[INITIAL]}; " for v in values.values() if v.by_message[INITIAL])
    return (
        f"C {re.sub(r'[^A-Za-z0-9_.+-]', '-', trace.scenario)}\n(*\n{_remarks(trace, values, busy)} *)\n\n{{ {set_up}}}\n\n"
        + "\n".join(bodies)
        + f"\nexists ({AND.join(condition)})\n"
    )


def _finals(trace: Trace, steps: Iterable[Step], values: Mapping[str, _Values]) -> list[str]:
    """How the locations end that were written more than once."""
    locked = {step.location for step in steps if step.kind in _LOCKS}
    found = []
    for location, of in values.items():
        order = trace.coherence(location)
        if len(order) > 2 and location not in locked:
            found.append(f"{of.name}={of.by_message[order[-1]]}")
    return found


def _remarks(trace: Trace, values: Mapping[str, _Values], cpus: Sequence[int]) -> str:
    lines = [wording.title(trace)]
    if trace.mutation:
        lines.append(f"With the mutation {trace.mutation}.")
    lines.append(f"To see it again: {wording.replay_command(trace)}")
    lines += [f"P{number} is CPU {cpu}." for number, cpu in enumerate(cpus) if number != cpu]
    lines += [f"{of.name} is {location}." for location, of in values.items() if of.name != location]
    for of in values.values():
        if of.numbered:
            real = ", ".join(
                f"{nr} is {wording.number(trace.initial.get(of.location, 0) if m == INITIAL else trace.step(m).wrote)}"
                for m, nr in of.by_message.items()
            )
            lines.append(f"The values of {of.name} are numbered: {real}.")
    kinds = {step.kind for step in trace.steps if not step.blocked}
    if kinds & {Kind.FUTEX_WAIT, Kind.FUTEX_WAKE}:
        lines.append("Futex calls are given as the barriers in them.")
    if Kind.AWAIT_END in kinds:
        lines.append("The end of a process, for who waited for it, is given as a release and an acquire.")
    return "".join(f" * {line.replace('(*', '( *').replace('*)', '* )')}\n" for line in lines)


# ---- JSON ----


def as_json(result: Result) -> dict[str, Any]:
    """A result, with its trace if there is one, in what json.dumps takes. Steps leave out what has its default value."""
    found: dict[str, Any] = {
        "scenario": result.scenario,
        "mutation": result.mutation,
        "outcome": result.outcome.value,
        "cpus": result.cpus,
        "executions": result.executions,
        "graphs": result.graphs,
        "blocked": result.blocked,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "bounds": {name: {"value": bound.value, "variable": bound.variable} for name, bound in result.bounds.items()},
        "hit": list(result.hit),
    }
    if result.trace is not None:
        found["trace"] = _trace_json(result.trace)
    return found


def _trace_json(trace: Trace) -> dict[str, Any]:
    return {
        "cpus": list(trace.cpus),
        "violation": trace.violation,
        "culprit": trace.culprit,
        "replay": trace.replay,
        "command": wording.replay_command(trace),
        "initial": dict(trace.initial),
        "steps": [_step_json(step) for step in trace.steps],
        "remedies": [
            {"barriers": [{"change": b.change, "step": b.step} for b in remedy.barriers], "forbids": remedy.forbids}
            for remedy in trace.remedies
        ],
    }


def _step_json(step: Step) -> dict[str, Any]:
    plain = Step(index=step.index, cpu=step.cpu, kind=step.kind)
    found: dict[str, Any] = {"index": step.index, "cpu": step.cpu, "op": step.name, "kind": step.kind.name.lower()}
    for name in Step.__dataclass_fields__:
        value = getattr(step, name)
        if name not in ("index", "cpu", "op", "kind") and value != getattr(plain, name):
            found[name] = value.name.lower() if isinstance(value, Order | Fn) else value
    return found
