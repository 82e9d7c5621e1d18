"""L3: Mempool: an allocation that may wait does not fail, for elements in flight come back (mm/mempool.c; seed 000).

Purpose. The backend serves as long as it can; behind it stands a reserve of min_nr elements, which frees fill first.
Guarantee. curr_nr + (elements in somebody's hands) >= min_nr once the pool has been filled: no free, race or death makes the
reserve smaller for good. A dead process's elements go into the reserve before the rest of what it had returns to the backend.
Process-safe, not lock-free. Price. Without pressure: one fence and one look at two words more than the backend's; from or to
the reserve one lock (pools/reserve.py).
Precondition. The backend never waits. The process is registered. Not for C signal handlers.

  what runs | beside take                               | beside give                    | beside set_min, mend
  take      | under the lock                            | [R:mempool.taken]              | under the lock
  give      | [A:mempool.free]                          | under the lock if it refills   | likewise

Rules. `moving` names the cell of the element that is on its way in or out of the reserve, for the owner map changes before
or after the count: whoever mends finds it there. An element in the reserve is OWNER_RESERVE's in the backend's owner map,
which is the truth; cells, counts and queue are the lock holder's to change and recovery's to mend (pools/mempoolmend.py).
Making and resizing: pools/mempoolmake.py.

Crash windows (the dead process is X):
  [D:mempool.moving]   the cell is named, the block X's, RESERVE's or in part both: recovery makes it RESERVE's and counts it.
  [D:mempool.moved]    as before, all of it moved.
  [D:mempool.taken]    the reserve is short of what X has taken: recovery puts X's elements back.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.mempool is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_load
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import KIND_MEMPOOL, NR_POOLS
from cython.cimports.mempools.machine.atomics import (
    fill,
    read_once,
    smp_rmb,
    smp_wmb,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import inspect
from cython.cimports.mempools.parts.owners import OWNER_RESERVE
from cython.cimports.mempools.parts.status import (
    CORRUPT,
    EXHAUSTED,
    INTERRUPTED,
    NOT_A_BLOCK,
    OK,
    TABLE_FULL,
)
from cython.cimports.mempools.pools.genpool import (
    genpool_chunk,
    genpool_granules,
    genpool_transfer,
)
from cython.cimports.mempools.pools.reserve import (
    NO_TICKET,
    Reserve,
    Woken,
    available_locked,
    enqueue_locked,
    grant_locked,
    leave_locked,
    nobody_woken,
    reserve_cell,
    reserve_lock,
    reserve_of,
    reserve_unlock,
    reserve_wants,
    wait_again_locked,
)
from cython.cimports.mempools.pools.shares import register_keeper

register_module(cython.address(this_module_step))

_KEEP_NS = cython.declare(uint64_t, 100_000_000)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def element_nbytes(pool: cython.pointer(PoolRef)) -> uint64_t:
    # Relaxed: constant since the pool was made.
    return read_once(cython.address(reserve_of(pool).nbytes), b"mempool.nbytes")


# ---- one element in, one out; under the lock, `owner` being its holder


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_element(
    pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), word: uint64_t, owner: uint32_t
) -> cython.int:
    """OK if the word names a block of one element that is the owner's, else what is wrong."""
    chunk: cython.pointer(ChunkRef) = genpool_chunk(backend, word, 1)
    if chunk == cython.NULL or (word - chunk.base) & ((cython.cast(uint64_t, 1) << backend.shift) - 1):
        return NOT_A_BLOCK
    return inspect(
        chunk.map,
        chunk.nr_words,
        (word - chunk.base) >> backend.shift,
        genpool_granules(backend, element_nbytes(pool)),
        owner,
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def push_locked(
    pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), word: uint64_t, owner: uint32_t
) -> cython.int:
    """One more element in the reserve: OK, TABLE_FULL (no cell), or what is wrong with it."""
    curr: uint64_t = read_once(cython.address(reserve_of(pool).curr_nr), b"mempool.push")
    cell: cython.pointer(uint64_t) = reserve_cell(pool, curr)
    status: cython.int
    if cell == cython.NULL:
        return TABLE_FULL
    if backend != cython.NULL:
        status = is_element(pool, backend, word, owner)
        if status != OK:
            return status
        mempool_poison(pool, backend, word, POISON_FREE, POISON_END)
    write_once(cell, word, b"mempool.push")
    if backend != cython.NULL:
        write_once(cython.address(reserve_of(pool).moving), curr + 1, b"mempool.push")
        window(b"D:mempool.moving")
        genpool_transfer(backend, word, element_nbytes(pool), owner, OWNER_RESERVE)
        window(b"D:mempool.moved")
    write_once(cython.address(reserve_of(pool).curr_nr), curr + 1, b"mempool.push")
    write_once(cython.address(reserve_of(pool).moving), 0, b"mempool.push")
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pop_locked(
    pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), word: cython.pointer(uint64_t), owner: uint32_t
) -> cython.int:
    curr: uint64_t = read_once(cython.address(reserve_of(pool).curr_nr), b"mempool.pop")
    cell: cython.pointer(uint64_t) = cython.NULL if curr == 0 else reserve_cell(pool, curr - 1)
    if cell == cython.NULL:
        return CORRUPT
    word[0] = read_once(cell, b"mempool.pop")
    if backend != cython.NULL:
        write_once(cython.address(reserve_of(pool).moving), curr, b"mempool.pop")
        window(b"D:mempool.moving")
        if genpool_transfer(backend, word[0], element_nbytes(pool), OWNER_RESERVE, owner) != OK:
            return CORRUPT
        window(b"D:mempool.moved")
    write_once(cython.address(reserve_of(pool).curr_nr), curr - 1, b"mempool.pop")
    write_once(cython.address(reserve_of(pool).moving), 0, b"mempool.pop")
    if curr - 1 < read_once(cython.address(reserve_of(pool).low_water), b"mempool.pop"):
        write_once(cython.address(reserve_of(pool).low_water), curr - 1, b"mempool.pop")
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_poison(
    pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), word: uint64_t, byte: cython.int, last: cython.int
) -> cython.void:
    """Fills an element of a pool with poison; nothing for others, and for elements outside the arena."""
    nbytes: uint64_t = element_nbytes(pool)
    if not read_once(cython.address(reserve_of(pool).poison), b"mempool.poison") or backend.foreign:
        return
    fill(pool.arena.base + word, byte, nbytes - 1, b"mempool.poison")
    fill(pool.arena.base + word + nbytes - 1, last, 1, b"mempool.poison")


