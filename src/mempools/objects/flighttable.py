"""L4: an arena's table of flights (pools/flights.py) as Python calls it: claim, finish, wait.

There is one table in an arena, for all its stores, so that computations of one store may ask for values of another and a
circle of waits is still found. It is made when the first value is computed, and stays.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.flighttable is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_FLIGHTS
from cython.cimports.mempools.parts.status import BUSY, EXHAUSTED, INVALID, NOT_FOUND, OK, TIMED_OUT
from cython.cimports.mempools.pools.flights import (
    FLIGHT_HALF,
    FLIGHT_OF_NOBODY,
    FLIGHT_TWICE,
    FLIGHTS_SHIFT,
    NR_FLIGHTS,
    flights_check,
    flights_claim,
    flights_finish,
    flights_give_up,
    flights_nr,
    flights_root_nbytes,
    flights_wait,
)

from mempools.errors import Corrupt, Exhausted

NAME = ".flights"
CLAIMED, TAKEN, CIRCLE = 0, 1, 2

_SLICE_NS = cython.declare(uint64_t, 20_000_000)
_LONGEST_NS = cython.declare(
    uint64_t, 320_000_000
)  # between two looks for the dead, each of which asks for every process


@cython.final
@cython.no_gc_clear
@cython.cclass
class FlightTable(PoolObject):
    """The flights of an arena. Made by `open_flights`. Thread-safe, process-safe; waits for a lock, so not for signal
    handlers."""

    def __init__(self):
        raise TypeError("a FlightTable comes from open_flights")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def retry(self, status: cython.int) -> cython.int:
        """Does what a status asks for before another try; raises if there is no point in one."""
        if self.may_retry(status):
            self.check_open()
            return 0
        raise Corrupt(f"{self.name!r} is no table of flights (status {status})")

    def claim(self, hash: uint64_t, outer: uint64_t, place: list) -> tuple:
        """(CLAIMED, ticket): the caller computes, as part of `outer`, and has to `finish`; the ticket is then in `place` too,
        before any signal's handler can run. (TAKEN, ticket): `wait` for that. (CIRCLE, ticket): whoever computes it waits for
        the caller's own. Exhausted if too much is being computed."""
        ticket: uint64_t = 0
        status: cython.int
        self.check_open()
        status = flights_claim(self.ref, hash, outer, 0, cython.address(ticket))
        while status != OK and status != BUSY and status != INVALID:
            if status == EXHAUSTED and not self.may_retry(status):
                raise Exhausted(
                    f"{flights_nr(self.ref)} values of the arena's stores are being computed, and there is no room for another"
                )
            if status != EXHAUSTED and status != TIMED_OUT:
                self.retry(status)
            with cython.nogil:
                status = flights_claim(self.ref, hash, outer, _SLICE_NS, cython.address(ticket))
            if status == TIMED_OUT:
                self.retry(status)
        if status == OK:
            place.append(ticket)
            return (CLAIMED, ticket)
        return (TAKEN if status == BUSY else CIRCLE, ticket)

    def finish(self, ticket: uint64_t, /) -> bool:
        """The flight has ended; False if it was not this process's. A KeyboardInterrupt comes when it has ended."""
        interrupt: object = None
        status: cython.int
        if self.mapping.closed or self.ref.gone:
            return False
        status = flights_finish(self.ref, ticket, 0)
        while status != OK and status != NOT_FOUND:
            with cython.nogil:
                status = flights_finish(self.ref, ticket, _SLICE_NS)
            if status != OK and status != NOT_FOUND:
                try:
                    self.retry(status)
                except Corrupt:
                    raise
                except BaseException as error:
                    interrupt = error
        if interrupt is not None:
            raise interrupt
        return status == OK

    def wait(self, ticket: uint64_t, timeout_ns: uint64_t) -> bool:
        """Sleeps until the flight has ended, or the time is over; whether it has ended. The dead are recovered meanwhile. A
        signal's handler runs at once, and may raise."""
        status: cython.int
        nap: uint64_t
        longest: uint64_t = _SLICE_NS
        self.check_open()
        while True:
            nap = longest if timeout_ns > longest else timeout_ns
            with cython.nogil:
                status = flights_wait(self.ref, ticket, nap)
            if status == OK:
                return True
            if status == TIMED_OUT:
                timeout_ns -= nap
                longest = longest * 2 if longest < _LONGEST_NS else longest
            self.retry(status)
            if timeout_ns == 0:
                return False

    def give_up(self, outer: uint64_t, /) -> None:
        """The computation of `outer` does not wait any more for what `claim` told it to wait for."""
        status: cython.int
        if self.mapping.closed or self.ref.gone:
            return
        status = flights_give_up(self.ref, outer, 0)
        while status != OK:
            with cython.nogil:
                status = flights_give_up(self.ref, outer, _SLICE_NS)
            if status != OK:
                self.retry(status)

    def __repr__(self) -> str:
        return f"<the computations in {self.arena!r}>"

    def look(self) -> tuple:
        """How many flights there are, and a line for each contradiction."""
        nr: uint64_t = 0
        wrong: uint64_t = 0
        status: cython.int
        self.check_open()
        while True:
            with cython.nogil:
                status = flights_check(self.ref, _SLICE_NS, cython.address(nr), cython.address(wrong))
            if status == OK:
                break
            self.retry(status)
        return (
            nr,
            [
                f"table of flights: {what} (of {nr} flights)"
                for bit, what in (
                    (FLIGHT_TWICE, "two flights of one hash"),
                    (FLIGHT_OF_NOBODY, "a flight whose owner does not live"),
                    (FLIGHT_HALF, "an owner of a flight that is free"),
                )
                if wrong & bit
            ],
        )


def open_flights(arena, mapping: Mapping, create: cython.bint) -> FlightTable:
    """The arena's table of flights, made if `create` and there is none; else KeyError."""
    table: FlightTable = FlightTable.__new__(FlightTable)
    table.open_ref(mapping, NAME, KIND_FLIGHTS, FLIGHTS_SHIFT, 0, 0, flights_root_nbytes(NR_FLIGHTS), 0, create)
    table.arena = arena
    return table
