"""L4: work that one thread of a process does at a time, started by whoever wants it done, from any context.

Of those who ask at the same time one starts the thread: the one whose ticket is in the dictionary, because its operations are
one step each and legal in destructors and signal handlers. In a forked child the parent's thread is not there: a ticket of
another process counts as none.
"""

import _thread
import os
from collections.abc import Callable
from typing import Any


class Worker:
    """Thread-safe; all methods are legal in any context."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[int, Any]] = {}

    @property
    def ticket(self) -> Any:
        """Of the work that is under way in this process; None: there is none."""
        running = self._running.get("work")
        return running[1] if running is not None and running[0] == os.getpid() else None

    def take(self, ticket: Any) -> Any:
        """`ticket`, if it is the one under way from now on; else the one that is."""
        fresh = (os.getpid(), ticket)
        while True:
            found = self._running.setdefault("work", fresh)
            if found[0] == fresh[0]:
                return found[1]
            self._running.pop("work", None)  # the parent's

    def start(self, run: Callable[[], None]) -> None:
        """A thread for what was taken. RuntimeError where there are no more threads, or the interpreter ends."""
        _thread.start_new_thread(run, ())

    def end(self) -> None:
        """What was taken is done, or is not to be."""
        self._running.pop("work", None)
