"""L3: the reserve of a Mempool: how many elements there are, and the queue of those who wait for some (mm/mempool.c).

Purpose. A stack of element words and a queue of waiters under one lock, in memory that processes share. What the words mean
is pools/mempool.py's business: blocks of a pool, or numbers behind which Python's objects stand.

Guarantee. Nobody sleeps for ever beside elements that are enough for it (the queue is joined under the lock under which the
elements come back), and what a woken waiter may count on is passed on when it leaves without taking it: by time-out,
cancellation or death. Process-safe; the lock is robust: whoever finds it dead has it mended (pools/mempool.py).
Price. One lock for each element that comes from the reserve or goes back to it, none for the others.
Precondition. Under the lock: nothing that waits, no Python. Not for C signal handlers.

  what runs          | beside take, give, leave, resize      | beside the sleep of a waiter
  take, give, leave  | one at a time, under the lock         | the sleeper's word is written before it is woken
  reserve_wants      | reads without the lock: see pools/mempool.py, [A:mempool.free]

Rules.
- `granted` is the sum of the needs of the WOKEN. They are the oldest whose needs the reserve covers; with `fifo` nobody but
  them may take while anybody waits, and nobody overtakes the oldest. Without it, newcomers take what is there and a woken waiter
  may find too little: then it waits again, in its old place.
- Elements are never assigned to a waiter: they stay in the reserve until it takes them, so that its end loses none.
- A waiter takes all that it needs at once, or nothing: two who need more than half each cannot starve each other.
- Sleepers are woken when the lock has been given back. Who dies in between, [D:reserve.unlocked], leaves WOKEN waiters asleep:
  recovery wakes all of them, and each sleep is bounded by the caller.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.reserve is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import inside
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    fetch_add_release32,
    futex_wait,
    futex_wake,
    load_acquire32,
    read_once,
    read_once32,
    this_module_step,
    window,
    write_once,
    write_once32,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import clz64, ctz64
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import NOT_REGISTERED

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def reserve_wants(r: cython.pointer(Reserve)) -> cython.bint:
    """Is there room for an element? A pool whose minimum is 0 keeps one, for else nobody who waits would be given any."""
    # Relaxed: under the lock nobody else writes them; without it, see [A:mempool.free].
    curr: uint64_t = read_once(cython.address(r.curr_nr), b"reserve.wants")
    return curr < read_once(cython.address(r.min_nr), b"reserve.wants") or curr == 0


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def segment_of(index: uint64_t) -> uint64_t:
    """Cells come in segments of NR_INLINE, 2 * NR_INLINE, 4 * NR_INLINE ..., so that they need not move when there are more."""
    return 63 - clz64(index // NR_INLINE + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reserve_cell(pool: cython.pointer(PoolRef), index: uint64_t) -> cython.pointer(uint64_t):
    """The place of the index-th element; NULL where there is none (yet)."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    k: uint64_t = segment_of(index)
    first: uint64_t = ((cython.cast(uint64_t, 1) << k) - 1) * NR_INLINE
    offset: uint64_t
    if k == 0:
        return cython.address(r.cells[index])
    if k >= NR_SEGMENTS:
        return cython.NULL
    offset = read_once(cython.address(r.segments[k]), b"reserve.cell")
    if not inside(pool.arena, offset, cython.cast(uint64_t, NR_INLINE << 3) << k):  # 0: there are none yet
        return cython.NULL
    return cython.cast(cython.pointer(uint64_t), pool.arena.base + offset) + (index - first)


