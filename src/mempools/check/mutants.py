"""Mutation of every site: each barrier of the core weakened in turn, and some scenario must fail.

Which operations a site has is seen by running the scenarios. A mutant that no scenario notices is a survivor: a barrier that
is not needed, or a scenario that is missing. Those that are known to change nothing stand in EQUIVALENT with the proof; they
are tried a little all the same, so that a wrong proof shows. A labelled site that no scenario executes is one too many,
unless EXEMPT says why.
"""

import fnmatch
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mempools import layout, parts, pools
from mempools.check.parallel import workers
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

_ONE_BYTE = "the value changes in one byte, so a store in parts stores nothing between"

EQUIVALENT: dict[Mutation, str] = {
    ("R:chunks.known", "tear"): f"it counts up by one, to MAX_CHUNKS at most: {_ONE_BYTE}",
    (
        "R:chunks.updating",
        "swap",
    ): "it lets go of what others only try: they find it BUSY longer, as they may at any time, "
    "and this thread does the store before it tries again",
    ("R:chunks.updating", "tear"): f"1 becomes 0: {_ONE_BYTE}",
    ("R:directory.live", "tear"): f"SETUP becomes LIVE under the same slot: {_ONE_BYTE}",
    (
        "R:gaugecell.own",
        "swap",
    ): "the next store is of the new owner's next value: until it is the owner's, a cell is read as before",
    ("R:mempoolmake.made", "tear"): f"0 becomes 1: {_ONE_BYTE}",
    (
        "R:percpuref.over",
        "swap",
    ): "it is the last thing that a release does; until it is seen the next life does not begin, as if the release took longer",
    (
        "R:percpuref.over",
        "tear",
    ): "what is between is no process's registration, and not over: whoever sees it takes the release to be under way",
    (
        "R:offline.left",
        "swap",
    ): "it is the last thing that is done to a chunk; until it is seen others find the chunk on its way, as if that took longer",
    ("R:percpu.ready", "tear"): f"0 becomes 1: {_ONE_BYTE}",
    ("R:proctable.free", "tear"): f"LIVE becomes FREE in the same generation: {_ONE_BYTE}",
    (
        "R:proctable.live",
        "tear",
    ): "the writer holds the slot's mend lock, under which whoever acts on the state reads it again; "
    "without it only whether LIVE stands there counts, one byte",
    (
        "A:zspage.claim",
        "relax",
    ): "what follows in the descriptor are stores that depend on the swap's success, and reads of what they wrote",
    (
        "R:zsalloc.live",
        "swap",
    ): "the next store is of a list or a count of the class, which only the lock's holder looks at, "
    "and recovery, which makes them anew",
    ("R:zspage.unnamed", "swap"): "the next store is of where searches start, a hint",
    (
        "R:zspage.unnamed",
        "tear",
    ): "the low half has the class + 1: stored first, the word is no class's, and not 0 to be claimed; stored last, it is of the "
    "class whose lock the writer has, without objects",
    ("R:unitcounter.lock", "tear"): "what is between is nobody's registration: whoever sees it finds the lock taken",
    (
        "A:zramtable.entry",
        "relax",
    ): "what follows in the entry are stores that depend on the swap's success",
    (
        "R:zramtable.entry",
        "swap",
    ): "the next store is of something else, and the entry says only that a change is done which is done",
    (
        "R:zramtable.entry",
        "tear",
    ): "what is between is not 0, so the entry stays taken; to recovery it is no page, or a page without a change",
    (
        "R:zrammend.unlock",
        "tear",
    ): "the half without the lock stays as it is",
    ("R:zramtable.made", "tear"): f"0 becomes 1: {_ONE_BYTE}",
    ("R:shares.live", "tear"): f"SETUP becomes LIVE under the same slot and generation: {_ONE_BYTE}",
}
_TRY_EQUIVALENT = 5_000  # executions

