"""What the benchmarks share: cases side by side in one run, medians, ratios, and where the numbers come from.

A case is a function that does its work once and returns nanoseconds for each operation. Rounds are interleaved (A B C,
A B C, ...), so that a machine that grows slower or busier does so for all; the median leaves out what interrupts.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import sysconfig
import time
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Case = Callable[[], float]
ROOT = Path(__file__).parents[1]


def timed(statement: str, number: int, **names: object) -> Case:
    """A case out of a Python statement that uses `names`: run `number` times, less what the empty loop costs.
    CPU time of this thread, so that what else runs on the machine does not count."""
    full = timeit.Timer(statement, globals=names, timer=time.thread_time_ns)
    empty = timeit.Timer("pass", timer=time.thread_time_ns)
    return lambda: (full.timeit(number) - empty.timeit(number)) / number


def measure(cases: Mapping[str, Case], rounds: int = 15) -> dict[str, dict[str, float]]:
    """Runs the cases `rounds` times, interleaved, after one round to warm up. The ratio is to the first case: the
    median of the ratios within each round, since a round's cases ran under the same conditions."""
    for case in cases.values():
        case()
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            samples[name].append(case())
    base = next(iter(samples.values()))
    return {
        name: {
            "ns": statistics.median(values),
            "ns_low": min(values),
            "ns_high": max(values),
            "ratio": statistics.median(value / first for value, first in zip(values, base, strict=True)),
        }
        for name, values in samples.items()
    }


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


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the numbers to FILE too, '-' for standard output alone")
    parser.add_argument("--rounds", type=int, default=15, help="how often each case runs (default 15)")
    return parser.parse_args()


def report(title: str, results: Mapping[str, Mapping[str, float]], file: str | None = None) -> None:
    """Prints the table; writes JSON."""
    where = provenance()
    if file != "-":
        print(f"{title}\n{where['cpu']}, {where['cpus']} CPUs, Python {where['python']}, commit {where['commit']}")
        width = max(map(len, results))
        for name, row in results.items():
            spread = f"{row['ns_low']:.1f} to {row['ns_high']:.1f}"
            print(f"  {name:<{width}}  {row['ns']:9.1f} ns  x{row['ratio']:.2f}  ({spread})")
    if file:
        text = json.dumps({"title": title, "where": where, "results": results}, indent=2)
        if file == "-":
            sys.stdout.write(text + "\n")
        else:
            Path(file).write_text(text + "\n")
