"""The checker for protocols of one's own: bodies in Python, over words, pools and arenas that hang on an object.

    class Handoff:
        def __init__(self):
            self.data, self.flag = Word(), Word()

        def writer(self):
            self.data.write_once(1)
            self.flag.store_release(1)

        def reader(self):
            if self.flag.load_acquire():
                assert self.data.read_once() == 1

    check(Handoff, ["writer", "reader"])

Every execution has an object of its own, made by the class. The bodies run in one thread, each until its next operation on
shared memory; that needs greenlet: `pip install mempools[check]`.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace as replaced
from operator import methodcaller
from types import ModuleType
from typing import Any

from mempools.check import render, report, run
from mempools.check.fibers import FiberExplorer
from mempools.check.terminal import Terminal
from mempools.check.trace import Outcome, Result, Trace
from mempools.check.word import cpu_relax

MAX_CPUS = 8

Body = str | tuple[Any, ...] | Callable[[Any], object]


def check(
    scenario: Callable[[], Any],
    cpus: Sequence[Body],
    *,
    at_end: Body | None = None,
    dies: Iterable[str] = (),
    deaths: int = 1,
    interrupts: Mapping[str, Body] | None = None,
    races: bool = True,
    load_buffering: bool = False,
    executions: int | None = None,
    seconds: int | None = None,
    steps: int | None = None,
    spins: int | None = None,
    preemptions: int | None = None,
    name: str | None = None,
    replay: str | None = None,
    remedies: bool = True,
    watch: run.Watch | None = None,
) -> Result:
    """Explore every execution of the bodies `cpus`, each on a simulated CPU of its own, under the Linux kernel's memory model.

    `scenario()` makes the object that one execution is about. A body is the name of one of its methods, a tuple of a name
    and arguments, or anything that is called with the object; at most 8. What a body raises is a failure, and so is what
    `at_end` raises, a body that runs when all the others have ended.

    `dies`: names of CPUs whose process may be killed before any of its steps, at most `deaths` of them in one execution.
    `interrupts`: for a CPU's name, a body that runs on it once, between any two of its steps. `races`: plain accesses that
    may meet are failures. `load_buffering`: explore also the executions in which a store runs ahead of an earlier load.

    `executions`, `seconds`, `steps` (of one execution), `spins` (turns of a loop that waits and writes) and `preemptions`
    bound the search; where they are not given, the environment variables MEMPOOLS_CHECK_EXECUTIONS and so on, or
    defaults. The result is PASS: all was explored; FAIL, with a trace; or UNKNOWN: a bound was hit, which it names.

    `replay`, from a failure, runs that execution alone: FAIL or UNKNOWN, with its trace. `remedies` looks for barriers
    that would forbid a failure. `watch(explorer, seconds)` is called from time to time.

    What is wrong with the scenario itself is raised: whatever the constructor raises, RuntimeError for bodies that do not
    do the same again. One exploration at a time in a process; no other thread may use the scenario's memory meanwhile.
    """
    bounds = run.Bounds.of_environment(
        executions=executions, seconds=seconds, steps=steps, spins=spins, preemptions=preemptions
    )
    names = _names(cpus)
    handlers = {_known(name, names, "interrupts"): _body(body) for name, body in (interrupts or {}).items()}
    _try_out(scenario, [*cpus, *(interrupts or {}).values(), *([] if at_end is None else [at_end])])
    explorer = FiberExplorer(
        name or getattr(scenario, "__qualname__", type(scenario).__qualname__).rpartition(".")[2],
        scenario,
        names,
        [_body(body) for body in cpus],
        [handlers.get(cpu) for cpu in range(len(names))],
        greenlets(),
        at_end=None if at_end is None else _body(at_end),
        dies={_known(name, names, "dies") for name in ([dies] if isinstance(dies, str) else dies)},
        deaths=deaths,
        races=races,
        load_buffering=load_buffering,
        steps=bounds.steps,
        spins=bounds.spins,
        preemptions=None if bounds.preemptions < 0 else bounds.preemptions,
    )
    if replay is not None:
        return _replayed(explorer, bounds, replay)
    state, hit, took = run.explore(explorer, bounds, watch)
    error = explorer.error if state == "failed" else None
    result = run.result_of(explorer, bounds, state, hit, took, remedies=remedies)
    return replaced(result, trace=_told(result.trace), error=error)


def assert_passes(scenario: Callable[[], Any], cpus: Sequence[Body], **options: Any) -> Result:
    """As `check`, for tests: AssertionError, with the failure drawn or the bound named, if the result is not PASS."""
    result = check(scenario, cpus, **options)
    if result.outcome is not Outcome.PASS:
        raise AssertionError(f"\n{draw(result)}") from result.error
    return result


def draw(result: Result, terminal: Terminal | None = None) -> str:
    """The failing execution, if there is one, and a line that says what the check came to."""
    line = report.line(result, terminal)
    return line if result.trace is None else f"{render.draw(result.trace, terminal)}\n\n{line}"


def spin_until(condition: Callable[[], Any], /) -> Any:
    """Wait until `condition()`, which reads shared words, is true, and return what it is."""
    while not (value := condition()):
        cpu_relax()
    return value


def greenlets() -> ModuleType:
    """The module that bodies run on; ImportError if it is not installed."""
    try:
        import greenlet
    except ImportError as error:
        raise ImportError(f"bodies in Python run on greenlets ({error}): pip install mempools[check]") from error
    return greenlet


# ---- what check is given ----


def _names(cpus: Sequence[Body]) -> list[str]:
    """What to call each CPU: as its body, numbered where several have the same."""
    if isinstance(cpus, str) or not 1 <= len(cpus) <= MAX_CPUS:
        raise ValueError(f"cpus: a list of 1 to {MAX_CPUS} bodies, not {cpus!r}")
    names = [_name(body) for body in cpus]
    count, seen = Counter(names), Counter[str]()
    for cpu, name in enumerate(names):
        if count[name] > 1:
            names[cpu] = f"{name} {seen[name]}"
            seen[name] += 1
    return names


def _name(body: Body) -> str:
    if isinstance(body, tuple):
        return f"{body[0]}({', '.join(map(repr, body[1:]))})" if body else "()"
    return body if isinstance(body, str) else getattr(body, "__name__", type(body).__name__)


def _known(name: str, names: Sequence[str], where: str) -> int:
    if name not in names:
        raise ValueError(f"{where}: there is no CPU {name!r}; there are {', '.join(names)}")
    return names.index(name)


def _body(body: Body) -> Callable[[Any], object]:
    if isinstance(body, str):
        return methodcaller(body)
    return methodcaller(body[0], *body[1:]) if isinstance(body, tuple) else body


def _try_out(scenario: Callable[[], Any], bodies: Iterable[Body]) -> None:
    """Makes one object, and looks whether the bodies are some: what is wrong here is told before anything runs."""
    if not callable(scenario):
        raise TypeError(f"the scenario is called to make an object for each execution; {scenario!r} cannot be called")
    made = scenario()
    for body in bodies:
        if isinstance(body, tuple) and not (body and isinstance(body[0], str)):
            raise TypeError(f"{body!r} is no body: a tuple is a method's name and its arguments")
        method = getattr(made, body if isinstance(body, str) else body[0]) if isinstance(body, str | tuple) else body
        if not callable(method):
            raise TypeError(f"{body!r} is no body: it cannot be called")
        kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        if any(kind(method) for kind in kinds):
            raise TypeError(f"{body!r} is no body: calling a coroutine or a generator runs nothing of it")


# ---- what check gives ----


def _told(trace: Trace | None) -> Trace | None:
    if trace is None:
        return None
    return replaced(trace, again=f'check(..., replay="{trace.replay}"), its other arguments as they were')


def _replayed(explorer: FiberExplorer, bounds: run.Bounds, path: str) -> Result:
    trace = run.trace_of(explorer, path, [], [])
    return Result(
        scenario=explorer.scene,
        outcome=Outcome.FAIL if trace.violation else Outcome.UNKNOWN,
        cpus=len(trace.cpus),
        executions=1,
        graphs=0,
        blocked=0,
        steps=len(trace.steps),
        seconds=0.0,
        bounds=bounds.described(),
        trace=_told(trace),
        error=explorer.error,
    )
