"""Checks the races that docs/design/races/ tells, and writes what comes of it beside this file, into races/: for each page a
table, for each execution that goes wrong a drawing as text and one as a picture. `python docs/figures/races.py`"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "races"
sys.path.insert(0, str(ROOT / "tests" / "races"))

import recreations  # noqa: E402
from cases import CASES, LITMUS, NEVER, Case  # noqa: E402

from mempools.check import render, run, scenarios, svg, wording  # noqa: E402
from mempools.check.trace import Outcome, Result, Trace  # noqa: E402


def checked(case: Case) -> Result:
    return run.check(
        case.scene,
        run.Bounds(),
        mutations=case.mutations,
        remedies=bool(case.figure),
        load_buffering=case.load_buffering,
    )


def seen(result: Result) -> str:
    if result.outcome is Outcome.PASS:
        return f"{result.executions:,}"
    if result.outcome is Outcome.FAIL:
        return f"no. {result.executions:,}"
    return f"{result.executions:,}; bound `{'`, `'.join(result.hit)}`"


def scene(case: Case) -> str:
    parts = [f"`{case.scene}`", *(f"`{site}`: {kind}" for site, kind in case.mutations)]
    return ", ".join(parts) + (", load buffering" if case.load_buffering else "")


def verdict(text: str) -> str:
    return text if text == NEVER else f"**{text}**"


def drawings(case: Case, trace: Trace) -> dict[str, str]:
    wording.COMMAND = "python tests/races"
    return {f"{case.figure}.txt": render.draw(trace) + "\n", f"{case.figure}.svg": svg.draw(trace)}


def page(name: str) -> dict[str, str]:
    files = {}
    lines = ["| variant | goes wrong | scenario | CPUs | executions |", "|---|---|---|--:|--:|"]
    for case in CASES[name]:
        result = checked(case)
        lines.append(f"| {case.what} | {verdict(case.goes_wrong)} | {scene(case)} | {result.cpus} | {seen(result)} |")
        if case.figure:
            assert result.trace is not None, f"{case.name} does not go wrong"
            files |= drawings(case, result.trace)
    if name in LITMUS:
        lines += ["", "As litmus tests, in `tests/litmus/races/`:", ""]
        lines += ["| variant | goes wrong | litmus test |", "|---|---|---|"]
        lines += [f"| {test.what} | {verdict(test.goes_wrong)} | `{test.file}` |" for test in LITMUS[name]]
    return files | {f"{name}.table": "\n".join(lines) + "\n"}


def figures() -> dict[str, str]:
    recreations.load()
    scenarios.load()
    return {name: text for each in CASES for name, text in page(each).items()}


if __name__ == "__main__":
    made = figures()
    for old in set(FOLDER.iterdir()) - {FOLDER / name for name in made}:
        old.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text)
