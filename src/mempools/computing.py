"""L5: `Store.get_or_compute`: of all who ask for a value that is not there, one computes it, the others wait for it.

Who computes what stands in the arena's table of flights (pools/flights.py). Here: which flights the caller itself is part of,
so that a computation may ask for other values, and waits that a task of an event loop can do.
"""

import hashlib
import inspect
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from mempools.errors import PoolError, WaitForbidden, WouldBlock
from mempools.objects import contexts
from mempools.objects.flighttable import CIRCLE, CLAIMED, FlightTable, open_flights
from mempools.objects.reservedkey import ReservedKey

_Result = TypeVar("_Result")

_MOST_KEY = 65535
_FIRST_NAP, _LONGEST_NAP = 0.0005, 0.02  # seconds, of tasks

# What the caller computes, from the inside out: (process, arena, ticket, what that is part of). Tasks made inside inherit it.
_computes: ContextVar[Any] = ContextVar("mempools.computes", default=None)


def _outer(table: FlightTable) -> int:
    """The innermost flight in that table that the caller's code computes, 0: none."""
    part = _computes.get()
    while part is not None:
        pid, arena, ticket, outer = part
        if pid == os.getpid() and arena == table.mapping.key:
            return int(ticket)
        part = outer
    return 0


def _hash(store: Any, key: Any) -> int:
    """The name of a key's flight: the same in every process, and nobody finds two keys of the same by trying."""
    if isinstance(key, ReservedKey):
        raw, kind = key.raw, b"reserved"
    else:
        raw, kind = (key.encode(), b"str") if isinstance(key, str) else (bytes(key), b"bytes")
    most = _MOST_KEY - len(store._prefix)
    if len(raw) > most:
        raise ValueError(f"a key has at most {most} bytes, this one {len(raw)}")
    digest = hashlib.blake2b(raw, digest_size=8, key=store._index.name.encode(), salt=store._prefix, person=kind)
    return int.from_bytes(digest.digest(), "little") or 1


def _table(store: Any) -> FlightTable:
    table = store.__dict__.get("_flights")
    if table is None:
        table = store._flights = open_flights(store.arena, store.arena._mapping, True)
    return table


def _plain(value: Any, key: Any) -> bytes:
    if type(value) is bytes:
        return value
    try:
        return memoryview(value).tobytes()
    except TypeError:
        raise TypeError(f"compute() of {key!r} is to return a bytes-like object, not {type(value).__name__}") from None


class _Flight:
    """What the caller may come to compute, for the time of a `with` block. The flight ends with the block, or if a signal's
    handler raises on the way there, with this object."""

    def __init__(self, table: FlightTable) -> None:
        self._table = table
        self._place: list[int] = []
        self._pid = os.getpid()
        self._token: Any = None

    def claim(self, hash: int) -> tuple[int, int]:
        kind, ticket = self._table.claim(hash, _outer(self._table), self._place)
        if kind == CLAIMED:
            self._token = _computes.set((self._pid, self._table.mapping.key, ticket, _computes.get()))
        return kind, ticket

    def __enter__(self) -> "_Flight":
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _computes.reset(self._token)
        self._finish()

    def _finish(self) -> None:
        if self._place and self.is_mine():
            self._table.finish(self._place[0])
            self._place.clear()

    __del__ = _finish

    def is_mine(self) -> bool:
        """No more in a child that compute() has forked, and that comes back from it: the parent computes."""
        return os.getpid() == self._pid


