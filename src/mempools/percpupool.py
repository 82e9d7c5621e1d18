"""L5: PerCpuPool: per-CPU areas for callers that may never wait, kept ready behind their back (the percpu mempool and
percpu_pool patches, never merged; seed 003).

The reserve is in the arena (objects/areareserve.py); here is the policy: who fills it, when, and who may wait for that.

Guarantee. `alloc()` never waits: an area of the reserve, or None. How often None is bounded by how fast the refill goes, never
by areas that come back: those who hold one may keep it for ever. So there is nothing to wait for but a refill.
Price. The areas in reserve; a thread while it fills.

The law (seed 003's objection). A refill may do what `noio` forbids: grow, reclaim. Whoever is inside `noio` or a callback of a
pool may be what that waits for, and to hand the work to a thread changes nothing in it. So every form of waiting (`refill`, a
Refill's `wait`, `alloc(wait=True)`, `destroy`) is refused there, in the refill worker, and on event loops, whether or not it
would have to wait this time. Which locks of the program's a refill needs (those that `reclaim` takes) only the debug mode
lockdep knows: for it a refill is work that waits for I/O, whoever does it.

The worker is a thread that lives as long as it has something to fill (objects/worker.py); a Refill is its ticket. Whoever has
taken an area after the worker's last look, and before the end of its Refill, is seen by the look after it.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from mempools.errors import Exhausted, WaitForbidden, WouldBlock
from mempools.lockdep import IO, holds, might_wait
from mempools.objects import contexts
from mempools.objects.area import Area
from mempools.objects.areareserve import AreaReserve, open_reserve
from mempools.objects.infos import PerCpuPoolStats
from mempools.objects.lockorder import Context
from mempools.objects.percpuobject import PerCpu
from mempools.objects.worker import Worker

_RETRY = 0.01  # seconds after a refill that failed, until an allocation starts another


class Refill:
    """A refill by a worker, under way or over: from `PerCpuPool.refill_async`. Thread-safe; of the process that asked."""

    def __init__(self, pool: "PerCpuPool") -> None:
        self._pool = pool
        self._pid = os.getpid()
        self._over = threading.Event()
        self._added = 0
        self._error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Is it over? Any context."""
        return self._over.is_set()

    @property
    def error(self) -> BaseException | None:
        """Why it failed, if it did. Any context."""
        return self._error

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end: how many areas it has added. Raises what it failed with; WouldBlock after `timeout` seconds.

        WaitForbidden where the refill might wait for the caller: inside `noio`, a callback of a pool or the worker, on an event
        loop, and in a process forked since, where there is no worker."""
        self._pool._check_wait("a wait for a refill")
        if self._pid != os.getpid():
            raise WaitForbidden(
                f"a wait for a refill of {self._pool!r} by a worker of process {self._pid}, from which this one was forked: "
                "nobody here would end it; call refill() or refill_async() here"
            )
        if timeout is None:
            might_wait(self._pool._work)
            might_wait(IO)  # as if the caller did it: the worker may not have come so far yet
        if not self._over.wait(timeout):
            raise WouldBlock(f"{self._pool!r}: the refill was not over within {timeout} s")
        if self._error is not None:
            raise self._error
        return self._added


class PerCpuPool:
    """Areas of `nbytes` bytes for each CPU, kept ready for callers that may never wait: `Arena.percpu_pool`.

    `alloc()` takes one from the reserve, or says None. When fewer than `low` are left, a worker thread fills it up to `high`;
    `refill()` does so in the caller. Areas are zeroed, free themselves like any other `Area`, and do not come back to the
    reserve. What a killed process held, or was filling in, returns. Thread-safe, process-safe; `alloc()` and `refill_async()`
    are legal in destructors, signal handlers, `noio`, callbacks of pools, and on event loops."""

    def __init__(self, reserve: AreaReserve, low: int, reclaim: Callable[[], Any] | None) -> None:
        self._reserve = reserve
        self._take = reserve.take_area
        self._low = low
        self._reclaim = reclaim
        self._work_now = Worker()
        self._worker = 0  # the thread that refills
        self._closing = False
        self._next_try = 0.0
        self._failures = 0
        self._error: str | None = None
        self._work = Context(
            f"the refill of PerCpuPool {reserve.name!r}", f"refills PerCpuPool {reserve.name!r}", False
        )

    # ---- what it is

    @property
    def name(self) -> str:
        """Its name in the arena."""
        return self._reserve.name

    @property
    def arena(self) -> Any:
        """The arena it lies in."""
        return self._reserve.arena

    @property
    def percpu(self) -> PerCpu:
        """What its areas are of."""
        return self._reserve.percpu

    @property
    def nbytes(self) -> int:
        """Bytes of an area, in each unit."""
        return self._reserve.nbytes

    @property
    def level(self) -> int:
        """Areas in the reserve now (percpu_mempool_nr_elems). A moment's look; any context."""
        return self._reserve.curr_nr

    @property
    def low(self) -> int:
        """The level below which this object's allocations start a refill."""
        return self._low

    @property
    def high(self) -> int:
        """The level that a refill ends at."""
        return self._reserve.min_nr

    def stats(self) -> PerCpuPoolStats:
        """Levels, hits and misses. Thread-safe, process-safe; a moment's picture."""
        hits, misses, refilled, low_water = self._reserve.counts()
        return PerCpuPoolStats(
            self.level, self._low, self.high, low_water, hits, misses, refilled, self._failures, self._error
        )

    def __repr__(self) -> str:
        return f"<mempools.PerCpuPool {self.name!r}, {self.nbytes} bytes for each {self.percpu.units}>"

    # ---- allocating

    def alloc(self, *, wait: bool = False) -> Area | None:
        """An area of the reserve, zeroed, or None (percpu_mempool_alloc). Never waits, and starts a refill when it leaves fewer
        than `low`: so try again later, or do without.

        With `wait` the caller makes one itself if the reserve has none, with `reclaim` if need be: Exhausted if there is no
        room. WaitForbidden, whatever the reserve has, where that might wait for the caller: see `refill`. Thread-safe,
        process-safe; without `wait` legal wherever Python runs."""
        if wait:
            self._check_wait("alloc(wait=True)")
            might_wait(IO)
        area = self._take()
        if self._reserve.curr_nr < self._low:
            self._start()
        while area is None and wait:
            try:
                area = self.percpu.alloc(self.nbytes)
            except Exhausted:
                if not self._reclaimed():
                    raise
        return area

    # ---- refilling

    def refill(self) -> int:
        """Fill the reserve up to `high` here and now: how many areas were added (percpu_mempool_refill with GFP_KERNEL).

        Exhausted if the arena has no room and `reclaim` frees none; what was added stays. WaitForbidden inside `noio`, a callback
        of a pool, this pool's refill worker, and on event loops: there, `refill_async()`. Thread-safe, process-safe."""
        self._check_wait("refill()")
        might_wait(IO)
        return self._fill()

    def refill_async(self) -> Refill:
        """Have a worker thread fill the reserve up to `high`; the one that is at it, if there is one. Never waits. Any context;
        thread-safe."""
        fresh = Refill(self)
        found: Refill = self._work_now.take(fresh)
        if found is not fresh:
            return found
        if self._closing:
            self._end(fresh, WouldBlock(f"{self!r} is being destroyed"))
            return fresh
        try:
            self._work_now.start(lambda: self._run(fresh))
        except RuntimeError as error:  # no more threads, or the interpreter ends
            self._end(fresh, error)
        return fresh

    def _start(self) -> None:
        """An allocation has left too few."""
        if self._work_now.ticket is None and time.monotonic() >= self._next_try and not self._closing:
            self.refill_async()

    def _run(self, refill: Refill) -> None:
        """The worker."""
        error: BaseException | None = None
        self._worker = threading.get_ident()
        try:
            with holds(self._work):
                might_wait(IO)
                while self._reserve.wants and not self._closing:
                    refill._added += self._fill()
        except BaseException as raised:  # told to those who wait, and in stats(): a thread has nobody else to tell
            error = raised
        self._worker = 0
        self._end(refill, error)
        # Whoever took an area since the last look has found this refill under way.
        try:
            if error is None and not self._closing and self._reserve.curr_nr < self._low:
                self.refill_async()
        except Exception:
            pass  # the arena was closed

    def _end(self, refill: Refill, error: BaseException | None) -> None:
        if error is not None:
            self._failures += 1
            self._error = f"{type(error).__name__}: {error}"
            self._next_try = time.monotonic() + _RETRY
        refill._error = error
        self._work_now.end()
        refill._over.set()

    def _fill(self) -> int:
        """At most as many as the reserve holds: beside fast consumers it would not end."""
        added = 0
        for _ in range(self.high):
            if not self._reserve.wants or self._closing:
                break
            try:
                added += self._reserve.add_area()
            except Exhausted:
                if not self._reclaimed():
                    raise
        return added

    def _reclaimed(self) -> bool:
        """Has the program made room?"""
        if self._reclaim is None:
            return False
        with contexts.callback(self, True):
            return bool(self._reclaim())

    def _check_wait(self, what: str) -> None:
        """WaitForbidden where a refill might wait for the caller."""
        if self._worker == threading.get_ident():
            raise WaitForbidden(f"{what} of {self!r} in its own refill worker, which would wait for itself")
        scope = contexts.scope_var.get()
        if scope is not None:
            why = (
                "inside noio: the refill may need I/O or growth, which may be waiting for the caller"
                if scope.pool is None
                else f"inside a callback of {scope.pool!r}: the refill may need what waits for the callback"
            )
            raise WaitForbidden(
                f"{what} of {self!r} {why}; take alloc() for what it is, or refill_async() and come back"
            )
        contexts.check_wait(self, what, "use alloc() and refill_async()", 0.0)

    # ---- the reserve's size, and the end

    def resize(self, low: int, high: int) -> None:
        """Change the watermarks, `low` of this object's, `high` of all (percpu_mempool_resize). What is too much is freed; what
        is missing comes with the next refill, or with the one that is under way. Thread-safe, process-safe."""
        check_watermarks(low, high)
        self._reserve.set_size(high)
        self._low = low

    def check(self) -> None:
        """Corrupt if the reserve and the owner map contradict each other. Thread-safe, process-safe."""
        self._reserve.check()

    def destroy(self) -> None:
        """Cancel a refill of this process, wait for its end, free the reserve and destroy the pool (percpu_mempool_destroy).
        Areas in somebody's hands, and the PerCpu, stay. Busy while another process has it open; the reserve is empty then.
        WaitForbidden as for `refill`. Thread-safe, process-safe."""
        self._check_wait("destroy()")
        self._closing = True
        try:
            refill = self._work_now.ticket
            if refill is not None:
                might_wait(self._work)
                refill._over.wait()
            self._reserve.destroy()
        finally:
            self._closing = False


