"""Mutation of every site: each barrier of the core weakened in turn, and some scenario must fail.

Which operations a site has is seen by running the scenarios. A mutant that no scenario notices is a survivor: a barrier that
is not needed, or a scenario that is missing. Those that are known to change nothing stand in EQUIVALENT with the reason.
"""

import multiprocessing
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mempools import layout, parts, pools
from mempools.check.run import Bounds, Mutation, explore, explorer_for

# (operation, order) of a site -> what can be done to it. A relaxed store claims no order and no more than its own word, so
# nothing is done to it: what its place rests on is the label of a neighbour.
_KINDS = {
    ("read", "acquire"): ("relax",),
    ("write", "release"): ("relax", "swap", "tear"),
    ("mb", "relaxed"): ("remove",),
    ("rmb", "relaxed"): ("remove",),
    ("wmb", "relaxed"): ("remove",),
}
_OF_RMW = {
    "relaxed": (),
    "acquire": ("relax",),
    "release": ("relax",),
    "full": ("relax", "acquire only", "release only"),
}
_LOCKS = (
    "robustlock.lock",
    "robustlock.unlock",
)  # sites, after their letter, whose swaps are a lock's: leaving them out elides it

_CORE = {module.name for folder in (parts, layout, pools) for module in pkgutil.iter_modules(folder.__path__)}

EQUIVALENT: dict[Mutation, str] = {}


@dataclass(frozen=True, slots=True)
class Mutant:
    site: str
    mutation: str
    outcome: str  # "killed", "survived", "equivalent" (survived, and EQUIVALENT says why it may), "unknown" (a bound was hit)
    scenario: str  # that noticed; the ones that did not
    executions: int
    seconds: float
    reason: str = ""


def mutations_of(site: str, kind: str, order: str) -> tuple[str, ...]:
    name = site.partition(":")[2] if site[1:2] == ":" else site
    if name.partition(".")[0] not in _CORE | {"toys"}:
        return ()  # a scenario's own
    if kind in ("rmw", "cmpxchg"):
        return (*_OF_RMW[order], "split", *(("elide",) if name.startswith(_LOCKS) else ()))
    return _KINDS.get((kind, order), ())


def sites_of(scenes: Iterable[str], bounds: Bounds) -> dict[Mutation, list[str]]:
    """Every mutation that there is, with the scenarios that execute its site, the shortest first."""
    found: dict[Mutation, list[tuple[int, str]]] = {}
    for scene in scenes:
        explorer = explorer_for(scene, bounds)
        explore(explorer, bounds)
        for site, kind, order in explorer.sites:
            for mutation in mutations_of(site, kind, order):
                found.setdefault((site, mutation), []).append((explorer.counts["executions"], scene))
    return {mutant: [scene for _, scene in sorted(where)] for mutant, where in sorted(found.items())}


def try_mutant(site: str, mutation: str, scenes: Sequence[str], bounds: Bounds) -> Mutant:
    executions, seconds, hit = 0, 0.0, False
    for scene in scenes:
        explorer = explorer_for(scene, bounds, [(site, mutation)], graphs=False)
        state, bounds_hit, took = explore(explorer, bounds)
        executions += explorer.counts["executions"]
        seconds += took
        if state == "failed":
            return Mutant(site, mutation, "killed", scene, executions, seconds)
        hit |= bool(bounds_hit)
    reason = EQUIVALENT.get((site, mutation), "")
    outcome = "equivalent" if reason else "unknown" if hit else "survived"
    return Mutant(site, mutation, outcome, ", ".join(scenes), executions, seconds, reason)


def _try(job: tuple[str, str, list[str], Bounds]) -> Mutant:
    return try_mutant(*job)


def try_all(
    scenes: Sequence[str], bounds: Bounds, chosen: Callable[[str], bool] = lambda site: True, jobs: int = 1
) -> Iterator[Mutant]:
    """Every mutant of the chosen sites, in the order of their names; `jobs` processes try them."""
    found = sites_of(scenes, bounds).items()
    work = [(site, mutation, where, bounds) for (site, mutation), where in found if chosen(site)]
    if jobs == 1:
        yield from map(_try, work)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(_try, work)
