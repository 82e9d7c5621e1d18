"""`mempools check` without an arena: the model checker over the scenarios of the core."""

import argparse
import fnmatch
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mempools.check import export, mutants, parallel, render, report, run, scenarios, svg
from mempools.check.explorer import Explorer
from mempools.check.scenes import scenes
from mempools.check.terminal import Terminal
from mempools.check.trace import Outcome, Result, Trace


def add_arguments(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("the model checker, over all scenarios if no NAME is given")
    group.add_argument("--list", action="store_true", help="list the scenarios")
    group.add_argument(
        "--mutants", nargs="?", const="*", metavar="SITES", help="weaken each barrier: some scenario must fail"
    )
    group.add_argument("--replay", metavar="STRING", help="run the one execution that a failure printed")
    group.add_argument("--mutation", action="append", default=[], metavar="'SITE: KIND'", help="weaken a site")
    group.add_argument("--load-buffering", action="store_true", help="let stores run ahead of earlier loads")
    group.add_argument("--no-reduction", action="store_true", help="try every order, to compare with")
    group.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that share the work")
    group.add_argument("--svg", metavar="FILE", help="draw the failure there too")
    group.add_argument("--litmus", metavar="FILE", help="write the failure as a litmus test there too")
    group.add_argument("--all", action="store_true", help="draw the steps that do not matter too")
    for name in ("steps", "executions", "seconds", "spins", "preemptions"):
        group.add_argument(f"--{name}", type=int, metavar="N", help=f"bound; {run.variable(name)}")


def is_wanted(args: argparse.Namespace) -> bool:
    """Are these arguments for the checker? A NAME that is a scenario's is."""
    scenarios.load()
    return (
        not args.name
        or bool(_chosen(args.name))
        or any((args.list, args.mutants, args.replay, args.mutation, args.svg, args.litmus))
    )


def _chosen(patterns: Sequence[str]) -> list[str]:
    if any(pattern.startswith("toys.") for pattern in patterns):
        importlib.import_module("mempools.check.toys")  # the checker's own, which nobody wants to see otherwise
    names = sorted(name for name, *_ in scenes())
    return [name for name in names if not patterns or any(fnmatch.fnmatchcase(name, p) for p in patterns)]


def main(args: argparse.Namespace) -> int:
    scenarios.load()
    names = _chosen(args.name)
    if not names:
        raise ValueError(f"no scenario is called {' or '.join(args.name)}; `mempools check --list` names them")
    if args.list:
        return _list(names, args.json)
    bounds = run.Bounds.of_environment(
        **{name: getattr(args, name) for name in ("steps", "executions", "seconds", "spins", "preemptions")}
    )
    if args.mutants is not None:
        # A mutant that is noticed is noticed soon; one that spins has no end.
        few = {"executions": args.executions or 1_000_000, "seconds": args.seconds or 20}
        return _mutants(names, args.mutants, replace(bounds, **few), args.json, args.jobs, every_site=not args.name)
    mutations = [_mutation(text) for text in args.mutation]
    if unknown := [site for site, _ in mutations if site[1:2] == ":" and site not in mutants.labelled_sites("check")]:
        raise ValueError(f"no operation has the site {' or '.join(unknown)}; --mutants lists them")
    terminal = Terminal.of(sys.stdout)
    if args.replay is not None:
        if len(names) != 1:
            raise ValueError("a replay string belongs to one scenario: name it")
        trace = run.replay(names[0], args.replay, bounds, mutations, load_buffering=args.load_buffering)
        print(render.draw(trace, terminal, fold=not args.all))
        _save(args, trace)
        return 0
    if args.jobs > 1 and len(names) > 1:
        # A scenario each: to split a tree costs more than it brings, but for a large one.
        results = _check_beside(names, bounds, mutations, args)
    else:
        results = [_check(name, bounds, mutations, args) for name in names]
    if args.json:
        print(json.dumps([export.as_json(result) for result in results], indent=2))
    else:
        for result in results:
            if result.trace is not None:
                print(render.draw(result.trace, terminal, fold=not args.all), end="\n\n")
        print(report.table(results, terminal))
    for result in results:
        if result.trace is not None:
            _save(args, result.trace)
    return 1 if any(result.outcome is not Outcome.PASS for result in results) else 0


def _save(args: argparse.Namespace, trace: Trace) -> None:
    """To the files that were asked for."""
    if args.svg is not None:
        Path(args.svg).write_text(svg.draw(trace, fold=not args.all), encoding="utf-8")
    if args.litmus is not None:
        Path(args.litmus).write_text(export.litmus(trace), encoding="utf-8")


def _mutation(text: str) -> run.Mutation:
    site, colon, kind = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} is no mutation: write 'SITE: KIND', as in 'A:ownermap.claim: relax'")
    return site.strip(), kind.strip()