class _Wait:
    """One caller's waits for one key."""

    def __init__(self, store: Any, key: Any, timeout: float | None) -> None:
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout {timeout}: seconds, at least 0, or None")
        self._store, self._key, self._timeout = store, key, timeout
        self._hash = _hash(store, key)
        self._table = _table(store)
        self._end: float | None = None

    def flight(self) -> _Flight:
        return _Flight(self._table)

    def claim(self, flight: _Flight) -> int:
        """0: the flight is the caller's; else what to wait for."""
        kind, ticket = flight.claim(self._hash)
        if kind == CIRCLE:
            raise WaitForbidden(
                f"{self._store!r}: {self._key!r} is computed by somebody who waits for the caller, who would wait for it: "
                "compute() must not ask, however indirectly, for its own key"
            )
        return 0 if kind == CLAIMED else ticket

    def left(self) -> float:
        """Seconds until the caller has waited long enough; WouldBlock if it has."""
        if self._timeout is None:
            return 3600.0
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._timeout
        if now >= self._end:
            raise WouldBlock(f"{self._store!r}: {self._key!r} was not computed by others within {self._timeout} s")
        return self._end - now

    def check(self) -> None:
        contexts.check_wait(
            self._table,
            f"a wait for the value of {self._key!r}, which is being computed,",
            "use `await store.aget_or_compute()`",
            self._timeout,
        )

    def leave(self) -> None:
        """The caller does not wait for what `claim` told it to wait for."""
        outer = _outer(self._table)
        if outer:
            self._table.give_up(outer)

    def sleep(self, ticket: int) -> None:
        outer = _outer(self._table)
        ended = False
        try:
            ended = self._table.wait(ticket, min(int(self.left() * 1e9) + 1, 1_000_000_000))
        finally:
            if outer and not ended:
                self._table.give_up(outer)

    async def nap(self, seconds: float) -> None:
        import asyncio

        try:
            await asyncio.sleep(min(seconds, self.left()))
            if seconds == _LONGEST_NAP:
                self._table.mapping.recover()  # whoever computes may be dead
        finally:
            self.leave()


def _got(store: Any, key: Any, flight: _Flight, computed: Any) -> bytes:
    value = _plain(computed, key)
    if flight.is_mine():
        store[key] = value
    return value


def get_or_compute(store: Any, key: Any, compute: Callable[[], Any], timeout: float | None) -> bytes:
    """What `Store.get_or_compute` does when it has not found the value."""
    wait = _Wait(store, key, timeout)
    checked = False
    while True:
        with wait.flight() as flight:
            ticket = wait.claim(flight)
            if ticket == 0:
                value: bytes | None = store.get(key)  # of who has finished since the last look
                return _got(store, key, flight, compute()) if value is None else value
        if not checked:
            wait.check()
            checked = True
        wait.sleep(ticket)
        value = store.get(key)
        if value is not None:
            return value


def exclusively(store: Any, key: ReservedKey, change: Callable[[], _Result], *, wait: bool = True) -> _Result | None:
    """What `change()` returns, which no other thread or process calls for that key meanwhile; None if another is at it, and not
    `wait`. If it is killed, the next one's turn comes. Errors and contexts as of `get_or_compute`."""
    turn = _Wait(store, key, None)
    while True:
        with turn.flight() as flight:
            ticket = turn.claim(flight)
            if ticket == 0:
                return change()
        if not wait:
            turn.leave()
            return None
        turn.check()
        turn.sleep(ticket)


async def aget_or_compute(store: Any, key: Any, compute: Callable[[], Any], timeout: float | None) -> bytes:
    """What `Store.aget_or_compute` does when it has not found the value. Other processes cannot wake a task: it looks again, at
    most 20 ms later."""
    wait = _Wait(store, key, timeout)
    seconds = _FIRST_NAP
    while True:
        with wait.flight() as flight:
            if wait.claim(flight) == 0:
                value: bytes | None = store.get(key)
                if value is not None:
                    return value
                found = compute()
                return _got(store, key, flight, await found if inspect.isawaitable(found) else found)
        await wait.nap(seconds)
        seconds = min(seconds * 2, _LONGEST_NAP)
        value = store.get(key)
        if value is not None:
            return value


def problems(arena: Any) -> list[str]:
    """Contradictions in the arena's table of flights."""
    mapping = arena._mapping
    try:
        table = open_flights(arena, mapping, False)
    except (KeyError, PoolError):
        return []
    for _ in range(3):  # a process may die between the sweep and the look
        mapping.recover()
        found: list[str] = table.look()[1]
        if not found:
            break
    return found
