"""L4: the debug mode "lockdep": who waits for what while providing what, over the life of the process.

A *class* is what somebody can wait for: a lock of a user's, the elements of a pool, work that a thread does, input and output,
the event loop. While a thread or task *holds* a class, those who wait for it wait for that thread. When it then waits for
another class, an *order* is recorded, once for each pair, with both stacks. A circle of orders is a deadlock that has not
happened yet: it is reported when its last order would be recorded, before the wait, although the others may be long past.

- Work that is handed to a thread is a class that the thread holds while it works. So a wait for the thread is a wait for all
  that its work waits for, and giving work away hides nothing.
- A `noio` scope holds IO: input and output may be waiting for it. What needs IO waits for it.
- A callback of a pool is held while it runs; calling the pool waits for it.
- The event loop is held by whatever blocks its thread; what a task holds, after waiting without blocking, waits for the loop.
- Destructors and signal handlers interrupt those who hold things: a class that is waited for in ordinary code waits for them.
  Known as such are `__del__`, `weakref.finalize` and handlers of `signal`; weakref callbacks and `gc.callbacks` are not.

Waits with a time-out end by themselves and are left out, as are attempts without waiting; what they get is held like the rest.

In this module no Python code of others runs but by chance (a collection, a signal): what such code does is not recorded.
"""

import _signal  # type: ignore[import-not-found]  # signal's own getsignal takes ten times as long
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

from mempools.errors import LockOrder
from mempools.objects import contexts
from mempools.objects.holders import current_name
from mempools.objects.poolobject import watch_waits

_DEPTH = 8  # frames of a stack in a report

Stack = tuple[tuple[CodeType, int], ...]  # innermost first


class LockOrderWarning(RuntimeWarning):
    """What LockOrder says, where the debug mode was told to warn."""


@dataclass(frozen=True)
class Context:
    """What code is in, and others wait for: a class in each watcher."""

    name: str
    holding: str
    reentrant: bool = True


@dataclass(slots=True, eq=False)
class LockClass:
    """Something that can be waited for."""

    name: str
    holding: str  # what is said of whoever holds it
    reentrant: bool = False  # whoever holds it may ask again
    after: "dict[LockClass, Order]" = field(default_factory=dict)  # what its holders have waited for
    refused: "dict[LockClass, str]" = field(default_factory=dict)  # orders that would close a circle, and what was said
    callbacks: "LockClass | None" = None  # of a pool


@dataclass(slots=True, eq=False)
class Held:
    """A class that a thread or task holds since `stack`."""

    lock_class: LockClass
    who: str
    stack: Stack
    home: "list[Held]"

    def release(self) -> None:
        """From any thread; again does nothing."""
        try:
            self.home.remove(self)
        except ValueError:
            pass


@dataclass(slots=True, eq=False)
class Order:
    """Somebody waited for `second` while `first` was held."""

    first: LockClass
    second: LockClass
    who: str
    held_at: Stack
    waited_at: Stack

    def text(self, when: str) -> str:
        return (
            f"  {self.first.name} -> {self.second.name}: {self.who} {when}\n"
            f"    {self.first.name} held since\n{_stack_text(self.held_at)}"
            f"    {self.second.name} waited for at\n{_stack_text(self.waited_at)}"
        )


IO = Context("I/O", "is inside noio, so that I/O may be waiting for it", False)
LOOP = Context("the event loop", "blocks the event loop")
DESTRUCTOR = Context("a destructor", "is in a destructor")
HANDLER = Context("a signal handler", "is in a signal handler")
_SIGNALS = range(1, _signal.NSIG)
_FINALIZER = weakref.finalize.__call__.__code__


@dataclass(slots=True)
class _Place:
    """Where the caller is."""

    stack: Stack
    destructor: bool
    handler: bool


def _stack_text(stack: Stack) -> str:
    import linecache  # seldom needed

    lines = []
    shown = [each for each in stack if each[0].co_filename != threading.__file__]
    for code, number in reversed(shown[:_DEPTH]):
        lines.append(f'      File "{code.co_filename}", line {number}, in {code.co_name}\n')
        source = linecache.getline(code.co_filename, number).strip()
        if source:
            lines.append(f"        {source}\n")
    return "".join(lines) or "      (not known)\n"


