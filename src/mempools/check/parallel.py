"""Several processes: one scenario's tree is split at a small depth, and each process explores parts of it.

Above the split every CPU is tried at every node, so the parts do not depend on each other: a race that is found in one asks
for nothing in another. Graphs are counted within each part; the sum counts a graph twice that two parts have.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.pool import Pool
from typing import Any

from mempools.check import run
from mempools.check.explorer import Explorer
from mempools.check.trace import Outcome, Result

DEPTH = 6  # steps above the split

Part = tuple[str, tuple[int, ...]]
Answer = tuple[str, list[str], dict[str, int], str]  # state, bounds hit, counts, path


@contextmanager
def workers(jobs: int) -> Iterator[Pool]:
    """Processes that share work. SIGTERM ends one at once, whatever handler its parent has: Python forgets a signal that a
    new process gets before its first line, and who waits for that process's end would wait for ever."""
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            pool = multiprocessing.get_context("fork").Pool(jobs)
        finally:
            signal.signal(signal.SIGTERM, before)
    else:  # which may not set handlers
        pool = multiprocessing.get_context("fork").Pool(jobs)
    with pool:
        yield pool


def _part(job: tuple[str, Part, run.Bounds, Sequence[run.Mutation], dict[str, Any]]) -> Answer:
    scene, (path, sleep), bounds, mutations, options = job
    explorer = run.explorer_for(scene, bounds, mutations, **options)
    explorer.begin_at(path, sleep)
    state, hit, _ = run.explore(explorer, bounds)
    return state, hit, explorer.counts, explorer.path if state == "failed" else ""


def check(
    scene: str, bounds: run.Bounds, jobs: int, *, mutations: Sequence[run.Mutation] = (), **options: Any
) -> Result:
    """As run.check, by `jobs` processes. Bounds on executions and seconds hold for each part."""
    begun = time.monotonic()
    explorer: Explorer = run.explorer_for(scene, bounds, mutations, **options)
    parts = explorer.split(DEPTH)
    failed = explorer.path if explorer.ending in ("failed", "deadlock") else ""
    totals, hit = explorer.counts, set(explorer.bounds)
    work = [(scene, part, bounds, mutations, options) for part in parts if not failed]
    with workers(jobs) as pool:
        for state, bounds_hit, counts, path in pool.imap_unordered(_part, work):
            totals = {name: value + counts[name] for name, value in totals.items()}
            hit.update(bounds_hit)
            if state == "failed":
                failed = path
                pool.terminate()
                break
    trace = None
    if failed:
        again = run.explorer_for(scene, bounds, mutations, **options)
        found = list(run.find_remedies(again, mutations, failed))
        trace = run.trace_of(again, failed, mutations, found)
    return Result(
        scenario=scene,
        outcome=Outcome.FAIL if failed else Outcome.UNKNOWN if hit else Outcome.PASS,
        cpus=len(explorer.cpu_names),
        executions=totals["executions"],
        graphs=totals["graphs"],
        blocked=totals["redundant"] + totals["spinning"],
        steps=totals["steps"],
        seconds=time.monotonic() - begun,
        bounds=bounds.described(),
        hit=tuple(sorted(hit)),
        trace=trace,
        mutation=run.describe(mutations),
    )