def check_watermarks(low: int, high: int) -> None:
    if not 0 <= low <= high or not 1 <= high <= 1 << 20:
        raise ValueError(f"low {low}, high {high}: 0 <= low <= high, and high 1 to 2**20")


def open_percpu_pool(
    arena: Any,
    name: str,
    nbytes: int,
    low: int,
    high: int,
    percpu: PerCpu,
    reclaim: Callable[[], Any] | None,
) -> PerCpuPool:
    """What `Arena.percpu_pool` does."""
    check_watermarks(low, high)
    if percpu.mapping is not arena._mapping:
        raise ValueError(f"{percpu!r} is not in {arena!r}")
    if not 1 <= nbytes <= percpu.unit_nbytes:
        raise ValueError(f"nbytes {nbytes}: an area of {percpu!r} has 1 to {percpu.unit_nbytes} bytes")
    if reclaim is not None and not callable(reclaim):
        raise TypeError(f"reclaim {reclaim!r}: it is called")
    pool = PerCpuPool(open_reserve(arena, arena._mapping, name, nbytes, high, percpu), low, reclaim)
    if pool.level < max(low, 1):  # new, or used up
        try:
            pool.refill()
        except WaitForbidden:
            pool.refill_async()
        except Exhausted:
            pass  # allocations say so, and try again
    return pool
