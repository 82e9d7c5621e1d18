"""A trace in words: what a step is called, and what stands under a drawing. For the terminal and for SVG alike."""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mempools.check import reasons
from mempools.check.trace import CHANGED, INITIAL, Kind, Remedy, Step, Trace

# Styles of a piece of text. A drawing decides what each looks like.
PLAIN = ""
DIM = "dim"
BOLD = "bold"
GOOD = "good"
SITE = "site"
BAD = "bad"  # what fails, and what it fails for
ODD = "odd"  # allowed by the memory model, and not what one expects: a stale read, a store that goes in between
OFF = "off"  # a mutation changed it

NO_BREAK = "\u00a0"  # a blank at which no line is broken
ARROW = f"{NO_BREAK}→{NO_BREAK}"

COMMAND = "mempools check"  # that runs a scenario; whoever has scenarios of their own may have another one

Phrase = tuple[str, str]  # text, style


def number(value: int | None, size: int = 8) -> str:
    """Small numbers in decimal, bit patterns in hexadecimal, the highest as negative ones."""
    if value is None:
        return "?"
    value %= 1 << (8 * size)
    negative = (1 << (8 * size)) - value
    if negative <= 4096:
        return f"-{negative}"
    return str(value) if value < 10000 else hex(value)


def reference(index: int | None) -> str:
    return "initial" if index == INITIAL else f"#{index}"


def what(step: Step) -> str:
    """Operation, location and values, much as the source has them: `write_once(x, 1)`, `read_once(x) = 1`."""
    name, place = step.name, step.location

    def value(number_: int | None) -> str:
        return number(number_, step.size)

    match step.kind:
        case Kind.READ:
            return f"{name}({place}) = {value(step.read)}"
        case Kind.WRITE:
            return f"{name}({place}, {value(step.wrote)})"
        case Kind.RMW:
            return f"{name}({place}): {value(step.read)}{ARROW}{value(step.wrote)}"
        case Kind.FAILED_CMPXCHG:
            return f"{name}({place}, {value(step.expected)}{ARROW}{value(step.new)})"
        case Kind.LOCK | Kind.UNLOCK:
            return f"{name}({place})"
        case Kind.TRYLOCK:
            return f"{name}({place})"
        case Kind.FUTEX_WAIT:
            return f"{name}({place})" if step.expected is None else f"{name}({place}, {value(step.expected)})"
        case Kind.FUTEX_WAKE:
            return f"{name}({place})"
        case Kind.CRASH:
            return "dies here" + (f": {step.text}" if step.text else "")
        case Kind.INTERRUPT:
            return f"interrupt {step.text}".rstrip()
        case Kind.NOTE:
            return step.text
        case Kind.START | Kind.END:
            return ("starts" if step.kind is Kind.START else "ends") + (f": {step.text}" if step.text else "")
        case Kind.AWAIT_END:
            return f"{name}(CPU {step.target})"
        case Kind.RELAX if step.blocked:
            return f"{name}, in a spin loop"
    return name


def _outcome(step: Step) -> str:
    """What became of it, where that is no plain value."""
    if step.blocked:
        return ""
    match step.kind:
        case Kind.FAILED_CMPXCHG:
            return f"fails: {number(step.read, step.size)}"
        case Kind.TRYLOCK if not step.took:
            return "fails"
        case Kind.FUTEX_WAIT:
            names = {-11: "= -EAGAIN", -4: "= -EINTR", -110: "= -ETIMEDOUT"}
            if step.result is None and step.read is not None and step.read != step.expected:
                return names[-11]
            return "sleeps" if step.result is None else names.get(step.result, "")
        case Kind.FUTEX_WAKE if step.woken:
            return "wakes " + ", ".join(f"CPU {cpu}" for cpu in step.woken)
        case Kind.FUTEX_WAKE:
            return f"wakes {step.result}" if step.result else "wakes nobody"
    return ""


def head(trace: Trace, step: Step) -> list[Phrase]:
    """What the step is, in the colour that it deserves."""
    look = style(trace, step)
    return [(text, look) for text in ((": " if step.interrupt else "") + what(step), _outcome(step)) if text]


def source(step: Step) -> list[Phrase]:
    """Where the value that was read came from, and how old it was."""
    if step.reads_from is None or step.blocked:
        return []
    origin = f"from {reference(step.reads_from)}"
    if step.reads_from > step.index:
        return [(f"{origin}, which runs ahead", ODD)]
    if step.stale:
        return [(f"{origin} (stale: newest is {reference(step.newest)})", ODD)]
    return [(origin, DIM)]


def remarks(step: Step) -> list[Phrase]:
    found: list[Phrase] = []
    if step.inserted_before is not None:
        found.append((f"goes in before {reference(step.inserted_before)}", ODD))
    if step.was:
        found.append(("changed by the mutation" if step.was == CHANGED else f"weakened from {step.was}", OFF))
    if step.skipped:
        found.append(("skipped by the mutation", OFF))
    if step.blocked:
        found.append(("waits for ever", BAD))
    return found


