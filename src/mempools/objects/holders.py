"""L4: who holds elements of a Mempool while waiting for more: waits that can never end.

Known as a holder is who is inside a `with` block of an element, a thread or a task, until the block ends. Elements that are held
otherwise may be given back by anybody at any time, unless their process has one thread only, and that thread waits. Each
process publishes how many of its elements are certain not to come back before somebody here is served; when that is true of all
elements there are, the one who comes last is told. Waits with a time-out end by themselves and are left out.
"""

import gc
import os
import sys
import threading
from typing import Any

from mempools.objects import contexts


def current() -> tuple[int, str]:
    """The task that runs, or the thread: an identity, and what to call it."""
    asyncio = sys.modules.get("asyncio")  # not loaded: there is no task
    if asyncio is not None and asyncio._get_running_loop() is not None:
        task = asyncio.current_task()
        if task is not None:
            return id(task), f"task {task.get_name()!r}"
    return threading.get_ident(), f"thread {threading.current_thread().name!r}"


class Holders:
    """Of one Mempool object. Thread-safe; may be entered from destructors, so it takes no lock: each step is one operation of a
    dictionary."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        # by the element's identity: by whom, the element, and what lockorder.py knows it as
        self._held: dict[int, tuple[int, Any, Any]] = {}
        self._waiting: dict[int, str] = {}

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # forked: the parent's threads and tasks are not here
            self._reset()

    def entered(self, element: Any, pool: Any) -> None:
        self._check_process()
        watcher = contexts.watcher
        self._held[id(element)] = current()[0], element, None if watcher is None else watcher.acquired(pool)

    def left(self, element: Any) -> None:
        self._check_process()
        found = self._held.pop(id(element), None)
        if found is not None and found[2] is not None:
            found[2].release()

    def _nr_stuck(self) -> int:
        """Elements of those who wait. One may have been freed before its block's end."""
        return sum(
            who in self._waiting and not getattr(element, "freed", False) for who, element, _ in [*self._held.values()]
        )

    def _publish(self, pool: Any) -> int:
        """Of several threads that publish, the last one's number must be a true one."""
        while True:
            nr = self._nr_stuck()
            pool._publish_stuck(nr)
            if nr == self._nr_stuck():
                return nr

    def waits(self, pool: Any) -> str | None:
        """The caller is about to wait without end: why it must not, if it must not."""
        self._check_process()
        key, name = current()
        self._waiting[key] = name
        alone = threading.active_count() == 1 and not name.startswith("task")
        if alone and pool._own_elements():
            gc.collect()  # an element in a dead cycle would come back
            nr = pool._own_elements()
            pool._publish_stuck(nr)
        else:
            nr = self._publish(pool)
        stuck, processes = pool._is_stuck()
        if not stuck:
            return None
        who = ", ".join(f"process {pid} ({nr})" for pid, nr in processes.items()) or f"this process ({nr})"
        waiting = ", ".join(sorted(self._waiting.values()))
        return (
            f"{pool!r}: a wait without end: every element is held by somebody who waits for more of this pool: {who}; here "
            f"{waiting} wait. Ask for all elements at once (alloc_bulk), give one back first, or wait with a timeout"
        )

    def waits_no_more(self, pool: Any) -> None:
        self._waiting.pop(current()[0], None)
        self._publish(pool)
