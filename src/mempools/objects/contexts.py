"""L4: from which contexts a caller may wait (the kernel's GFP flags and its noio scope, for Python).

A request that may wait is refused with WaitForbidden where the wait could not end: on the thread that runs an event loop, for
it would stop the task that has to free; and, for a pool, inside a callback that the pool itself has called, for the pool waits
for the callback. Where a wait is legal it may still be that pools must not do the slow things on the waiter's behalf (grow,
reclaim, write back): that is `noio`, and every callback of a pool runs inside it.

The scope is a context variable: an asyncio task that is made inside inherits it, a new thread does not, unless whoever
starts it hands `contextvars.copy_context()` on.
"""

import sys
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from mempools.errors import WaitForbidden


@dataclass(slots=True)  # not frozen: that makes one three times slower to make
class _Scope:
    pool: object | None  # whose callback it is; None: a `noio` of a user's
    waits: bool  # may the callback wait for others?
    outer: "_Scope | None"
    where: Any = ()  # the stack that entered it, for the watcher


watcher: Any = None  # of the debug mode lockdep (lockorder.py): told of waits before they begin
scope_var: ContextVar[_Scope | None] = ContextVar("mempools.scope", default=None)


class noio:
    """A scope whose code must not cause input or output, however indirectly (memalloc_noio_save in include/linux/sched/mm.h).

    Inside it pools do nothing slow on the caller's behalf: no growth, reclaim, compaction or writeback. Waiting for elements
    of a pool stays legal: they come back without I/O. Scopes nest; tasks made inside inherit it. May be entered anywhere.
    Thread-safe; it is of the entering thread or task alone."""

    def __enter__(self) -> Self:
        where = () if watcher is None else watcher.here()
        self._token = scope_var.set(_Scope(None, True, scope_var.get(), where))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope_var.reset(self._token)


class callback:
    """Entered by a pool around each callback of a user's: a noio scope in which that pool cannot be waited for."""

    __slots__ = ("_pool", "_token", "_waits")

    def __init__(self, pool: object, waits: bool) -> None:
        self._pool = pool
        self._waits = waits

    def __enter__(self) -> None:
        where: Any = ()
        if watcher is not None:
            watcher.check(watcher.callbacks_of(self._pool))
            where = watcher.here()
        self._token = scope_var.set(_Scope(self._pool, self._waits, scope_var.get(), where))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope_var.reset(self._token)


def on_event_loop() -> bool:
    asyncio = sys.modules.get(
        "asyncio"
    )  # importing it takes longer than importing mempools; not loaded: there is no loop
    return asyncio is not None and asyncio._get_running_loop() is not None


def in_noio() -> bool:
    """Is the caller inside a `noio` scope, or a callback of a pool? Any context; thread-safe."""
    return scope_var.get() is not None


def may_wait() -> bool:
    """May the caller, a callback of a pool, wait? Not at a pool's first attempt, nor for a caller that said wait=False, nor on
    an event loop's thread (gfpflags_allow_blocking in include/linux/gfp.h). Any context; thread-safe."""
    scope = scope_var.get()
    while scope is not None:
        if not scope.waits:
            return False
        scope = scope.outer
    return not on_event_loop()


def check_wait(pool: object, what: str, instead: str, timeout: float | None = None) -> None:
    """WaitForbidden unless the caller may wait for `pool`: `what` it asks for, and what to call `instead` on an event loop."""
    scope = scope_var.get()
    while scope is not None:
        if scope.pool is pool:
            raise WaitForbidden(
                f"{what} of {pool!r} inside a callback that this pool has called: the pool waits for the callback, the "
                "callback would wait for the pool; ask with wait=False, or another pool"
            )
        if not scope.waits:
            raise WaitForbidden(
                f"{what} of {pool!r} inside a callback of {scope.pool!r} that may not wait (mempools.may_wait() is False): "
                "return None, the pool asks again where waiting is allowed"
            )
        scope = scope.outer
    if on_event_loop():
        raise WaitForbidden(
            f"{what} of {pool!r} would stop the event loop of this thread, and with it the tasks that give elements back: "
            f"{instead}"
        )
    if watcher is not None and timeout is None:
        watcher.check(pool)