# ---- the lock


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reserve_lock(pool: cython.pointer(PoolRef), timeout_ns: uint64_t) -> cython.int:
    """OK, TIMED_OUT (its holder may be dead), INTERRUPTED, NOT_REGISTERED."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    return robust_lock(cython.address(reserve_of(pool).lock), slot, timeout_ns) if slot else NOT_REGISTERED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reserve_unlock(pool: cython.pointer(PoolRef), woken: cython.pointer(Woken)) -> cython.void:
    robust_unlock(cython.address(reserve_of(pool).lock), cython.cast(uint32_t, pool.arena.slot[0]))
    window(b"D:reserve.unlocked")
    reserve_wake(pool, woken)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def call(word: cython.pointer(uint32_t)) -> cython.void:
    """Makes the listening thread of a process look which of its tasks have been woken."""
    # [R:reserve.calls] release; pairs with [A:reserve.calls]: the listener reads the count, then the states of its waiters, then
    # sleeps if the count is still that. CPU 0 makes a waiter WOKEN and counts. Could CPU 1 read the new count and yet the old
    # state, it would go to sleep beside a task that is to run, and nobody would call again.
    fetch_add_release32(word, 1, b"R:reserve.calls")
    futex_wake(word, 0x7FFFFFFF, b"reserve.calls")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reserve_wake(pool: cython.pointer(PoolRef), woken: cython.pointer(Woken)) -> cython.void:
    """Wakes those whose state has become WOKEN. The waiter may have left meanwhile, and another have its place: that one's
    sleep ends for nothing, and it looks again."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    w: uint64_t
    bits: uint64_t
    waiter: cython.pointer(Waiter)
    slot: uint32_t
    for w in range(NR_WAITER_WORDS):
        bits = woken.waiters[w]
        while bits:
            waiter = cython.address(r.waiters[(w << 6) + ctz64(bits)])
            bits &= bits - 1
            # Relaxed: a hint, see above.
            if read_once(cython.address(waiter.flags), b"reserve.wake") & WAITER_ASYNC:
                slot = read_once32(cython.address(waiter.slot), b"reserve.wake")
                if slot <= NR_SLOTS:
                    call(cython.address(r.calls[slot]))
            else:
                futex_wake(cython.address(waiter.state), 1, b"reserve.wake")


