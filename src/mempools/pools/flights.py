"""L3: a table of flights: what is being computed, by which process, so that others wait for it and do not do the same.

Purpose. A flight is named by a hash. Whoever claims it computes, stores what it has computed elsewhere, and finishes;
whoever finds it claimed sleeps until it ends, then looks for the value, and if there is none claims it itself.
Guarantee. Of one hash there is one flight at a time, so one process computes, and sees all that the last one stored. The
flights of a process that was killed end with its recovery. A wait that would close a circle of waits is refused: nobody
waits for ever for computations that wait for each other. Process-safe, thread-safe.
Price. One lock for the whole table, held while a few kilobytes are read, twice a computation; none for who finds the value.
Precondition. Callers are registered (else NOT_REGISTERED). Hashes are not 0; two things of the same hash count as one.

  what runs | beside claim, finish, give_up           | beside recovery of a dead owner
  claim     | waits for the lock                      | waits for the lock
  wait      | without the lock: ends when `turn` moves | ends when `turn` moves
  recovery  | waits for the lock; BUSY after a while  | one at a time (the dead slot's recovery lock)

The lock protects hashes and flights; nothing else is locked under it, no Python API is called, nothing waits. All that it
protects is relaxed: the lock orders it. A turn is read without it, by those who sleep, and orders nothing: who wakes
takes the lock to claim, and sees then what was stored before the flight's end.

Circles. A computation may ask for others, so flights have an `outer` one; together they are a chain. While its innermost part
waits, every flight of the chain names the flight that is waited for (`blocked`), under the lock, before the wait. So who is
about to close a circle finds it by following `blocked`: of those who close it at the same time, the last to have the lock.

Crash windows. [D:flights.claimed] owner and hash are written, the lock is held; [D:flights.ended] the hash is gone, the turn has
moved, the owner still stands there. Recovery ends every flight of the dead owner, which may move a turn twice: no harm. A death
after the lock's release and before the wake-up is found by the sleepers when their time is over.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.flights is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.errno import EINTR, ETIMEDOUT
from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t
from cython.cimports.mempools.layout.recovery import register_mend
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_FLIGHTS, NR_SLOTS, STATE_LIVE
from cython.cimports.mempools.machine.atomics import (
    futex_wait,
    futex_wake,
    read_once,
    read_once32,
    this_module_step,
    window,
    write_once,
    write_once32,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import (
    BUSY,
    CORRUPT,
    EXHAUSTED,
    INTERRUPTED,
    INVALID,
    NOT_FOUND,
    NOT_REGISTERED,
    OK,
    TIMED_OUT,
)

register_module(cython.address(this_module_step))

_EVERYBODY = cython.declare(uint32_t, 0x7FFFFFFF)
_MEND_NS = cython.declare(uint64_t, 100_000_000)


# ---- where things are


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flights_root_nbytes(nr: uint64_t) -> uint64_t:
    return cython.sizeof(FlightsHead) + nr * (8 + cython.sizeof(Flight))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flights_nr(pool: cython.pointer(PoolRef)) -> uint64_t:
    """0 when there is no table of flights."""
    if pool.root == cython.NULL or pool.root_nbytes <= cython.sizeof(FlightsHead):
        return 0
    return (pool.root_nbytes - cython.sizeof(FlightsHead)) // (8 + cython.sizeof(Flight))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def lock_of(pool: cython.pointer(PoolRef)) -> cython.pointer(uint32_t):
    return cython.address(cython.cast(cython.pointer(FlightsHead), pool.root).lock)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def hashes_of(pool: cython.pointer(PoolRef)) -> cython.pointer(uint64_t):
    return cython.cast(cython.pointer(uint64_t), pool.root + cython.sizeof(FlightsHead))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def flights_of(pool: cython.pointer(PoolRef)) -> cython.pointer(Flight):
    return cython.cast(cython.pointer(Flight), hashes_of(pool) + flights_nr(pool))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def index_of(ticket: uint64_t) -> uint64_t:
    """More than any table's for 0."""
    return cython.cast(uint64_t, cython.cast(uint32_t, ticket)) - 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ticket_of(pool: cython.pointer(PoolRef), index: uint64_t) -> uint64_t:
    return (
        cython.cast(uint64_t, read_once32(cython.address(flights_of(pool)[index].turn), b"flights.ticket")) << 32
    ) | (index + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flight_at(pool: cython.pointer(PoolRef), ticket: uint64_t) -> cython.pointer(Flight):
    """The flight that a ticket names, NULL if it has ended or there is none; under the lock."""
    index: uint64_t = index_of(ticket)
    if index >= flights_nr(pool):
        return cython.NULL
    if ticket_of(pool, index) != ticket or read_once(cython.address(hashes_of(pool)[index]), b"flights.at") == 0:
        return cython.NULL
    return cython.address(flights_of(pool)[index])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lock(pool: cython.pointer(PoolRef), timeout_ns: uint64_t) -> cython.int:
    """OK, TIMED_OUT, INTERRUPTED; NOT_REGISTERED; CORRUPT: there is no table."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    if flights_nr(pool) == 0:
        return CORRUPT
    return robust_lock(lock_of(pool), slot, timeout_ns) if slot else NOT_REGISTERED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unlock(pool: cython.pointer(PoolRef)) -> cython.void:
    robust_unlock(lock_of(pool), cython.cast(uint32_t, pool.arena.slot[0]))


# ---- circles; all under the lock


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def in_chain(pool: cython.pointer(PoolRef), outer: uint64_t, ticket: uint64_t) -> cython.bint:
    """Is the flight one of those that the caller computes, from `outer` outwards?"""
    flight: cython.pointer(Flight)
    steps: uint64_t
    for steps in range(flights_nr(pool)):
        flight = flight_at(pool, outer)
        if flight == cython.NULL:
            return False
        if outer == ticket:
            return True
        outer = read_once(cython.address(flight.outer), b"flights.outer")
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def closes_circle(pool: cython.pointer(PoolRef), outer: uint64_t, ticket: uint64_t) -> cython.bint:
    """Would whoever computes `outer`, waiting for `ticket`, wait for itself?"""
    flight: cython.pointer(Flight)
    steps: uint64_t
    if outer == 0:
        return False
    for steps in range(flights_nr(pool)):
        flight = flight_at(pool, ticket)
        if flight == cython.NULL:
            return False
        if in_chain(pool, outer, ticket):
            return True
        ticket = read_once(cython.address(flight.blocked), b"flights.blocked")
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_chain(pool: cython.pointer(PoolRef), outer: uint64_t, ticket: uint64_t) -> cython.void:
    """Every flight of a chain waits for `ticket`, 0: for nothing. Only the caller's own: a stale ticket is nobody's."""
    flight: cython.pointer(Flight)
    steps: uint64_t
    for steps in range(flights_nr(pool)):
        flight = flight_at(pool, outer)
        if flight == cython.NULL:
            return
        write_once(cython.address(flight.blocked), ticket, b"flights.block")
        outer = read_once(cython.address(flight.outer), b"flights.outer")


# ---- what callers do


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flights_claim(
    pool: cython.pointer(PoolRef),
    hash: uint64_t,
    outer: uint64_t,
    timeout_ns: uint64_t,
    ticket: cython.pointer(uint64_t),
) -> cython.int:
    """OK: the flight `ticket` is this process's to compute, as part of `outer`. BUSY: it is another's: wait for `ticket`, then
    claim again. INVALID: that wait would never end. EXHAUSTED: the table is full. Else as of the lock."""
    hashes: cython.pointer(uint64_t) = hashes_of(pool)
    flight: cython.pointer(Flight)
    nr: uint64_t = flights_nr(pool)
    i: uint64_t
    found: uint64_t = nr
    free: uint64_t = nr
    here: uint64_t
    status: cython.int = lock(pool, timeout_ns)
    if status != OK:
        return status
    for i in range(nr):
        here = read_once(cython.address(hashes[i]), b"flights.search")
        if here == hash:
            found = i
            break
        if here == 0 and free == nr:
            free = i
    if found < nr:
        ticket[0] = ticket_of(pool, found)
        if closes_circle(pool, outer, ticket[0]):
            status = INVALID
        else:
            status = BUSY
            block_chain(pool, outer, ticket[0])
    elif free == nr:
        status = EXHAUSTED
    else:
        flight = cython.address(flights_of(pool)[free])
        write_once32(cython.address(flight.owner), cython.cast(uint32_t, pool.arena.slot[0]), b"flights.claim")
        write_once(cython.address(flight.outer), outer, b"flights.claim")
        write_once(cython.address(flight.blocked), 0, b"flights.claim")
        write_once(cython.address(hashes[free]), hash, b"flights.claim")
        ticket[0] = ticket_of(pool, free)
        window(b"D:flights.claimed")
    unlock(pool)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end(pool: cython.pointer(PoolRef), flight: cython.pointer(Flight)) -> cython.void:
    """Under the lock. The owner last: a mend that dies before does it again."""
    index: uint64_t = flight - flights_of(pool)
    write_once(cython.address(hashes_of(pool)[index]), 0, b"flights.end")
    write_once32(
        cython.address(flight.turn), read_once32(cython.address(flight.turn), b"flights.end") + 1, b"flights.end"
    )
    window(b"D:flights.ended")
    write_once32(cython.address(flight.owner), 0, b"flights.end")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flights_finish(pool: cython.pointer(PoolRef), ticket: uint64_t, timeout_ns: uint64_t) -> cython.int:
    """The flight has ended, whatever came of it. NOT_FOUND: it was not this process's (of a child made by fork). Else as
    of the lock."""
    flight: cython.pointer(Flight)
    status: cython.int = lock(pool, timeout_ns)
    if status != OK:
        return status
    flight = flight_at(pool, ticket)
    if flight != cython.NULL and read_once32(cython.address(flight.owner), b"flights.finish") == pool.arena.slot[0]:
        end(pool, flight)
    else:
        status = NOT_FOUND
    unlock(pool)
    if status == OK:
        futex_wake(cython.address(flight.turn), _EVERYBODY, b"flights.wake")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flights_wait(pool: cython.pointer(PoolRef), ticket: uint64_t, timeout_ns: uint64_t) -> cython.int:
    """OK: the flight has ended. TIMED_OUT: it has not, or nobody was woken; its owner may be dead. INTERRUPTED by a signal."""
    index: uint64_t = index_of(ticket)
    turn: uint32_t = cython.cast(uint32_t, ticket >> 32)
    word: cython.pointer(uint32_t)
    result: int64_t
    if index >= flights_nr(pool):
        return CORRUPT
    word = cython.address(flights_of(pool)[index].turn)
    while read_once32(word, b"flights.wait") == turn:
        result = futex_wait(word, turn, timeout_ns, b"flights.wait")
        if result == -EINTR:
            return INTERRUPTED
        if result == -ETIMEDOUT:
            return TIMED_OUT
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flights_give_up(pool: cython.pointer(PoolRef), outer: uint64_t, timeout_ns: uint64_t) -> cython.int:
    """The caller, who computes `outer`, no longer waits for what it was told to wait for."""
    status: cython.int = lock(pool, timeout_ns)
    if status == OK:
        block_chain(pool, outer, 0)
        unlock(pool)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flights_check(
    pool: cython.pointer(PoolRef), timeout_ns: uint64_t, nr: cython.pointer(uint64_t), wrong: cython.pointer(uint64_t)
) -> cython.int:
    """How many there are, and FLIGHT_* of what is wrong with them."""
    hashes: cython.pointer(uint64_t) = hashes_of(pool)
    flights: cython.pointer(Flight) = flights_of(pool)
    i: uint64_t
    j: uint64_t
    hash: uint64_t
    owner: uint32_t
    status: cython.int = lock(pool, timeout_ns)
    if status != OK:
        return status
    nr[0] = 0
    wrong[0] = 0
    for i in range(flights_nr(pool)):
        hash = read_once(cython.address(hashes[i]), b"flights.check")
        owner = read_once32(cython.address(flights[i].owner), b"flights.check")
        if hash == 0:
            if owner:
                wrong[0] |= FLIGHT_HALF
            continue
        nr[0] += 1
        if (
            owner == 0
            or owner > NR_SLOTS
            or read_once(cython.address(pool.arena.slots[owner].state), b"flights.check") & 0xFF != STATE_LIVE
        ):
            wrong[0] |= FLIGHT_OF_NOBODY
        for j in range(i):
            if read_once(cython.address(hashes[j]), b"flights.check") == hash:
                wrong[0] |= FLIGHT_TWICE
    unlock(pool)
    return OK


# ---- recovery


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flights_mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.int:
    """For recovery: ends what the dead process computed. BUSY: a living process has had the lock for long: again later."""
    flights: cython.pointer(Flight)
    i: uint64_t
    status: cython.int
    if flights_nr(pool) == 0:
        return CORRUPT
    while robust_holder(lock_of(pool)) != slot:
        status = robust_lock(lock_of(pool), slot, _MEND_NS)
        if status == OK:
            break
        if status != INTERRUPTED:
            return BUSY
    flights = flights_of(pool)
    for i in range(flights_nr(pool)):
        if read_once32(cython.address(flights[i].owner), b"flights.mend") == slot:
            end(pool, cython.address(flights[i]))
            futex_wake(cython.address(flights[i].turn), _EVERYBODY, b"flights.wake")
    robust_unlock(lock_of(pool), slot)
    return OK


register_mend(KIND_FLIGHTS, flights_mend)
