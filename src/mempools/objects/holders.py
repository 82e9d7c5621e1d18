"""L4: who holds elements of a Mempool while waiting for more: waits that can never end.

Known as a holder is who is inside a `with` block of an element, a thread or a task, until the block ends. Elements that are held
otherwise may be given back by anybody at any time, unless their process has one thread only, and that thread waits. Each
process publishes how many of its elements are certain not to come back before somebody here is served; when that is true of all
elements there are, the one who comes last is told. Waits with a time-out end by themselves and are left out.

Who waits and holds nothing is not noted: nobody waits for it, and most hand-overs are of that kind.
"""

import gc
import sys
import threading
from typing import Any

from mempools.errors import WaitForbidden
from mempools.objects import contexts


def _task() -> Any:
    """The task that runs, None: there is none."""
    asyncio = sys.modules.get("asyncio")  # not loaded: there is no task
    return asyncio.current_task() if asyncio is not None and asyncio._get_running_loop() is not None else None


def _current() -> int:
    """An identity of the task that runs, or of the thread."""
    task = _task()
    return threading.get_ident() if task is None else id(task)


def current_name() -> str:
    """What to call the task that runs, or the thread."""
    task = _task()
    return f"thread {threading.current_thread().name!r}" if task is None else f"task {task.get_name()!r}"


class Holders:
    """Of one Mempool object. Thread-safe; may be entered from destructors, so it takes no lock: each step is one operation of a
    dictionary."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nobody holds or waits: at the start, and in a forked child, where the parent's threads and tasks are not."""
        # by the element's identity: by whom, the element, and what lockorder.py knows it as
        self._held: dict[int, tuple[int, Any, Any]] = {}
        self._waiting: dict[int, str] = {}
        self._published = 0

    def entered(self, element: Any, pool: Any) -> None:
        watcher = contexts.watcher
        self._held[id(element)] = _current(), element, None if watcher is None else watcher.acquired(pool)

    def left(self, element: Any) -> None:
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
            self._published = nr
            pool._publish_stuck(nr)
            if nr == self._nr_stuck():
                return nr

    def waits(self, pool: Any) -> bool:
        """The caller is about to wait without end. WaitForbidden if it must not. True: waits_no_more is to follow; after any
        exception it may."""
        alone = threading.active_count() == 1 and _task() is None
        noted = bool(self._held) or (alone and pool._own_elements() > 0)
        if noted:
            self._waiting[_current()] = current_name()
        why = self._why_not(pool, alone, noted)
        if why is not None:
            raise WaitForbidden(why)
        return noted

    def _why_not(self, pool: Any, alone: bool, noted: bool) -> str | None:
        nr = 0
        if noted and alone and pool._own_elements():
            gc.collect()  # an element in a dead cycle would come back
            nr = self._published = pool._own_elements()
            pool._publish_stuck(nr)
        elif noted or self._published:
            nr = self._publish(pool)
        stuck, processes = pool._is_stuck()
        if not stuck:
            return None
        who = ", ".join(f"process {pid} ({nr})" for pid, nr in processes.items()) or f"this process ({nr})"
        waiting = ", ".join(sorted(self._waiting.values() or [current_name()]))
        return (
            f"{pool!r}: a wait without end: every element is held by somebody who waits for more of this pool: {who}; here "
            f"{waiting} wait. Ask for all elements at once (alloc_bulk), give one back first, or wait with a timeout"
        )

    def waits_no_more(self, pool: Any) -> None:
        self._waiting.pop(_current(), None)
        if self._published:
            self._publish(pool)