# Labelled sites, as patterns, that no scenario need execute.
EXEMPT: dict[str, str] = {
    "?:atomic.*": "the user's own operations: what they order is the user's protocol, and so is its check",
    "?:blockmempool.*": "of an object of L4, which compiled scenarios do not drive: the same load as A:mempoolmake.made, which "
    "is weakened",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    site: str
    mutation: str
    # "killed"; "equivalent" (EQUIVALENT says why nobody can notice), "exempt" (likewise EXEMPT, of a site that is not executed);
    # and what must not be: "survived", "unknown" (a bound was hit), "not executed"
    outcome: str
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


_Look = tuple[str, int, list[tuple[str, str, str]]]  # a scenario, its executions, the sites that it executes


def _look(job: tuple[str, Bounds]) -> _Look:
    scene, bounds = job
    explorer = explorer_for(scene, bounds, graphs=False)
    explore(explorer, bounds)
    return scene, explorer.counts["executions"], explorer.sites


def _mutations_in(looks: Iterable[_Look]) -> dict[Mutation, list[str]]:
    """Every mutation that there is, with the scenarios that execute its site, the shortest first."""
    found: dict[Mutation, list[tuple[int, str]]] = {}
    for scene, executions, sites in looks:
        for site, kind, order in sites:
            for mutation in mutations_of(site, kind, order):
                found.setdefault((site, mutation), []).append((executions, scene))
    return {mutant: [scene for _, scene in sorted(where)] for mutant, where in sorted(found.items())}


def labelled_sites(*more: str) -> set[str]:
    """Of the core, by its sources, and of `more` folders of the package."""
    package = Path(parts.__path__[0]).parent
    return {
        site.decode()
        for folder in ("parts", "layout", "pools", "objects", *more)
        for path in (package / folder).rglob("*.py")
        for site in re.findall(rb'b"([ARF]:[\w.]+)"', path.read_bytes())
    }


def not_executed(executed: Iterable[str], chosen: Callable[[str], bool] = lambda site: True) -> Iterator[Mutant]:
    """The labelled sites that are not among those: "exempt" with the reason, or "not executed"."""
    for site in sorted(labelled_sites() - set(executed)):
        if chosen(site):
            reason = next((why for pattern, why in EXEMPT.items() if fnmatch.fnmatchcase(site, pattern)), "")
            yield Mutant(site, "", "exempt" if reason else "not executed", "", 0, 0.0, reason)


def try_mutant(site: str, mutation: str, scenes: Sequence[str], bounds: Bounds) -> Mutant:
    executions, seconds, hit = 0, 0.0, False
    reason = EQUIVALENT.get((site, mutation), "")
    for scene in scenes:
        if reason:
            if executions >= _TRY_EQUIVALENT:
                break
            bounds = replace(bounds, executions=min(bounds.executions, _TRY_EQUIVALENT - executions))
        explorer = explorer_for(scene, bounds, [(site, mutation)], graphs=False)
        state, bounds_hit, took = explore(explorer, bounds)
        executions += explorer.counts["executions"]
        seconds += took
        if state == "failed":
            why = f"noticed, though EQUIVALENT says that nobody can: {reason}" if reason else ""
            return Mutant(site, mutation, "survived" if reason else "killed", scene, executions, seconds, why)
        hit |= bool(bounds_hit)
    outcome = "equivalent" if reason else "unknown" if hit else "survived"
    return Mutant(site, mutation, outcome, ", ".join(scenes), executions, seconds, reason)


def _try(job: tuple[str, str, list[str], Bounds]) -> Mutant:
    return try_mutant(*job)


def try_all(
    scenes: Sequence[str],
    bounds: Bounds,
    chosen: Callable[[str], bool] = lambda site: True,
    jobs: int = 1,
    *,
    every_site: bool = False,
) -> Iterator[Mutant]:
    """Every mutant of the chosen sites, in the order of their names, by `jobs` processes. `every_site`: these are all the
    scenarios, so a labelled site that none executes is told too."""
    looked = [(scene, bounds) for scene in scenes]
    if jobs == 1:
        looks = list(map(_look, looked))
        yield from map(_try, _work(looks, bounds, chosen))
    else:
        with workers(jobs) as pool:
            looks = pool.map(_look, looked, chunksize=1)
            yield from pool.imap(_try, _work(looks, bounds, chosen))
    if every_site:
        yield from not_executed((site for _, _, sites in looks for site, _, _ in sites), chosen)


def _work(
    looks: Iterable[_Look], bounds: Bounds, chosen: Callable[[str], bool]
) -> list[tuple[str, str, list[str], Bounds]]:
    found = _mutations_in(looks).items()
    return [(site, mutation, where, bounds) for (site, mutation), where in found if chosen(site)]
