"""Results of checks as lines: one alone, many as a table, and how far a long one has come."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TextIO

from mempools.check import wording
from mempools.check.terminal import Line, Terminal
from mempools.check.trace import Bound, Outcome, Result
from mempools.check.wording import BAD, BOLD, DIM, OFF

_STYLES = {Outcome.PASS: wording.GOOD, Outcome.FAIL: BAD, Outcome.UNKNOWN: wording.ODD}
_INTERVAL = 0.2  # seconds between two drawings of a progress line


def line(result: Result, terminal: Terminal | None = None) -> str:
    """`PASS  genpool.claim  3 CPUs  1,234 executions, 1,200 graphs  0.8 s  (bounds: ...)`, on lines of its own if it is
    UNKNOWN: the bounds that were hit, and how to raise them."""
    terminal = terminal or Terminal()
    name = [(result.scenario, BOLD), *([(result.mutation, OFF)] if result.mutation else [])]
    head = [(f"{result.outcome.value:<7}", _STYLES[result.outcome]), *name, (_cpus(result), "")]
    if bounds := _bounds(result):
        tail = [(_counts(result), ""), (seconds(result.seconds), ""), (f"(bounds: {bounds})", DIM)]
    else:
        tail = [(_counts(result), ""), (seconds(result.seconds), "")]
    return "\n".join(map(terminal.painted, [*terminal.wrap([*head, *tail], terminal.width), *_hit(result, terminal)]))


def table(results: Sequence[Result], terminal: Terminal | None = None) -> str:
    """A row for each result and a line for each bound that was hit, then how many there are of each outcome."""
    terminal = terminal or Terminal()
    head = ["", "scenario", "CPUs", "executions", "graphs", "blocked", "time"]
    rows = [
        [
            result.outcome.value,
            result.scenario,
            str(result.cpus),
            f"{result.executions:,}",
            f"{result.graphs:,}" if result.graphs else "",
            f"{result.blocked:,}",
            seconds(result.seconds),
        ]
        for result in results
    ]
    if any(result.mutation for result in results):
        head.append("mutation")
        for row, result in zip(rows, results, strict=True):
            row.append(result.mutation or "")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [_row(head, widths, "")]
    for result, row in zip(results, rows, strict=True):
        lines += [_row(row, widths, _STYLES[result.outcome]), *_hit(result, terminal)]
    return "\n".join(map(terminal.painted, [*lines, *_all_bounds(results, terminal), [(summary(results), BOLD)]]))


def _all_bounds(results: Sequence[Result], terminal: Terminal) -> list[Line]:
    """Within which bounds the whole table holds."""
    values: dict[str, set[int]] = {}
    for result in results:
        for name, bound in result.bounds.items():
            values.setdefault(name, set()).add(bound.value)
    parts = [f"{name} " + " or ".join(f"{value:,}" for value in sorted(found)) for name, found in values.items()]
    return terminal.wrap([(f"bounds: {', '.join(parts)}", DIM)], terminal.width) if parts else []


def _row(cells: Sequence[str], widths: Sequence[int], style: str) -> Line:
    """Words to the left, numbers to the right."""
    first = f"{cells[0]:<{widths[0]}}"
    if not style:
        return [("  ".join([first, *_aligned(cells, widths)]), DIM)]
    return [(first, style), ("  ", ""), ("  ".join(_aligned(cells, widths)), "")]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    for column in range(1, len(cells)):
        words = column in (1, 7)
        yield f"{cells[column]:<{widths[column]}}" if words else f"{cells[column]:>{widths[column]}}"


def summary(results: Iterable[Result]) -> str:
    results = list(results)
    nr = Counter(result.outcome for result in results)
    parts = [f"{nr[outcome]} {outcome.value}" for outcome in Outcome if nr[outcome]]
    return f"{', '.join(parts) or 'nothing checked'} in {seconds(sum(result.seconds for result in results))}"


def _cpus(result: Result) -> str:
    return "1 CPU" if result.cpus == 1 else f"{result.cpus} CPUs"


def _counts(result: Result) -> str:
    parts = [f"{result.executions:,} execution" + ("s" if result.executions != 1 else "")]
    if result.graphs:
        parts.append(f"{result.graphs:,} graph" + ("s" if result.graphs != 1 else ""))
    if result.blocked:
        parts.append(f"{result.blocked:,} blocked")
    return ", ".join(parts)


def _bounds(result: Result) -> str:
    return ", ".join(f"{name} {bound.value:,}" for name, bound in result.bounds.items())


def _hit(result: Result, terminal: Terminal) -> list[Line]:
    """For each bound that cut something off: a line that says how to raise it."""
    lines: list[Line] = []
    for name in result.hit:
        text = f"bound reached: {name}, a fixed one; make the scenario smaller"
        if bound := result.bounds.get(name):
            text = f"bound reached: {name} {bound.value:,}; {bound.variable}={_more(bound)} raises it"
        lines += [[("  ", ""), *part] for part in terminal.wrap([(text, wording.ODD)], terminal.width - 2)]
    return lines


def _more(bound: Bound) -> int:
    return max(2 * bound.value, 1)


def seconds(value: float) -> str:
    """`0.8 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


# ---- while it runs ----


def explored(path: Iterable[tuple[int, int]]) -> float:
    """How much of the tree lies before the present execution, if all subtrees of a node were equally large: `path` has,
    for each choice from the root, how many of its branches are done and how many there are."""
    done, share = 0.0, 1.0
    for finished, branches in path:
        share /= max(branches, 1)
        done += share * finished
    return min(done, 1.0)


def progress(scenario: str, executions: int, elapsed: float, fraction: float | None = None) -> str:
    """`genpool.claim  12,345 executions  41,000/s  about 37% seen`; the fraction is an estimate, see explored()."""
    parts = [scenario, f"{executions:,} executions", f"{executions / elapsed:,.0f}/s" if elapsed > 0 else "0/s"]
    if fraction is not None:
        parts.append(f"about {fraction:.0%} seen" if fraction >= 0.01 else "less than 1% seen")
    return "  ".join([*parts, seconds(elapsed)])


class ProgressLine:
    """Redraws its one line on a terminal, and wipes it when the check is over; elsewhere it is silent."""

    def __init__(self, scenario: str, stream: TextIO) -> None:
        self._scenario = scenario
        self._stream = stream
        self._shown = stream.isatty()
        self._terminal = Terminal.of(stream)
        self._start = self._drawn = time.monotonic()

    def update(self, executions: int, fraction: float | None = None) -> None:
        now = time.monotonic()
        if self._shown and now - self._drawn >= _INTERVAL:
            self._drawn = now
            self._draw(progress(self._scenario, executions, now - self._start, fraction))

    def clear(self) -> None:
        if self._shown:
            self._draw("")

    def _draw(self, text: str) -> None:
        width = self._terminal.width - 1
        self._stream.write(f"\r{text[:width]:<{width}}" + ("" if text else "\r"))
        self._stream.flush()
