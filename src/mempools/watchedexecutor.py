"""L5: executors whose work the debug mode lockdep knows: what `mempools.lockdep.watch` makes of one."""

import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from mempools.lockdep import holds, might_wait


class WatchedExecutor(Executor):
    """An executor of threads whose work the debug mode knows under a name: from `watch`. Who waits for a result, or for its end,
    waits for all that any work handed to it waits for. As thread-safe as what it wraps."""

    def __init__(self, executor: Executor, name: str) -> None:
        self._executor = executor
        self._name = name

    def _work(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        with holds(self._name):
            return fn(*args, **kwargs)

    def _wait(self, wait: Callable[..., Any], timeout: float | None = None) -> Any:
        if timeout is None:
            might_wait(self._name)
        return wait(timeout)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As that of the executor; `result` and `exception` of what it returns raise LockOrder if that wait would close a
        circle."""
        future = self._executor.submit(self._work, fn, *args, **kwargs)
        for wait in ("result", "exception"):
            setattr(future, wait, functools.partial(self._wait, getattr(future, wait)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As that of the executor."""
        if wait:
            might_wait(self._name)
        self._executor.shutdown(wait, cancel_futures=cancel_futures)