def style(trace: Trace, step: Step) -> str:
    """Of the step itself."""
    if step.blocked or step.kind is Kind.CRASH or step.index == reasons.culprit(trace):
        return BAD
    if step.skipped:
        return OFF
    return DIM if step.kind in (Kind.NOTE, Kind.WINDOW, Kind.RELAX, Kind.START, Kind.END) else PLAIN


def cpu_name(trace: Trace, cpu: int) -> str:
    name = trace.cpus[cpu]
    return f"CPU {cpu}" + (f" {name}" if name and name != f"CPU {cpu}" else "")


def initially(trace: Trace, folded: Mapping[int, str]) -> list[str]:
    """`x = 0` for each location that a step in the drawing reads or writes."""
    found: dict[str, int] = {}
    for step in trace.steps:
        if step.location and (step.reads or step.writes) and step.index not in folded:
            found.setdefault(step.location, step.size)
    return [f"{place} = {number(trace.initial.get(place, 0), size)}" for place, size in found.items()]


def title(trace: Trace) -> str:
    if not trace.violation:
        return f"An execution of {trace.scenario}, which violates nothing."
    return f"A failing execution of {trace.scenario}: {trace.violation}"


def replay_command(trace: Trace) -> str:
    if trace.again:
        return trace.again
    words = [*COMMAND.split(), trace.scenario]
    for mutation in trace.mutation.split(", ") if trace.mutation else ():
        words += ["--mutation", mutation]
    if trace.load_buffering:
        words.append("--load-buffering")
    return shlex.join([*words, "--replay", trace.replay])


# ---- below the drawing ----


@dataclass(frozen=True, slots=True)
class Paragraph:
    heading: str
    lines: tuple[str, ...]
    style: str = PLAIN
    verbatim: bool = False  # to be pasted: not wrapped


def conclusion(trace: Trace, folded: Mapping[int, str]) -> list[Paragraph]:
    """What went wrong, who waits for whom, why a read may be stale, what would forbid it, how to see it again."""
    found = [Paragraph("violated", (trace.violation, *_culprit(trace)), BAD)]
    if not trace.violation:
        found = [Paragraph("nothing is violated", ())]
    waiting = reasons.waits(trace)
    if waiting:
        found.append(Paragraph("who waits for whom", tuple(_waiting(waiting))))
    if racing := reasons.race(trace):
        found.append(_race(trace, *racing))
    for step, lines in reasons.explained(trace):
        found.append(Paragraph(f"why {_allowed(step)}", tuple(lines), ODD))
    if trace.remedies:
        heading = "what would forbid it" if len(trace.remedies) == 1 else "any of these would forbid it"
        found.append(Paragraph(heading, tuple(_remedy(trace, each) for each in trace.remedies)))
    if left_out := Counter(reason for reason in folded.values() if reason):
        counts = ", ".join(f"{reason} ({nr})" for reason, nr in left_out.items())
        found.append(Paragraph("left out", (counts,), DIM))
    found.append(Paragraph("to see it again", (replay_command(trace),), PLAIN, verbatim=True))
    return found


def _culprit(trace: Trace) -> list[str]:
    index = reasons.culprit(trace)
    return [] if index is None else [f"found at #{index}, on {cpu_name(trace, trace.step(index).cpu)}"]


def _race(trace: Trace, access: Step, store: Step) -> Paragraph:
    lines = [str(gap) for gap in reasons.race_gaps(trace, access, store)]
    lines = lines or [f"no message from CPU {store.cpu} to CPU {access.cpu} orders them"]
    return Paragraph(f"why #{access.index} races with #{store.index}", tuple(lines), ODD)


def _allowed(step: Step) -> str:
    if not step.stale:
        return f"#{step.index} is allowed"
    old = "the initial value" if step.reads_from == INITIAL else f"what #{step.reads_from} wrote"
    return f"#{step.index} may read {old} although #{step.newest} is newer"


def _waiting(waiting: list[reasons.Wait]) -> list[str]:
    lines = [f"CPU {wait.step.cpu} {wait.text}" for wait in waiting]
    if ring := reasons.cycle(waiting):
        lines.append("a deadlock: " + " → ".join(f"CPU {cpu}" for cpu in ring))
    return lines


def _remedy(trace: Trace, remedy: Remedy) -> str:
    parts = []
    for barrier in remedy.barriers:
        site = trace.step(barrier.step).site
        at = f" #{barrier.step}" if barrier.change.endswith("before") else f" at #{barrier.step}"
        parts.append(f"{barrier.change}{at}" + (f" [{site}]" if site else ""))
    text = " together with ".join(parts)
    return text if remedy.forbids is None else f"{text}: then #{remedy.forbids} cannot happen"