def _list(names: Sequence[str], as_json: bool) -> int:
    chosen = [scene for scene in sorted(scenes()) if scene[0] in names]
    if as_json:
        keys = ("name", "about", "races", "cpus")
        print(json.dumps([dict(zip(keys, scene, strict=True)) for scene in chosen], indent=2))
        return 0
    width = max(map(len, names))
    for name, about, races, cpus in chosen:
        print(f"{name:<{width}}  {cpus} CPUs  {about}" + (f"  ({races})" if races else ""))
    return 0


def _check(name: str, bounds: run.Bounds, mutations: Sequence[run.Mutation], args: argparse.Namespace) -> Result:
    options = {"load_buffering": args.load_buffering, "reduction": not args.no_reduction}
    if args.jobs > 1:
        return parallel.check(name, bounds, args.jobs, mutations=mutations, **options)
    progress = report.ProgressLine(name, sys.stderr)

    def watch(explorer: Explorer, seconds: float) -> None:
        progress.update(explorer.counts["executions"], explorer.progress)

    try:
        return run.check(name, bounds, mutations=mutations, watch=watch, **options)
    finally:
        progress.clear()


_Job = tuple[str, run.Bounds, Sequence[run.Mutation], dict[str, Any]]


def _check_one(job: _Job) -> Result:
    name, bounds, mutations, options = job
    return run.check(name, bounds, mutations=mutations, **options)


def _check_beside(
    names: Sequence[str], bounds: run.Bounds, mutations: Sequence[run.Mutation], args: argparse.Namespace
) -> list[Result]:
    options = {"load_buffering": args.load_buffering, "reduction": not args.no_reduction}
    with parallel.workers(args.jobs) as pool:
        return pool.map(_check_one, [(name, bounds, mutations, options) for name in names], chunksize=1)


def _mutants(
    names: Sequence[str], sites: str, bounds: run.Bounds, as_json: bool, jobs: int, *, every_site: bool
) -> int:
    """A line for each mutant as it is tried; exit status 1 if one survives without a reason, or a site is not executed."""
    tried = []
    for mutant in mutants.try_all(
        names, bounds, lambda site: fnmatch.fnmatchcase(site, sites), jobs, every_site=every_site
    ):
        tried.append(mutant)
        if not as_json:
            told = mutant.reason or mutant.scenario
            if mutant.outcome in ("survived", "unknown") and not mutant.reason:
                told = f"not noticed by {mutant.scenario}"
            print(f"{mutant.outcome:<12}  {mutant.site:<28}  {mutant.mutation:<13}  {told}".rstrip(), flush=True)
    if as_json:
        print(json.dumps([asdict(mutant) for mutant in tried], indent=2))
    else:
        outcomes = [mutant.outcome for mutant in tried]
        order = ("killed", "equivalent", "exempt", "survived", "unknown", "not executed")
        counts = ", ".join(f"{outcomes.count(o)} {o}" for o in order if o in outcomes)
        made = [mutant.site for mutant in tried if mutant.mutation]
        print(f"{len(made)} mutants of {len(set(made))} sites: {counts}")
    return 1 if any(mutant.outcome in ("survived", "unknown", "not executed") for mutant in tried) else 0
