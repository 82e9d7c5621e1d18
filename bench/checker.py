"""How fast the model checker searches: the stand-alone two-word claim with three and four CPUs, and a scenario of the core
with full barriers and two words (robustlock.three), whole searches from the root.

Steps are atomic operations of simulated CPUs, with the memory model; executions include those that a sleep set cuts short;
graphs are distinct executions (who reads from whom, coherence order), the honest figure.
"""

import importlib
import statistics
import time

from bench.harness import Case, arguments, measure, report
from mempools.check import scenarios
from mempools.check.explorer import Explorer

SCENES = ("toys.claim-3", "toys.claim-4", "robustlock.three", "ownermap.crowd")
TARGETS = {"steps": 5.0, "executions": 0.3, "graphs": 0.05}  # millions a second, on the three-CPU case


def search(scene: str, what: str) -> Case:
    """A whole search, repeated until it has taken a tenth of a second: millions of `what` a second."""

    def case() -> float:
        done, took = 0, 0.0
        while took < 0.1:
            explorer = Explorer(scene, graphs=what == "graphs")
            begun = time.perf_counter()
            explorer.run(10**9)
            took += time.perf_counter() - begun
            done += explorer.counts[what]
        return done / took / 1e6

    return case


def main() -> None:
    options = arguments(__doc__ or "")
    importlib.import_module("mempools.check.toys")
    scenarios.load()
    for what in ("steps", "executions", "graphs"):
        samples = measure({scene: search(scene, what) for scene in SCENES}, options.rounds)
        report(f"The checker: {what}, one core", samples, options, unit="million/s")
        value = statistics.median(samples["toys.claim-3"])
        print(f"target {TARGETS[what]} on toys.claim-3: {'met' if value >= TARGETS[what] else 'missed'}, {value:.2f}\n")
    for scene in SCENES:
        explorer = Explorer(scene)
        explorer.run(10**9)
        found = explorer.counts
        redundancy = found["executions"] / found["graphs"]
        print(f"{scene}: {found['executions']:,} executions, {found['graphs']:,} graphs: redundancy {redundancy:.2f}")


if __name__ == "__main__":
    main()
