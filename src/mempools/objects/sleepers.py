"""L4: tasks of event loops that wait for elements of a Mempool.

A task joins the pool's queue like a thread, but sleeps on a future. Whoever frees an element in this process completes the
future; for those who free in other processes a thread sleeps in the kernel, as long as tasks of this process wait. A task takes
its element itself, when it runs again: what is cancelled or timed out before has none, and passes its turn on.

Loaded when the first task waits: asyncio takes longer to import than all of mempools.
"""

import asyncio
import threading
from typing import Any

from mempools.errors import WouldBlock
from mempools.objects import contexts


class Sleepers:
    """The waiting tasks of one Mempool object."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nobody waits: at the start, and in a forked child, where the parent's tasks and the thread are not."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.waiting: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[None], list[int]]] = {}

    async def sleep(self, pool: Any, place: list[int], seconds: float) -> None:
        """Until the waiter in `place` is woken, or the time is over."""
        waiter = place[0] if place else -1
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _complete, future)
        if waiter >= 0:
            self.waiting[waiter] = loop, future, place
            if pool.nbytes:  # else nobody else has this pool: its elements are objects
                self._watch(pool)
        try:
            # Woken between joining the queue and this: nobody has seen the future.
            if waiter < 0 or not pool._woken(waiter):
                await future
        finally:
            timer.cancel()
            self.waiting.pop(waiter, None)
            if not self.waiting and self._thread is not None:
                pool._bump()

    def dispatch(self, pool: Any) -> None:
        """Completes the futures of those who have been woken. From any thread, also inside a destructor."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        for waiter, (loop, future, place) in list(self.waiting.items()):
            if pool._woken(waiter):
                if loop is running:
                    _complete(future)
                    continue
                try:
                    loop.call_soon_threadsafe(_complete, future)
                except RuntimeError:  # closed: the task never runs again, and the turn is another's
                    self.waiting.pop(waiter, None)
                    pool._give_up(place, [])

    def _watch(self, pool: Any) -> None:
        """Starts the thread that hears of other processes' frees."""
        with self._lock:
            if self._thread is None:
                seen = pool._calls(-1)
                self._thread = threading.Thread(
                    target=self._listen, args=(pool, seen), name=f"mempools {pool.name}", daemon=True
                )
                self._thread.start()

    def _listen(self, pool: Any, seen: int) -> None:
        while True:
            with self._lock:
                if not self.waiting:
                    self._thread = None
                    return
            self.dispatch(pool)
            seen = pool._calls(seen)


def _complete(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def alloc_one(pool: Any, timeout: float | None) -> Any:
    return (await alloc(pool, 1, timeout))[0]


async def alloc(pool: Any, nr: int, timeout: float | None) -> list[Any]:
    """nr elements for a task, all or none."""
    loop = asyncio.get_running_loop()
    got: list[Any] = []
    place: list[int] = []
    begun = None
    known = False  # to `holders`, as one who waits
    if contexts.watcher is not None and timeout is None:
        contexts.watcher.check(pool, task=True)
    try:
        if pool._attempt(nr, got, place, False):
            return got
        begun = loop.time()
        while True:
            if pool._attempt(nr, got, place, True):
                pool._note_wait(loop.time() - begun, False)
                return got
            if nr > max(pool.min_nr, 1):
                raise WouldBlock(f"{pool!r} was resized to less than the {nr} elements that are waited for")
            seconds = pool.repoll
            if timeout is None:
                known = pool.holders.waits(pool) or known
            else:
                seconds = min(seconds, begun + timeout - loop.time())
                if seconds <= 0:
                    pool._note_wait(0.0, True)
                    raise WouldBlock(f"{pool!r}: no element came back within {timeout} s")
            await pool.sleepers.sleep(pool, place, seconds if place else min(seconds, 0.01))
            if place and not pool._woken(place[0]):
                pool._repolled()
            if known:
                known = False
                pool.holders.waits_no_more(pool)
    except BaseException:
        pool.holders.waits_no_more(pool)
        pool._give_up(place, got)
        raise
