"""Litmus tests: what the kernel's memory model allows, asked of the checker's own memory.

    result = run(path)
    result.verdict       "Never", "Sometimes" or "Always": how many executions satisfy the condition
    result.states        distinct final states, as far as the test names them

or "unsupported" (the test has something in it that is not handled: `note` names it), "unknown" (a bound was hit, or time
was up) or "error" (the file is malformed).
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mempools.check.litmuscond import function
from mempools.check.litmusfile import read
from mempools.check.litmuslex import LitmusError, Unsupported
from mempools.check.litmuslower import lower
from mempools.check.litmusrun import Run

_EXECUTIONS_AT_A_TIME = 5000


@dataclass(slots=True)
class Result:
    path: str
    verdict: str
    states: int = 0
    executions: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def decided(self) -> bool:
        return self.verdict in ("Never", "Sometimes", "Always")


def run(path: str, *, promises: bool = True, timeout: float | None = None, broken: int = 0) -> Result:
    """Explores the test in a file; OSError if it cannot be read."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    began = time.perf_counter()
    try:
        result = explore(text, promises=promises, timeout=timeout, broken=broken)
    except Unsupported as error:
        result = Result("", "unsupported", note=str(error))
    except LitmusError as error:
        result = Result("", "error", note=str(error))
    result.path = path
    result.seconds = time.perf_counter() - began
    return result


def explore(text: str, *, promises: bool = True, timeout: float | None = None, broken: int = 0) -> Result:
    """Explores the test in a text, with the rules of the model broken that `broken` says (views.RULES); Unsupported or
    LitmusError if it is none that can be run."""
    test = read(text)
    program = lower(test)
    exploration = Run(program, promises=promises, broken=broken)
    deadline = None if timeout is None else time.monotonic() + timeout
    status = "more"
    while status == "more" and (deadline is None or time.monotonic() < deadline):
        status = exploration.run(_EXECUTIONS_AT_A_TIME)
    column = {place: number for number, place in enumerate(program.places)}
    counts = function(test.filter, column, program.memory.address)
    holds = function(test.condition, column, program.memory.address)
    states = [state for state in exploration.states if counts(state)]
    satisfying = sum(map(holds, states))
    result = Result("", "Never", len(states), exploration.executions)
    if satisfying:
        result.verdict = "Always" if satisfying == len(states) else "Sometimes"
    if status == "failed":
        result.verdict, result.note = "unknown", exploration.why
    elif status == "more":
        result.verdict, result.note = "unknown", f"more than {timeout:g} s"
    elif exploration.bounds:
        result.verdict, result.note = "unknown", f"bound hit: {', '.join(exploration.bounds)}"
    return result


def files(paths: list[str]) -> Iterator[str]:
    """The paths; for a directory, all the litmus files below it."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".litmus"):
                    yield os.path.join(folder, name)
