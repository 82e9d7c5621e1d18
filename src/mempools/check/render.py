"""A failing execution on a terminal: a lane for each CPU, a line for each step, then what went wrong and why.

Where there is room a step stands in its CPU's lane (columns). Where most steps would need several lines for that, the lanes
shrink to a graph at the left and the steps share the room beside it (compact).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mempools.check import reasons, wording
from mempools.check.terminal import Line, Terminal, padded
from mempools.check.trace import Kind, Step, Trace
from mempools.check.wording import BAD, BOLD, DIM, SITE, Phrase

MIN_LANE = 36  # columns of a lane with text in it
MAX_LINES = 1.5  # for a step in a lane, on average
MAX_SITE = 28
MIN_TEXT = 20
LAYOUTS = ("auto", "columns", "compact")

RUNS, WAITS, HERE, STUCK, DEAD, NONE = "│", "┊", "●", "○", "✗", " "


def draw(trace: Trace, terminal: Terminal | None = None, *, layout: str = "auto", fold: bool = True) -> str:
    """The whole drawing, without a newline at its end. `fold` leaves out the steps that do not matter, and says so."""
    if layout not in LAYOUTS:
        raise ValueError(f"no layout {layout!r}: take one of {', '.join(LAYOUTS)}")
    terminal = terminal or Terminal()
    folded = reasons.foldable(trace) if fold else {}
    lanes = _Lanes.of(trace, folded)
    width = max((terminal.width - lanes.gutter) // len(trace.cpus), 1)
    body = list(_columns(lanes, terminal, width))
    roomy = width >= MIN_LANE and len(body) <= 1 + MAX_LINES * len(lanes.steps)
    if layout == "compact" or (layout == "auto" and not roomy):
        body = list(_compact(lanes, terminal))
    lines = [*_head(trace, terminal, folded), [], *body, [], *_foot(trace, terminal, folded)]
    return "\n".join(map(terminal.painted, lines))


@dataclass(frozen=True, slots=True)
class _Lanes:
    trace: Trace
    steps: list[Step]  # those that are drawn
    first: list[int]  # by CPU: the index of its first step
    last: list[int]
    stuck: list[bool]  # by CPU: it never ends
    gutter: int  # columns for the step's number

    @classmethod
    def of(cls, trace: Trace, folded: Mapping[int, str]) -> "_Lanes":
        nr = len(trace.cpus)
        own = [[step for step in trace.steps if step.cpu == cpu] for cpu in range(nr)]
        steps = [step for step in trace.steps if step.index not in folded]
        return cls(
            trace,
            steps,
            [steps_of[0].index if steps_of else -1 for steps_of in own],
            [steps_of[-1].index if steps_of else -1 for steps_of in own],
            [bool(steps_of) and steps_of[-1].blocked for steps_of in own],
            max(len(str(steps[-1].index)) if steps else 0, 2) + 3,
        )

    def glyphs(self, step: Step, *, below: bool = False) -> list[Phrase]:
        """One for each lane in the line of a step; `below`, in the lines that continue it."""
        return [self._glyph(cpu, step, below) for cpu in range(len(self.first))]

    def _glyph(self, cpu: int, step: Step, below: bool) -> Phrase:
        if cpu == step.cpu and not below:
            glyph = DEAD if step.kind is Kind.CRASH else STUCK if step.blocked else HERE
            return glyph, wording.style(self.trace, step) or (wording.ODD if step.stale else BOLD)
        if self.first[cpu] <= step.index < self.last[cpu] and self.first[cpu] >= 0:
            return RUNS, DIM
        return (WAITS, DIM) if self.stuck[cpu] and step.index >= self.last[cpu] else (NONE, "")

    def number(self, step: Step) -> Phrase:
        return f"{step.index:>{self.gutter - 2}}  ", DIM


def _phrases(trace: Trace, step: Step) -> list[Phrase]:
    return [*wording.head(trace, step), *wording.source(step), *wording.remarks(step)]


def _site(step: Step) -> list[Phrase]:
    return [(f"[{step.site}]", SITE)] if step.site else []


def _columns(lanes: _Lanes, terminal: Terminal, width: int) -> Iterator[Line]:
    names = [_cut(wording.cpu_name(lanes.trace, cpu), width - 1) for cpu in range(len(lanes.trace.cpus))]
    yield [(" " * lanes.gutter, ""), *[(f"{name:<{width}}", BOLD) for name in names]]
    for step in lanes.steps:
        phrases = [*_phrases(lanes.trace, step), *_site(step)]
        for nr, text in enumerate(terminal.wrap(phrases, width - 3)):
            line: Line = [lanes.number(step) if nr == 0 else (" " * lanes.gutter, "")]
            for cpu, glyph in enumerate(lanes.glyphs(step, below=nr > 0)):
                line += padded([glyph, (" ", ""), *(text if cpu == step.cpu else [])], width)
            yield line


def _compact(lanes: _Lanes, terminal: Terminal) -> Iterator[Line]:
    trace = lanes.trace
    before = lanes.gutter + 2 * len(trace.cpus) + 1
    site = min(max((len(step.site) for step in lanes.steps), default=0), MAX_SITE)
    beside = terminal.width - before - site - 2 >= 2 * MIN_TEXT  # else the site follows the step
    room = max(terminal.width - before - (site + 2 if beside else 0), MIN_TEXT)
    numbers = "".join(f"{cpu} " for cpu in range(len(trace.cpus)))
    yield [(" " * lanes.gutter + numbers, BOLD)]
    for step in lanes.steps:
        phrases = _phrases(trace, step) + ([] if beside else _site(step))
        for nr, text in enumerate(terminal.wrap(phrases, room)):
            line: Line = [lanes.number(step) if nr == 0 else (" " * lanes.gutter, "")]
            for glyph in lanes.glyphs(step, below=nr > 0):
                line += [glyph, (" ", "")]
            label = f"{_cut(step.site, site) if nr == 0 else '':<{site + 2}}" if beside else ""
            yield [*line, (" ", ""), (label, SITE), *text]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _head(trace: Trace, terminal: Terminal, folded: Mapping[int, str]) -> Iterator[Line]:
    failed: Line = [("FAIL", BAD)] if trace.violation else []
    yield from terminal.wrap([*failed, (trace.scenario, BOLD)], terminal.width)
    if trace.mutation:
        yield from terminal.wrap([(f"with the mutation {trace.mutation}", wording.OFF)], terminal.width)
    yield from _items(
        terminal, "CPUs:", [wording.cpu_name(trace, cpu).removeprefix("CPU ") for cpu in range(len(trace.cpus))]
    )
    if initial := wording.initially(trace, folded):
        yield from _items(terminal, "initially:", initial)


def _items(terminal: Terminal, head: str, items: list[str]) -> list[Line]:
    """`head a, b, c`, broken between the items alone where they fit."""
    phrases = [(item + ("," if nr < len(items) - 1 else ""), "") for nr, item in enumerate(items)]
    return terminal.wrap([(head, DIM), *phrases], terminal.width, between=1)


def _foot(trace: Trace, terminal: Terminal, folded: Mapping[int, str]) -> Iterator[Line]:
    for paragraph in wording.conclusion(trace, folded):
        yield from terminal.wrap(
            [(f"{paragraph.heading}:" if paragraph.lines else paragraph.heading, paragraph.style or BOLD)],
            terminal.width,
        )
        for text in paragraph.lines:
            if paragraph.verbatim:
                yield [("  " + text, "")]
                continue
            for line in terminal.wrap([(text, "")], terminal.width - 2):
                yield [("  ", ""), *line]