# ---- under the lock: relaxed accesses all of them, but for what sleepers read


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nobody_waits(r: cython.pointer(Reserve)) -> cython.bint:
    w: uint64_t
    for w in range(NR_WAITER_WORDS):
        if read_once(cython.address(r.waiting[w]), b"reserve.waiting"):
            return False
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def available_locked(r: cython.pointer(Reserve), nr: uint64_t, ticket: uint64_t) -> cython.bint:
    """May the caller, perhaps a waiter, take nr elements now?"""
    if read_once(cython.address(r.curr_nr), b"reserve.available") < nr:
        return False
    if not read_once(cython.address(r.fifo), b"reserve.available"):
        return True
    if ticket == NO_TICKET:
        return nobody_waits(r)
    return read_once32(cython.address(r.waiters[ticket].state), b"reserve.available") == WAITER_WOKEN


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def enqueue_locked(pool: cython.pointer(PoolRef), need: uint64_t, flags: uint64_t) -> uint64_t:
    """A place in the queue, or NO_TICKET: it is full."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    w: uint64_t
    bits: uint64_t
    at: uint64_t
    ticket: uint64_t
    for w in range(NR_WAITER_WORDS):
        bits = read_once(cython.address(r.waiting[w]), b"reserve.waiting")
        if ~bits == 0:
            continue
        at = (w << 6) + ctz64(~bits)
        ticket = read_once(cython.address(r.next_ticket), b"reserve.enqueue")
        write_once(cython.address(r.next_ticket), ticket + 1, b"reserve.enqueue")
        write_once(cython.address(r.waiters[at].ticket), ticket, b"reserve.enqueue")
        write_once(cython.address(r.waiters[at].need), need, b"reserve.enqueue")
        write_once(cython.address(r.waiters[at].flags), flags, b"reserve.enqueue")
        write_once32(cython.address(r.waiters[at].slot), cython.cast(uint32_t, pool.arena.slot[0]), b"reserve.enqueue")
        write_once32(cython.address(r.waiters[at].state), WAITER_WAITS, b"reserve.enqueue")
        # Last: a place whose bit is not set is nobody's, also for recovery.
        write_once(cython.address(r.waiting[w]), bits | (cython.cast(uint64_t, 1) << (at & 63)), b"reserve.enqueue")
        return at
    return NO_TICKET


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_back_grant(r: cython.pointer(Reserve), at: uint64_t) -> cython.void:
    need: uint64_t
    granted: uint64_t
    if read_once32(cython.address(r.waiters[at].state), b"reserve.grant") == WAITER_WOKEN:
        need = read_once(cython.address(r.waiters[at].need), b"reserve.grant")
        granted = read_once(cython.address(r.granted), b"reserve.grant")
        write_once(cython.address(r.granted), granted - need if granted > need else 0, b"reserve.grant")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wait_again_locked(r: cython.pointer(Reserve), waiter: uint64_t, need: uint64_t) -> cython.void:
    """A waiter that found too little keeps its place and may sleep again; it may need less than before."""
    take_back_grant(r, waiter)
    write_once(cython.address(r.waiters[waiter].need), need, b"reserve.again")
    write_once32(cython.address(r.waiters[waiter].state), WAITER_WAITS, b"reserve.again")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave_locked(r: cython.pointer(Reserve), waiter: uint64_t) -> cython.void:
    """The waiter goes, with its elements or without; the caller grants what it was granted to the next."""
    take_back_grant(r, waiter)
    write_once32(cython.address(r.waiters[waiter].state), WAITER_FREE, b"reserve.leave")
    write_once(
        cython.address(r.waiting[waiter >> 6]),
        read_once(cython.address(r.waiting[waiter >> 6]), b"reserve.leave")
        & ~(cython.cast(uint64_t, 1) << (waiter & 63)),
        b"reserve.leave",
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def oldest_below(r: cython.pointer(Reserve), budget: uint64_t) -> uint64_t:
    """The sleeper that came first, of those whose need is within the budget; with fifo the first of all, or nobody."""
    best: uint64_t = NO_TICKET
    best_ticket: uint64_t = 0
    w: uint64_t
    bits: uint64_t
    at: uint64_t
    ticket: uint64_t
    fifo: cython.bint = read_once(cython.address(r.fifo), b"reserve.oldest") != 0
    for w in range(NR_WAITER_WORDS):
        bits = read_once(cython.address(r.waiting[w]), b"reserve.oldest")
        while bits:
            at = (w << 6) + ctz64(bits)
            bits &= bits - 1
            if read_once32(cython.address(r.waiters[at].state), b"reserve.oldest") != WAITER_WAITS:
                continue
            if not fifo and read_once(cython.address(r.waiters[at].need), b"reserve.oldest") > budget:
                continue
            ticket = read_once(cython.address(r.waiters[at].ticket), b"reserve.oldest")
            if best == NO_TICKET or ticket < best_ticket:
                best = at
                best_ticket = ticket
    if best != NO_TICKET and read_once(cython.address(r.waiters[best].need), b"reserve.oldest") > budget:
        return NO_TICKET
    return best


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wake_locked(r: cython.pointer(Reserve), at: uint64_t, woken: cython.pointer(Woken)) -> cython.void:
    write_once(
        cython.address(r.granted),
        read_once(cython.address(r.granted), b"reserve.grant")
        + read_once(cython.address(r.waiters[at].need), b"reserve.grant"),
        b"reserve.grant",
    )
    # Relaxed: the sleeper takes the lock before it looks at anything else, and futex_wake comes after.
    write_once32(cython.address(r.waiters[at].state), WAITER_WOKEN, b"reserve.grant")
    woken.waiters[at >> 6] |= cython.cast(uint64_t, 1) << (at & 63)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grant_locked(r: cython.pointer(Reserve), woken: cython.pointer(Woken)) -> cython.void:
    """Wakes whom the elements that are there, and nobody has been promised, are enough for. After any change of the reserve,
    of the queue or of the minimum."""
    curr: uint64_t
    granted: uint64_t
    at: uint64_t
    while not nobody_waits(r):
        curr = read_once(cython.address(r.curr_nr), b"reserve.grant")
        granted = read_once(cython.address(r.granted), b"reserve.grant")
        at = oldest_below(r, curr - granted) if curr > granted else NO_TICKET
        if at == NO_TICKET:
            return
        wake_locked(r, at, woken)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wake_all_locked(r: cython.pointer(Reserve), woken: cython.pointer(Woken)) -> cython.void:
    """Whoever waits looks again: the minimum has changed, or a process has died that may have woken somebody. With fifo only
    those who have been woken, or need more than there will be: others would overtake."""
    w: uint64_t
    bits: uint64_t
    at: uint64_t
    min_nr: uint64_t = read_once(cython.address(r.min_nr), b"reserve.all")
    beyond: uint64_t = 0
    if read_once(cython.address(r.fifo), b"reserve.all"):
        beyond = min_nr if min_nr else 1
    for w in range(NR_WAITER_WORDS):
        bits = read_once(cython.address(r.waiting[w]), b"reserve.all")
        woken.waiters[w] |= bits
        while bits:
            at = (w << 6) + ctz64(bits)
            bits &= bits - 1
            if (
                read_once32(cython.address(r.waiters[at].state), b"reserve.all") == WAITER_WAITS
                and read_once(cython.address(r.waiters[at].need), b"reserve.all") > beyond
            ):
                wake_locked(r, at, woken)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave_dead_locked(r: cython.pointer(Reserve), slot: uint32_t) -> cython.void:
    """The waiters of a dead process go; what `granted` says is counted again, for its holder may have died within."""
    w: uint64_t
    bits: uint64_t
    at: uint64_t
    granted: uint64_t = 0
    for w in range(NR_WAITER_WORDS):
        bits = read_once(cython.address(r.waiting[w]), b"reserve.dead")
        while bits:
            at = (w << 6) + ctz64(bits)
            bits &= bits - 1
            if read_once32(cython.address(r.waiters[at].slot), b"reserve.dead") == slot:
                leave_locked(r, at)
            elif read_once32(cython.address(r.waiters[at].state), b"reserve.dead") == WAITER_WOKEN:
                granted += read_once(cython.address(r.waiters[at].need), b"reserve.dead")
    write_once(cython.address(r.granted), granted, b"reserve.dead")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave_all_locked(r: cython.pointer(Reserve)) -> cython.void:
    """In a forked child's copy: those who wait are the parent's."""
    w: uint64_t
    bits: uint64_t
    for w in range(NR_WAITER_WORDS):
        bits = read_once(cython.address(r.waiting[w]), b"reserve.forked")
        while bits:
            leave_locked(r, (w << 6) + ctz64(bits))
            bits &= bits - 1
    write_once(cython.address(r.granted), 0, b"reserve.forked")


# ---- sleeping


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def waiter_sleep(pool: cython.pointer(PoolRef), waiter: uint64_t, timeout_ns: uint64_t) -> int64_t:
    """Until woken, or the time is over, or a signal arrives; what futex_wait returns."""
    return futex_wait(
        cython.address(reserve_of(pool).waiters[waiter].state), WAITER_WAITS, timeout_ns, b"reserve.sleep"
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def waiter_state(pool: cython.pointer(PoolRef), waiter: uint64_t) -> uint32_t:
    """A hint for the waiter's own process: relaxed."""
    return read_once32(cython.address(reserve_of(pool).waiters[waiter].state), b"reserve.state")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def calls_seen(pool: cython.pointer(PoolRef)) -> uint32_t:
    # [A:reserve.calls] acquire; pairs with [R:reserve.calls]: see there.
    return load_acquire32(cython.address(reserve_of(pool).calls[pool.arena.slot[0]]), b"A:reserve.calls")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def calls_sleep(pool: cython.pointer(PoolRef), seen: uint32_t, timeout_ns: uint64_t) -> int64_t:
    """Until a task of this process is woken after calls_seen gave `seen`, or the time is over."""
    return futex_wait(cython.address(reserve_of(pool).calls[pool.arena.slot[0]]), seen, timeout_ns, b"reserve.calls")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def calls_bump(pool: cython.pointer(PoolRef)) -> cython.void:
    """Ends the calls_sleep of this process."""
    call(cython.address(reserve_of(pool).calls[pool.arena.slot[0]]))