# ---- take and give


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_take(
    pool: cython.pointer(PoolRef),
    backend: cython.pointer(PoolRef),
    nr: uint64_t,
    words: cython.pointer(uint64_t),
    waiter: cython.pointer(uint64_t),
    flags: uint64_t,
    timeout_ns: uint64_t,
) -> cython.int:
    """Takes nr elements from the reserve, all or none: OK; EXHAUSTED: there are fewer, or others come first, and with
    TAKE_QUEUES the caller is now waiter[0] (or still is it); TABLE_FULL: likewise, but the queue has no place; TIMED_OUT,
    INTERRUPTED, NOT_REGISTERED: the lock was not had; CORRUPT. A waiter that gets its elements has left the queue."""
    woken: Woken
    owner: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    got: uint64_t = 0
    status: cython.int = reserve_lock(pool, timeout_ns)
    if status != OK:
        return status
    nobody_woken(cython.address(woken))
    if available_locked(reserve_of(pool), nr, waiter[0]):
        while status == OK and got < nr:
            status = pop_locked(pool, backend, cython.address(words[got]), owner)
            got += status == OK
        if status != OK:
            while got > 0:
                got -= 1
                push_locked(pool, backend, words[got], owner)
        elif waiter[0] != NO_TICKET:
            leave_locked(reserve_of(pool), waiter[0])
            waiter[0] = NO_TICKET
    elif not flags & TAKE_QUEUES:
        status = EXHAUSTED
    elif waiter[0] != NO_TICKET:
        wait_again_locked(reserve_of(pool), waiter[0], nr)
        status = EXHAUSTED
    else:
        waiter[0] = enqueue_locked(pool, nr, flags & 0xFF)
        status = TABLE_FULL if waiter[0] == NO_TICKET else EXHAUSTED
    grant_locked(reserve_of(pool), cython.address(woken))
    reserve_unlock(pool, cython.address(woken))
    if status == OK:
        # [R:mempool.taken] wmb; pairs with [A:mempool.free]: whoever sees the element also sees that the reserve became
        # smaller for it. The lock does not do that: a store after its release, by which the element travels on, may be
        # seen before the stores under it. Then: min_nr = curr_nr = 1. CPU 0 takes the element and tells CPU 1, with nothing
        # but a store. CPU 1 gives it back, still reads curr_nr = 1, thinks that the reserve is full, and hands it to the
        # backend. Now the reserve is empty, nobody has an element that would fill it, and the next one who finds the
        # backend exhausted waits for ever.
        smp_wmb(b"R:mempool.taken")
        window(b"D:mempool.taken")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_wants(pool: cython.pointer(PoolRef)) -> cython.bint:
    """Does the reserve lack anything, for the caller who is about to give an element back?"""
    # [A:mempool.free] rmb; pairs with [R:mempool.taken], see there: the element was read before, curr_nr is read after. That
    # the count may be old otherwise does no harm: whoever took the reserve below min_nr sees it below when it gives its
    # element back, unless others have filled it; and then those who took after that see it so.
    smp_rmb(b"A:mempool.free")
    return reserve_wants(reserve_of(pool))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_give(
    pool: cython.pointer(PoolRef),
    backend: cython.pointer(PoolRef),
    words: cython.pointer(cython.const[uint64_t]),
    nr: uint64_t,
    taken: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    """Puts elements of this process into the reserve while it wants any: OK, and taken[0] of them are there; the others are
    still the caller's, for the backend. What is wrong with an element, or the lock's TIMED_OUT, INTERRUPTED: those before
    taken[0] are in the reserve, the rest unchanged."""
    woken: Woken
    status: cython.int
    taken[0] = 0
    if not mempool_wants(pool):
        return OK
    status = reserve_lock(pool, timeout_ns)
    if status != OK:
        return status
    nobody_woken(cython.address(woken))
    while status == OK and taken[0] < nr and reserve_wants(reserve_of(pool)):
        status = push_locked(pool, backend, words[taken[0]], cython.cast(uint32_t, pool.arena.slot[0]))
        taken[0] += status == OK
    grant_locked(reserve_of(pool), cython.address(woken))
    reserve_unlock(pool, cython.address(woken))
    return OK if status == TABLE_FULL else status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_keep(pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), word: uint64_t) -> cython.int:
    """mempool_give for callers that cannot look whether the lock's holder lives: OK, or the element is still the caller's."""
    taken: uint64_t = 0
    status: cython.int
    while True:
        status = mempool_give(pool, backend, cython.address(word), 1, cython.address(taken), _KEEP_NS)
        if status != INTERRUPTED:
            return OK if taken else EXHAUSTED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_of(pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef)) -> cython.bint:
    """Are the pool's elements blocks of that backend?"""
    r: cython.pointer(Reserve) = reserve_of(pool)
    return (
        element_nbytes(pool) != 0
        and read_once(cython.address(r.backend), b"mempool.backend") == backend.index
        and read_once(cython.address(r.serial), b"mempool.backend") == backend.serial
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def keep(backend: cython.pointer(PoolRef), keeper: uint64_t, address: uint64_t, nbytes: uint64_t) -> cython.int:
    """For pools/shares.py: an element that was shared has lost its last holder."""
    loaded: PoolRef
    pool: cython.pointer(PoolRef) = cython.address(loaded)
    if keeper >= NR_POOLS or pool_load(backend.arena, cython.cast(uint32_t, keeper), pool) != OK:
        return EXHAUSTED
    if pool.kind != KIND_MEMPOOL or pool.root_nbytes < cython.sizeof(Reserve):
        return EXHAUSTED
    if not is_of(pool, backend) or element_nbytes(pool) > nbytes:
        return EXHAUSTED
    return mempool_keep(pool, backend, address)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_leave(pool: cython.pointer(PoolRef), waiter: uint64_t, timeout_ns: uint64_t) -> cython.int:
    """A waiter gives up: OK, or the lock's status. What it was granted goes to the next."""
    woken: Woken
    status: cython.int = reserve_lock(pool, timeout_ns)
    if status != OK:
        return status
    nobody_woken(cython.address(woken))
    leave_locked(reserve_of(pool), waiter)
    grant_locked(reserve_of(pool), cython.address(woken))
    reserve_unlock(pool, cython.address(woken))
    return OK


register_keeper(keep)