def _stack() -> list[tuple[CodeType, int]]:
    """The caller's stack from the first frame that is not of this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mempools."):
        frame = frame.f_back
    stack = []
    while frame is not None:
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return stack


def _handlers() -> Iterable[Any]:
    """What signals are handled with: few things, mostly the same for all."""
    try:
        return dict.fromkeys(map(_signal.getsignal, _SIGNALS))
    except TypeError:  # one cannot be hashed
        return map(_signal.getsignal, _SIGNALS)


def _place() -> _Place:
    stack = _stack()
    handlers = set()
    if threading.current_thread() is threading.main_thread():
        handlers = {each.__code__ for each in _handlers() if type(each) in (FunctionType, MethodType)}
    return _Place(
        tuple(stack),
        any(code.co_name == "__del__" or code is _FINALIZER for code, _ in stack),
        any(code in handlers for code, _ in stack),
    )


def _task() -> Any:
    """The task that runs on this thread, None if there is none."""
    asyncio = sys.modules.get("asyncio")  # not loaded: there is no task
    if asyncio is None or asyncio._get_running_loop() is None:
        return None
    return asyncio.current_task()


class _Mine(threading.local):
    """Of one thread."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.busy = False  # in here, so that what interrupts it stays out


_mine = _Mine()


class Watcher:
    """The orders of this process. `warns`: a circle is a LockOrderWarning, once, and the wait goes on; else LockOrder is raised
    each time. Thread-safe; may be called from destructors and signal handlers."""

    def __init__(self, warns: bool) -> None:
        self.warns = warns
        self.violations: list[str] = []
        self.classes: dict[Any, LockClass] = {}
        self._of_objects: weakref.WeakKeyDictionary[Any, LockClass] = weakref.WeakKeyDictionary()
        self._tasks: weakref.WeakKeyDictionary[Any, list[Held]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def forked(self) -> None:
        """This is the child: whoever had the lock is not here."""
        self._lock = threading.Lock()

    def picture(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
        """Names of the classes, of the orders, and what was reported. Not that what is held can be interrupted: all can."""
        interrupts = self.class_of(DESTRUCTOR), self.class_of(HANDLER)
        before, _mine.busy = _mine.busy, True
        try:
            with self._lock:
                classes = list(self.classes.copy().values())  # others add to it meanwhile
                orders = sorted((one.name, two.name) for one in classes for two in one.after if two not in interrupts)
                return tuple(sorted(each.name for each in classes)), tuple(orders), tuple(self.violations)
        finally:
            _mine.busy = before

    # ---- classes

    def class_of(self, what: Any, reentrant: bool = False) -> LockClass:
        """The class of a name, or of a pool: of all its openings in this process."""
        if isinstance(what, LockClass):
            return what
        if isinstance(what, Context):
            return self._class(what, what.name, what.holding, what.reentrant)
        if isinstance(what, str):
            name = repr(what)
        else:
            name = f"{type(what).__name__.removeprefix('Block')} {getattr(what, 'name', '')!r}"
            arena = getattr(what, "arena", None)
            if arena is None:
                return self._of_object(what, name)
            return self._class((name, arena.id), name, f"holds an element of {name}", False)
        return self._class(what, name, f"holds {name}", reentrant)

    def _class(self, key: Any, name: str, holding: str, reentrant: bool) -> LockClass:
        found = self.classes.get(key)
        return found or self.classes.setdefault(key, LockClass(name, holding, reentrant))

    def _of_object(self, what: Any, name: str) -> LockClass:
        holding = f"holds an element of {name}"
        try:
            found = self._of_objects.get(what)
        except TypeError:  # cannot be referred to weakly: all of its type are one
            return self._class(type(what), name, holding, False)
        if found is None:
            found = self._of_objects.setdefault(what, LockClass(name, holding))
            self.classes[found] = found
        return found

    def callbacks_of(self, pool: Any) -> LockClass:
        lock_class = self.class_of(pool)
        if lock_class.callbacks is None:
            name = f"a callback of {lock_class.name}"
            lock_class.callbacks = self._class(name, name, f"is inside {name}", True)
        return lock_class.callbacks

    # ---- what happens

    def here(self) -> Stack:
        """The caller's stack, for a scope that begins."""
        return tuple(_stack())

    def check(self, what: Any, *, waits: bool = True, holds: bool = True, task: bool = False) -> None:
        """The caller is about to wait for `what` (if `waits`), and to hold it then (if `holds`). `task`: it waits without
        blocking its thread. LockOrder if others wait for the caller meanwhile, as far as has ever been seen."""
        if _mine.busy:
            return
        _mine.busy = True
        try:
            place = _place()
            wanted = self.class_of(what)
            if waits:
                for held in self._held_now(place, task):
                    self._note(held.lock_class, wanted, held.who, held.stack, place)
            if holds and not wanted.reentrant:
                who = current_name()
                if not place.destructor:
                    self._note(wanted, self.class_of(DESTRUCTOR), who, place.stack, place)
                if not place.handler and threading.current_thread() is threading.main_thread():
                    self._note(wanted, self.class_of(HANDLER), who, place.stack, place)
                if task:
                    self._note(wanted, self.class_of(LOOP), who, place.stack, place)
        finally:
            _mine.busy = False

    def acquired(self, what: Any) -> Held | None:
        """The caller's thread or task holds `what` from now on, until `release` of what this returns."""
        if _mine.busy:
            return None
        _mine.busy = True
        try:
            task = _task()
            home = _mine.held if task is None else self._tasks.setdefault(task, [])
            held = Held(self.class_of(what), current_name(), tuple(_stack()), home)
            home.append(held)
            return held
        finally:
            _mine.busy = False

    def _held_now(self, place: _Place, task: bool) -> Iterator[Held]:
        """All that waits for the caller."""
        who = current_name()
        yield from list(_mine.held)
        running = _task()
        if running is not None:
            yield from list(self._tasks.get(running, ()))
        if contexts.on_event_loop() and not task:
            yield Held(self.class_of(LOOP), who, place.stack, [])
        scope = contexts.scope_var.get()
        while scope is not None:
            yield Held(self.class_of(IO), who, scope.where, [])
            if scope.pool is not None:
                yield Held(self.callbacks_of(scope.pool), who, scope.where, [])
            scope = scope.outer
        if place.destructor:
            yield Held(self.class_of(DESTRUCTOR), who, place.stack, [])
        if place.handler:
            yield Held(self.class_of(HANDLER), who, place.stack, [])

    # ---- the orders

    def _note(self, first: LockClass, second: LockClass, who: str, held_at: Stack, place: _Place) -> None:
        if second in first.after or (first is second and first.reentrant):
            return
        with self._lock:
            said = first.refused.get(second)
            if said is None:
                order = Order(first, second, who, held_at, place.stack)
                path = self._path(second, first)
                if path is None:
                    first.after[second] = order
                    return
                said = self._say(order, path)
                first.refused[second] = said
                self.violations.append(said)
            elif self.warns:
                return
        if not self.warns:
            raise LockOrder(said)
        warnings.warn(said, LockOrderWarning, stacklevel=2)

    def _path(self, start: LockClass, end: LockClass) -> list[Order] | None:
        """The shortest chain of orders from one class to another, empty from one to itself; None if there is none."""
        if start is end:
            return []
        came: dict[LockClass, Order] = {}
        queue = [start]
        for each in queue:
            for after, order in each.after.items():
                if after not in came and after is not start:
                    came[after] = order
                    queue.append(after)
                    if after is end:
                        path = [order]
                        while path[0].first is not start:
                            path.insert(0, came[path[0].first])
                        return path
        return None

    def _say(self, order: Order, path: list[Order]) -> str:
        first, second = order.first, order.second
        head = f"{order.who} would wait for {second.name} while it {first.holding}"
        if path:
            head += "".join(
                f", and somebody who {each.first.holding} has waited for {each.second.name} ({each.who})"
                for each in path
            )
            head += ": when they meet, each waits for the other for ever"
        else:
            head += ", which is the same: that wait need never end"
        circle = " -> ".join([first.name, *(each.first.name for each in path), first.name])
        return f"{head}\n{circle}\n{order.text('now')}" + "".join(each.text("before") for each in path).rstrip()


def watch(watcher: Watcher | None) -> None:
    """From now on `watcher` is told of waits; None: nobody is."""
    contexts.watcher = watcher
    watch_waits(watcher is not None)


def _after_fork_in_child() -> None:
    if contexts.watcher is not None:
        contexts.watcher.forked()
    _mine.busy = False


os.register_at_fork(after_in_child=_after_fork_in_child)
