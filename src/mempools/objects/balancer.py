"""L4: who maintains a PerCpu's pages while the program goes on: a thread that lives as long as there is something to do.

It is started by requests that may not wait, when they fail or leave few pages, and by this process's frees, when a unit's worth
of memory has come back to a pool of several chunks. Nothing depends on it: whoever may wait needs no pages ready, and any
process's maintenance serves all. If it dies, or its process, the next one goes on where it was.
"""

import math
import time
from typing import Any

from mempools.errors import PoolError
from mempools.objects import contexts
from mempools.objects.worker import Worker

_RETRY = 0.01  # seconds after a maintenance that found no room, until a request starts another


class Balancer:
    """Of one PerCpu object. Thread-safe; `wake` is legal in any context."""

    _next_try = math.inf  # of one that the collector has cleared, with its pool and the areas that are freed now

    def __init__(self) -> None:
        self._worker = Worker()
        self._next_try = 0.0

    def wake(self, pool: Any) -> None:
        """See to it that the pool is maintained soon."""
        ticket = object()
        if time.monotonic() < self._next_try or self._worker.take(ticket) is not ticket:
            return
        try:
            self._worker.start(lambda: self._run(pool))
        except RuntimeError:  # no more threads, or the interpreter ends: the next request tries again
            self._worker.end()

    @property
    def busy(self) -> bool:
        """Is the thread at work?"""
        return self._worker.ticket is not None

    def _run(self, pool: Any) -> None:
        try:
            with contexts.noio():  # requests inside noio wait for what this holds
                if not pool.maintain().complete:
                    self._next_try = time.monotonic() + _RETRY
        except PoolError:
            return  # closed, or destroyed
        finally:
            self._worker.end()
        if pool._failed_since():  # a request that found this thread at work
            self.wake(pool)
