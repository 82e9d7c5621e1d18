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
which is the truth; cells, counts and queue are the lock holder's to change and recovery's to mend.

Crash windows (the dead process is X, `mend` recovery's step):
  [D:mempool.moving]   the cell is named, the block X's, RESERVE's or in part both: mend makes it RESERVE's and counts it.
  [D:mempool.moved]    as before, all of it moved.
  [D:mempool.taken]    the reserve is short of what X has taken: mend puts X's elements back.
  [D:mempool.segment]  a segment is named, its block still X's: mend hands it to OWNER_STRUCT.
  [D:mempool.making]   the table is not `made`: the next one makes it from the start.
  [D:mempool.mended]   recovery died: the lock is still X's, mend finds what it has not done yet.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.mempool is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_known, pool_load, pool_update
from cython.cimports.mempools.layout.recovery import register_mend
from cython.cimports.mempools.layout.refs import ChunkRef, Hint, PoolRef
from cython.cimports.mempools.layout.structs import KIND_MEMPOOL, NR_POOLS
from cython.cimports.mempools.machine.atomics import (
    fill,
    load_acquire,
    read_once,
    smp_rmb,
    smp_wmb,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64, lanes_equal
from cython.cimports.mempools.parts.ownermap import block_length, inspect
from cython.cimports.mempools.parts.owners import OWNER_RESERVE, OWNER_STRUCT, START
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import (
    BUSY,
    CORRUPT,
    EXHAUSTED,
    INTERRUPTED,
    MISMATCH,
    NOT_A_BLOCK,
    NOT_REGISTERED,
    OK,
    TABLE_FULL,
)
from cython.cimports.mempools.pools.genpool import (
    NEAR_FIT,
    genpool_alloc_algo,
    genpool_chunk,
    genpool_free,
    genpool_granules,
    genpool_transfer,
)
from cython.cimports.mempools.pools.reserve import (
    NO_TICKET,
    NR_INLINE,
    NR_SEGMENTS,
    Woken,
    available_locked,
    enqueue_locked,
    grant_locked,
    leave_all_locked,
    leave_dead_locked,
    leave_locked,
    reserve_cell,
    reserve_lock,
    reserve_of,
    reserve_unlock,
    reserve_wake,
    reserve_wants,
    segment_of,
    wait_again_locked,
    wake_all_locked,
)
from cython.cimports.mempools.pools.shares import register_keeper, share_mend

register_module(cython.address(this_module_step))

_MEND_NS = cython.declare(uint64_t, 1_000_000_000)  # how long recovery waits for a lock whose holder lives
_MAKE_NS = cython.declare(uint64_t, 20_000_000)
_KEEP_NS = cython.declare(uint64_t, 100_000_000)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def forget(woken: cython.pointer(Woken)) -> cython.void:
    w: cython.int
    for w in range(4):
        woken.waiters[w] = 0


@cython.cfunc
@cython.inline
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
    forget(cython.address(woken))
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
    forget(cython.address(woken))
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
    forget(cython.address(woken))
    leave_locked(reserve_of(pool), waiter)
    grant_locked(reserve_of(pool), cython.address(woken))
    reserve_unlock(pool, cython.address(woken))
    return OK


# ---- making, resizing


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_make(
    pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), config: cython.pointer(MempoolConfig)
) -> cython.int:
    """Fills the table of a new pool, once, or compares it with what it is to be: OK, MISMATCH, BUSY (somebody else is at it, or
    has died), NOT_REGISTERED. The reserve is not filled."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    woken: Woken
    status: cython.int
    # [A:mempool.made] acquire; pairs with [R:mempool.made]: see there.
    if not load_acquire(cython.address(r.made), b"A:mempool.made"):
        status = reserve_lock(pool, _MAKE_NS)
        if status != OK:
            return status if status == NOT_REGISTERED else BUSY
        forget(cython.address(woken))
        if not read_once(cython.address(r.made), b"mempool.made"):
            write_once(cython.address(r.nbytes), config.nbytes, b"mempool.make")
            write_once(cython.address(r.backend), config.backend, b"mempool.make")
            if backend != cython.NULL:
                write_once(cython.address(r.serial), backend.serial, b"mempool.make")
            write_once(cython.address(r.fifo), config.fifo, b"mempool.make")
            write_once(cython.address(r.poison), config.poison, b"mempool.make")
            write_once(cython.address(r.low_water), ~cython.cast(uint64_t, 0), b"mempool.make")
            write_once(cython.address(r.asked), config.min_nr, b"mempool.make")
            window(b"D:mempool.making")
            # [R:mempool.made] release; pairs with [A:mempool.made]: whoever uses the pool knows what its elements are.
            store_release(cython.address(r.made), 1, b"R:mempool.made")
        reserve_unlock(pool, cython.address(woken))
    if (
        read_once(cython.address(r.nbytes), b"mempool.config") != config.nbytes
        or read_once(cython.address(r.backend), b"mempool.config") != config.backend
        or (backend != cython.NULL and read_once(cython.address(r.serial), b"mempool.config") != backend.serial)
        or read_once(cython.address(r.fifo), b"mempool.config") != config.fifo
        or read_once(cython.address(r.poison), b"mempool.config") != config.poison
        or read_once(cython.address(r.asked), b"mempool.config") != config.min_nr
    ):
        return MISMATCH
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_room(pool: cython.pointer(PoolRef), nr: uint64_t) -> cython.int:
    """Makes cells for nr elements: OK, EXHAUSTED, CORRUPT, or the lock's status. Cells are never taken away."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    owner: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    hint: Hint
    woken: Woken
    offset: uint64_t = 0
    nbytes: uint64_t
    status: cython.int
    k: uint64_t = 1
    hint.chunk = 0
    hint.word = 0
    if nr > NR_INLINE and segment_of(nr - 1) >= NR_SEGMENTS:
        return EXHAUSTED
    while nr > NR_INLINE and k <= segment_of(nr - 1):
        nbytes = cython.cast(uint64_t, NR_INLINE << 3) << k
        if read_once(cython.address(r.segments[k]), b"mempool.room"):
            if reserve_cell(pool, ((cython.cast(uint64_t, 1) << k) - 1) * NR_INLINE) == cython.NULL:
                return CORRUPT
            k += 1
            continue
        # Of the pool's own chunks, which it has for this, whatever its elements are.
        status = genpool_alloc_algo(pool, cython.address(hint), nbytes, NEAR_FIT, 0, cython.address(offset))
        if status != OK:
            return status
        status = reserve_lock(pool, _MAKE_NS)
        if status != OK:
            genpool_free(pool, offset, nbytes)
            return status
        forget(cython.address(woken))
        if read_once(cython.address(r.segments[k]), b"mempool.room"):
            status = BUSY  # somebody else was faster
        else:
            write_once(cython.address(r.segments[k]), offset, b"mempool.room")
            window(b"D:mempool.segment")
            genpool_transfer(pool, offset, nbytes, owner, OWNER_STRUCT)
        reserve_unlock(pool, cython.address(woken))
        if status == BUSY:
            genpool_free(pool, offset, nbytes)
        k += 1
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_set_min(
    pool: cython.pointer(PoolRef),
    backend: cython.pointer(PoolRef),
    min_nr: uint64_t,
    surplus: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    """Sets the minimum, for which there must be cells: OK; or BUSY: the reserve has more than that, surplus[0] has been taken
    out for the caller to free, and the minimum is what it was: call again. Or the lock's status."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    woken: Woken
    status: cython.int = reserve_lock(pool, timeout_ns)
    keep: uint64_t = min_nr if min_nr else 1
    if status != OK:
        return status
    forget(cython.address(woken))
    if read_once(cython.address(r.curr_nr), b"mempool.set_min") > keep:
        status = pop_locked(pool, backend, surplus, cython.cast(uint32_t, pool.arena.slot[0]))
        if status == OK:
            status = BUSY
    else:
        write_once(cython.address(r.min_nr), min_nr, b"mempool.set_min")
        # Who waits for more than there will ever be must be told.
        wake_all_locked(r, cython.address(woken))
    reserve_unlock(pool, cython.address(woken))
    return status


# ---- looking


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_counts(pool: cython.pointer(PoolRef)) -> cython.pointer(SlotCounts):
    """This process's statistics."""
    return cython.address(reserve_of(pool).counts[pool.arena.slot[0]])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_outstanding(pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), owner: uint32_t) -> uint64_t:
    """Blocks of one element that are the owner's: a walk of the backend's owner map."""
    nr: uint64_t = 0
    i: uint64_t
    w: uint64_t
    at: uint64_t
    lanes: uint64_t
    chunk: cython.pointer(ChunkRef)
    granules: uint64_t = genpool_granules(backend, element_nbytes(pool))
    pool_update(backend)
    for i in range(pool_known(backend)):
        chunk = cython.address(backend.chunks[i])
        for w in range(chunk.nr_words):
            lanes = lanes_equal(read_once(cython.address(chunk.map[w]), b"mempool.outstanding"), owner | START, 0)
            while lanes:
                at = w * 8 + ctz64(lanes)
                lanes &= lanes - 1
                nr += block_length(chunk.map, chunk.nr, at) == granules
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_check(
    pool: cython.pointer(PoolRef),
    backend: cython.pointer(PoolRef),
    named: cython.pointer(uint64_t),
    wrong: cython.pointer(uint64_t),
) -> cython.int:
    """Under the lock: how many elements the reserve names, and how many of them are no blocks of the reserve's; or the lock's
    status. For a pool of blocks."""
    woken: Woken
    i: uint64_t
    cell: cython.pointer(uint64_t)
    status: cython.int = reserve_lock(pool, _MEND_NS)
    if status != OK:
        return status
    forget(cython.address(woken))
    named[0] = read_once(cython.address(reserve_of(pool).curr_nr), b"mempool.check")
    wrong[0] = 0
    for i in range(named[0]):
        cell = reserve_cell(pool, i)
        if cell == cython.NULL:  # the count is wrong: it may be any number
            wrong[0] += named[0] - i
            break
        if is_element(pool, backend, read_once(cell, b"mempool.check"), OWNER_RESERVE) != OK:
            wrong[0] += 1
    reserve_unlock(pool, cython.address(woken))
    return OK


# ---- recovery


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
def backend_of(pool: cython.pointer(PoolRef), loaded: cython.pointer(PoolRef)) -> cython.pointer(PoolRef):
    """The pool that the elements are blocks of, for recovery, which has no references; NULL: there is none."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    index: uint64_t = read_once(cython.address(r.backend), b"mempool.backend")
    if element_nbytes(pool) == 0 or index >= NR_POOLS:
        return cython.NULL
    if index == pool.index:
        return pool
    if pool_load(pool.arena, cython.cast(uint32_t, index), loaded) != OK:
        return cython.NULL
    return loaded if is_of(pool, loaded) else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def refill_of_dead(pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), slot: uint32_t) -> cython.void:
    """What the dead process had of the size of an element goes into the reserve, while that wants any. It need not be from this
    pool: what a dead process had is the backend's, and so anybody's."""
    i: uint64_t
    w: uint64_t
    at: uint64_t
    lanes: uint64_t
    chunk: cython.pointer(ChunkRef)
    for i in range(pool_known(backend)):
        chunk = cython.address(backend.chunks[i])
        for w in range(chunk.nr_words):
            lanes = lanes_equal(read_once(cython.address(chunk.map[w]), b"mempool.mend"), slot | START, 0)
            while lanes:
                if not reserve_wants(reserve_of(pool)):
                    return
                at = chunk.base + ((w * 8 + ctz64(lanes)) << backend.shift)
                lanes &= lanes - 1
                push_locked(pool, backend, at, slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_moving(pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), slot: uint32_t) -> cython.void:
    """The element that the lock's holder, who is no more, was moving goes into the reserve. Nobody has touched it since."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    moving: uint64_t = read_once(cython.address(r.moving), b"mempool.mend")
    cell: cython.pointer(uint64_t) = cython.NULL if moving == 0 else reserve_cell(pool, moving - 1)
    if backend != cython.NULL and cell != cython.NULL:
        if (
            genpool_transfer(backend, read_once(cell, b"mempool.mend"), element_nbytes(pool), slot, OWNER_RESERVE)
            == OK
        ):
            write_once(cython.address(r.curr_nr), moving, b"mempool.mend")
    write_once(cython.address(r.moving), 0, b"mempool.mend")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mempool_forked(pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef)) -> cython.void:
    """In a forked child, whose copy of a private arena it is: the threads that waited, or had the lock, are not here."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    if robust_holder(cython.address(r.lock)) == slot:
        mend_moving(pool, backend, slot)
        robust_unlock(cython.address(r.lock), slot)
    leave_all_locked(r)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.int:
    """For recovery: the reserve that the dead process may have had locked; its waiters; its elements. BUSY: a living process has
    had the lock for long: again later."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    loaded: PoolRef
    woken: Woken
    backend: cython.pointer(PoolRef)
    k: uint64_t
    status: cython.int
    if pool.root == cython.NULL or pool.root_nbytes < cython.sizeof(Reserve):
        return CORRUPT
    while robust_holder(cython.address(r.lock)) != slot:
        status = robust_lock(cython.address(r.lock), slot, _MEND_NS)
        if status == OK:
            break
        if status != INTERRUPTED:
            return BUSY
    forget(cython.address(woken))
    if read_once(cython.address(r.made), b"mempool.mend"):
        backend = backend_of(pool, cython.address(loaded))
        mend_moving(pool, backend, slot)
        for k in range(1, NR_SEGMENTS):
            if read_once(cython.address(r.segments[k]), b"mempool.mend"):
                genpool_transfer(
                    pool,
                    read_once(cython.address(r.segments[k]), b"mempool.mend"),
                    cython.cast(uint64_t, NR_INLINE << 3) << k,
                    slot,
                    OWNER_STRUCT,
                )
        window(b"D:mempool.mended")
        if backend != cython.NULL:
            share_mend(backend, slot)  # what it alone held of shared blocks becomes its own, and the reserve's
            refill_of_dead(pool, backend, slot)
        leave_dead_locked(r, slot)
        fold_counts(r, slot)
        grant_locked(r, cython.address(woken))
        # Whom the dead process had woken, or was about to, may not know.
        wake_all_locked(r, cython.address(woken))
    robust_unlock(cython.address(r.lock), slot)
    reserve_wake(pool, cython.address(woken))
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fold_counts(r: cython.pointer(Reserve), slot: uint32_t) -> cython.void:
    """The dead process's statistics join those of all who have gone. A death within counts some of them twice or not."""
    mine: cython.pointer(uint64_t) = cython.cast(cython.pointer(uint64_t), cython.address(r.counts[slot]))
    gone: cython.pointer(uint64_t) = cython.cast(cython.pointer(uint64_t), cython.address(r.counts[0]))
    i: cython.int
    write_once(cython.address(r.counts[slot].stuck), 0, b"mempool.fold")
    for i in range(7):
        write_once(
            cython.address(gone[i]),
            read_once(cython.address(gone[i]), b"mempool.fold") + read_once(cython.address(mine[i]), b"mempool.fold"),
            b"mempool.fold",
        )
        write_once(cython.address(mine[i]), 0, b"mempool.fold")


register_mend(KIND_MEMPOOL, mend)
register_keeper(keep)
