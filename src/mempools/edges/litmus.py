"""`mempools litmus`: litmus tests from the command line, in a table, as CSV or JSON, and against known verdicts."""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context

from mempools.check import litmus
from mempools.check.litmus import Result, files

__all__ = ["Expected", "command", "files", "results"]

COLUMNS = ("file", "verdict", "final_states", "executions", "seconds")


def results(paths: list[str], *, promises: bool, timeout: float | None, jobs: int) -> Iterator[Result]:
    """Of each file, in order."""
    run = partial(_run, promises=promises, timeout=timeout)
    if jobs < 2 or len(paths) < 2:
        yield from map(run, paths)
        return
    # Spawned: the threads of this process are not copied, and what a worker explores is its own.
    with ProcessPoolExecutor(min(jobs, len(paths)), mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(run, paths)
        finally:
            pool.shutdown(cancel_futures=True)


def _run(path: str, *, promises: bool, timeout: float | None) -> Result:
    """An error of the file is its result: the others are run all the same."""
    try:
        return litmus.run(path, promises=promises, timeout=timeout)
    except OSError as error:
        return Result(path, "error", note=error.strerror or str(error))


def shown_name(path: str, given: list[str]) -> str:
    """As the files of one directory are known in a list of verdicts: relative to it."""
    return os.path.relpath(path, given[0]) if len(given) == 1 and os.path.isdir(given[0]) else path


def row(result: Result, name: str) -> tuple[str, ...]:
    if not result.decided:
        return name, result.verdict, "", str(result.executions or ""), f"{result.seconds:.3f}"
    return name, result.verdict, str(result.states), str(result.executions), f"{result.seconds:.3f}"


def csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def table_line(result: Result, name: str, width: int) -> str:
    if result.note:
        return f"{name:<{width}}  {result.verdict}: {result.note}"
    return (
        f"{name:<{width}}  {result.verdict:<9} {result.states:>5} states  {result.executions:>8} executions "
        f"{result.seconds:>8.3f} s"
    )


def json_row(result: Result, name: str) -> dict[str, object]:
    found = asdict(result)
    found["file"] = name
    del found["path"]
    return found


# ---- known verdicts


class Expected:
    """A list of verdicts: columns file (relative to the list), verdict, and final_states or nothing."""

    def __init__(self, path: str) -> None:
        folder = os.path.dirname(os.path.abspath(path))
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"file", "verdict"} <= set(rows[0]):
            raise ValueError(f"{path}: a list of verdicts has the columns file, verdict and final_states")
        self._rows = {os.path.normpath(os.path.join(folder, row["file"])): row for row in rows}
        self.nr_agreeing = 0
        self.nr_differing = 0
        self.nr_undecided = 0
        self.nr_unknown = 0  # files that are not in the list

    def difference(self, result: Result) -> str | None:
        """How a result differs from what is expected, if it does; counts."""
        wanted = self._rows.get(os.path.abspath(result.path))
        if wanted is None:
            self.nr_unknown += 1
            return None
        if not result.decided:
            self.nr_undecided += 1
            return None
        states = wanted.get("final_states") or str(result.states)
        if (result.verdict, str(result.states)) == (wanted["verdict"], states):
            self.nr_agreeing += 1
            return None
        self.nr_differing += 1
        return f"{result.verdict} with {result.states} states, expected {wanted['verdict']} with {states}"

    def summary(self) -> str:
        parts = [f"{self.nr_agreeing} as expected", f"{self.nr_differing} different", f"{self.nr_undecided} undecided"]
        if self.nr_unknown:
            parts.append(f"{self.nr_unknown} not in the list")
        return ", ".join(parts)


# ---- the command


def command(args: argparse.Namespace, put: Callable[[str], None], warn: Callable[[str], None]) -> int:
    """The exit status. Lines of results go to `put`, others to `warn`."""
    expected = Expected(args.expect) if args.expect else None
    paths = list(files(args.path))
    if not paths:
        raise ValueError(f"there is no file *.litmus below {' or '.join(args.path)}")
    names = [shown_name(path, args.path) for path in paths]
    width = max(map(len, names), default=0)
    if args.csv:
        put(csv_line(COLUMNS))
    status = 0
    rows = []
    found = results(paths, promises=args.promises, timeout=args.timeout or None, jobs=args.jobs)
    for name, result in zip(names, found, strict=True):
        if result.verdict == "error":
            status = 1
        difference = expected.difference(result) if expected else None
        if args.json:
            rows.append(json_row(result, name) | ({"difference": difference} if difference else {}))
        elif args.csv:
            put(csv_line(row(result, name)))
        elif expected is None:
            put(table_line(result, name, width))
        elif difference:
            put(f"{name}: {difference}")
        if result.note and (args.csv or expected) and not args.json:
            warn(f"{name}: {result.verdict}: {result.note}")
        sys.stdout.flush()
    if args.json:
        put(json.dumps(rows, indent=2))
    if expected:
        warn(expected.summary())
        status = 1 if expected.nr_differing else status
    return status
