"""L5: the debug mode that finds deadlocks before they happen: `mempools.lockdep`, after the kernel's (kernel/locking/lockdep.c).

What it records, and what it takes for a deadlock, is told in objects/lockorder.py. Here are the switch, the report, and what
a program wraps its own locks and workers in. All of it may stay in a program for good: while the mode is off a wrapped lock
costs one more Python call.
"""

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from mempools.errors import LockOrder
from mempools.objects import contexts, lockorder
from mempools.objects.lockorder import IO, Held, LockOrderWarning, Watcher

__all__ = [
    "IO",
    "Lock",
    "LockOrder",
    "LockOrderWarning",
    "RLock",
    "Report",
    "WatchedLock",
    "WatchedRLock",
    "checking",
    "disable",
    "enable",
    "enabled",
    "holds",
    "might_wait",
    "report",
    "watch",
]


@dataclass(frozen=True)
class Report:
    """What the debug mode has seen: names of classes, orders as pairs (who holds the first has waited for the second), and
    the text of each violation."""

    classes: tuple[str, ...]
    orders: tuple[tuple[str, str], ...]
    violations: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.classes)} classes, {len(self.orders)} orders, {len(self.violations)} violations"]
        lines += [f"{first} -> {second}" for first, second in self.orders]
        return "\n".join([*lines, *self.violations])


# ---- the switch


def enable(warn: bool = False) -> None:
    """Record waits from now on, from nothing. A circle is raised as `LockOrder` before the wait that would close it; with `warn`
    it is a `LockOrderWarning`, once, and the wait goes on. The environment's MEMPOOLS_DEBUG=lockdep does this when mempools is
    imported. What is held already is not known. Costs 10 to 20 us for each wait. Thread-safe; not for signal handlers."""
    lockorder.watch(Watcher(warn))


def disable() -> None:
    """Record nothing any more, and forget. Thread-safe."""
    lockorder.watch(None)


def enabled() -> bool:
    """Is the mode on? Any context."""
    return contexts.watcher is not None


@contextmanager
def checking(warn: bool = False) -> Any:
    """For tests: the mode is on, from nothing, for the time of a `with` block, in all threads; then as before. Not for two
    threads at once."""
    before = contexts.watcher
    enable(warn)
    try:
        yield
    finally:
        lockorder.watch(before)


def report() -> Report:
    """What has been seen since the mode was enabled; empty if it is off. Thread-safe."""
    watcher = contexts.watcher
    return Report((), (), ()) if watcher is None else Report(*watcher.picture())


# ---- what waits, and what is waited for


def might_wait(what: Any) -> None:
    """The caller may have to wait for `what`: a name that others hold with `holds`, a lock of that name, a pool, or `IO` for what
    needs input and output (might_lock, and fs_reclaim_acquire in mm/page_alloc.c). LockOrder if that would close a circle. To be
    called before the wait, also where it seldom waits. Nothing while the mode is off. Any context; thread-safe."""
    watcher = contexts.watcher
    if watcher is not None:
        watcher.check(what, holds=False)


class holds:
    """For `with`: whoever waits for `name` waits for the end of this block. A worker says so around the work that others hand
    to it and wait for; a holder of anything that others wait for says so while it has it. Of the thread or task that enters.
    Nothing while the mode is off. Thread-safe."""

    def __init__(self, name: Any) -> None:
        self._name = name
        self._held: Held | None = None

    def __enter__(self) -> Self:
        watcher = contexts.watcher
        if watcher is not None:
            watcher.check(self._name, waits=False)
            self._held = watcher.acquired(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held is not None:
            self._held.release()


class WatchedLock:
    """A lock, or semaphore, that the debug mode knows under a name: from `watch` or `Lock`. All locks of one name are one class:
    to hold one and wait for another of them is a violation. Waits with a time-out, or without blocking, are none.
    As thread-safe as what it wraps; it can be the lock of a threading.Condition."""

    def __init__(self, lock: Any, name: str) -> None:
        self._lock = lock
        self._name = name
        self._held: list[Held] = []

    _reentrant = False

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """As that of the lock. LockOrder if the wait would close a circle; the lock is not taken then."""
        watcher = contexts.watcher
        if watcher is None:
            return self._take(blocking, timeout)
        lock_class = watcher.class_of(self._name, self._reentrant)
        watcher.check(lock_class, waits=blocking and (timeout is None or timeout < 0))
        got = self._take(blocking, timeout)
        if got:
            held = watcher.acquired(lock_class)
            if held is not None:
                self._held.append(held)
        return got

    def _take(self, blocking: bool, timeout: float | None) -> bool:
        got: bool = self._lock.acquire(blocking) if timeout is None else self._lock.acquire(blocking, timeout)
        return got

    def release(self) -> None:
        """As that of the lock."""
        if self._held:
            self._held.pop().release()
        self._lock.release()

    def locked(self) -> bool:
        """As that of the lock."""
        return bool(self._lock.locked())

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<mempools.lockdep.{type(self).__name__} {self._name!r} of {self._lock!r}>"


class WatchedRLock(WatchedLock):
    """The same for a lock that its holder may take again: from `watch` or `RLock`."""

    _reentrant = True

    def __init__(self, lock: Any, name: str) -> None:
        super().__init__(lock, name)
        self._owner = 0  # the thread that has it, `_depth` times
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """As that of the lock, and of WatchedLock."""
        if self._owner == threading.get_ident():
            got = self._take(blocking, timeout)
        else:
            got = super().acquire(blocking, timeout)
        if got:
            self._owner = threading.get_ident()
            self._depth += 1
        return got

    def release(self) -> None:
        """As that of the lock."""
        if self._owner != threading.get_ident() or self._depth > 1:
            self._lock.release()  # which raises if it is not the caller's
            self._depth -= 1
            return
        self._owner = self._depth = 0
        super().release()

    # What a threading.Condition asks of such a lock.

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident()

    def _release_save(self) -> int:
        depth = self._depth
        for _ in range(depth):
            self.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        for _ in range(depth):
            self.acquire()


def Lock(name: str) -> WatchedLock:
    """A new threading.Lock that the debug mode knows under this name."""
    return WatchedLock(threading.Lock(), name)


def RLock(name: str) -> WatchedRLock:
    """A new threading.RLock that the debug mode knows under this name."""
    return WatchedRLock(threading.RLock(), name)


def watch(thing: Any, name: str) -> Any:
    """`thing` as the debug mode knows it, to be used instead of it: a lock or semaphore of threads or processes (whatever has
    acquire and release), or an executor of threads (whatever has submit). TypeError for anything else."""
    if hasattr(thing, "submit"):
        from mempools.watchedexecutor import WatchedExecutor  # whoever has one has imported concurrent.futures: slow

        return WatchedExecutor(thing, name)
    if not (hasattr(thing, "acquire") and hasattr(thing, "release")) or type(thing).__module__.startswith("asyncio"):
        raise TypeError(
            f"{thing!r} is no lock of threads (acquire, release) and no executor (submit): say holds() and might_wait() yourself"
        )
    return (WatchedRLock if "RLock" in type(thing).__name__ else WatchedLock)(thing, name)


if "lockdep" in os.environ.get("MEMPOOLS_DEBUG", "").split(","):
    enable()
