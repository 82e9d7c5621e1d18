"""What the benchmarks share: cases side by side in one run, medians, ratios, targets, and where the numbers come from.

A case is a function that does its work once and returns nanoseconds (or whatever its table says) for each operation.
Rounds are interleaved (A B C, A B C, ...), so that a machine that grows slower or busier does so for all; the median
leaves out what interrupts.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sysconfig
import time
import timeit
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Case = Callable[[], float]
Samples = Mapping[str, list[float]]
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Target:
    """`case` is to take at most `at_most`: of the table's unit or, with `of`, times what the case `of` takes. `plus` the
    cost of `of`, rather than times, with `plus=True`."""

    case: str
    at_most: float
    of: str | None = None
    plus: bool = False


def timed(statement: str, number: int, **names: object) -> Case:
    """A case out of a Python statement that uses `names`: run `number` times, less what the empty loop costs.
    CPU time of this thread, so that what else runs on the machine does not count."""
    full = timeit.Timer(statement, globals=names, timer=time.thread_time_ns)
    empty = timeit.Timer("pass", timer=time.thread_time_ns)
    return lambda: (full.timeit(number) - empty.timeit(number)) / number


def called(function: Callable[..., object], *arguments: object, per: int) -> Case:
    """A case out of one call that does its work `per` times, in CPU time of this thread."""

    def case() -> float:
        before = time.thread_time_ns()
        function(*arguments)
        return (time.thread_time_ns() - before) / per

    return case


def measure(cases: Mapping[str, Case], rounds: int) -> Samples:
    """Runs the cases `rounds` times, interleaved, after one round to warm up."""
    for case in cases.values():
        case()
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            samples[name].append(case())
    return samples


def ratio(samples: Samples, name: str, base: str) -> float:
    """The median of the ratios within each round, since a round's cases ran under the same conditions."""
    return statistics.median(value / first for value, first in zip(samples[name], samples[base], strict=True))


def provenance() -> dict[str, Any]:
    """Machine, interpreter and commit: a number without them says nothing."""
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "cpu": cpus[0] if cpus else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version() + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""),
        "commit": git.stdout.strip() or "unknown",
        "date": time.strftime("%Y-%m-%d"),
    }


def arguments(description: str, plot: bool = False) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the numbers to FILE too")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: to see that it works")
    if plot:
        parser.add_argument("--plot", action="store_true", help="write the plots to docs/_static/")
    options = parser.parse_args()
    options.rounds = 3 if options.quick else 15
    options.scale = 10 if options.quick else 1  # a case's operations are divided by it
    options.tables = []
    return options


def missing(package: str) -> None:
    print(f"{package} is not installed (dependency group `bench`): left out\n")


def judged(samples: Samples, target: Target, unit: str) -> dict[str, Any]:
    """A target with what was measured, in the target's own terms."""
    if target.of is None:
        value, terms = statistics.median(samples[target.case]), unit
    elif target.plus:
        pairs = zip(samples[target.case], samples[target.of], strict=True)
        value, terms = statistics.median(a - b for a, b in pairs), f"{unit} more than {target.of}"
    else:
        value, terms = ratio(samples, target.case, target.of), f"of {target.of}"
    return {
        "case": target.case,
        "value": value,
        "at_most": target.at_most,
        "terms": terms,
        "met": value <= target.at_most,
    }


def report(
    title: str,
    samples: Samples,
    options: argparse.Namespace,
    targets: Iterable[Target] = (),
    unit: str = "ns",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Prints a table in Markdown and what became of the targets; adds it to the JSON. The ratio is to the first case."""
    where, base = provenance(), next(iter(samples))
    results = {
        name: {
            "median": statistics.median(values),
            "low": min(values),
            "high": max(values),
            "ratio": ratio(samples, name, base),
        }
        for name, values in samples.items()
    }
    verdicts = [judged(samples, target, unit) for target in targets if {target.case, target.of or base} <= set(samples)]
    print(
        f"{title}\n{where['cpu']}, {where['cpus']} CPUs, Linux {where['kernel']}, Python {where['python']}, "
        f"commit {where['commit']}, {where['date']}\n"
    )
    print(f"| | {unit} | ratio | low to high |\n|---|--:|--:|--:|")
    for name, row in results.items():
        low, high = number(row["low"]), number(row["high"])
        print(f"| {name} | {number(row['median'])} | {number(row['ratio'])} | {low} to {high} |")
    for verdict in verdicts:
        state = "reached" if verdict["met"] else "MISSED"
        print(
            f"\n{state}: {verdict['case']}: {number(verdict['value'])} {verdict['terms']}, target {verdict['at_most']:g}"
        )
    for fact, value in (facts or {}).items():
        print(f"\n{fact}: {value}")
    print(flush=True)
    options.tables.append(
        {
            "title": title,
            "unit": unit,
            "where": where,
            "results": results,
            "targets": verdicts,
            "facts": dict(facts or {}),
        }
    )
    if options.json:
        Path(options.json).write_text(json.dumps(options.tables, indent=2) + "\n")


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) < 10 else 1}f}" if abs(value) >= 0.1 else f"{value:.2g}"
