"""L3: what recovery does for a Mempool, and looking at one (see mempool.py).

Guarantee. After mend the dead process's lock is free, what it was moving is in the reserve, its waiters are gone, its
elements fill the reserve as far as that wants any, and whoever waits has been woken. It may die and be run again by another.

Crash window. [D:mempoolmend.mended] the lock is still the dead process's: mend finds what it has not done yet.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.mempoolmend is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_known, pool_load, pool_update
from cython.cimports.mempools.layout.recovery import register_mend
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import KIND_MEMPOOL, KIND_PERCPU_POOL, NR_POOLS
from cython.cimports.mempools.machine.atomics import (
    read_once,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64, lanes_equal
from cython.cimports.mempools.parts.ownermap import block_length
from cython.cimports.mempools.parts.owners import OWNER_RESERVE, OWNER_STRUCT, START
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import (
    BUSY,
    CORRUPT,
    INTERRUPTED,
    OK,
)
from cython.cimports.mempools.pools.genpool import (
    genpool_granules,
    genpool_transfer,
)
from cython.cimports.mempools.pools.mempool import element_nbytes, is_element, is_of, push_locked
from cython.cimports.mempools.pools.reserve import (
    NR_INLINE,
    NR_SEGMENTS,
    Reserve,
    Woken,
    grant_locked,
    leave_all_locked,
    leave_dead_locked,
    nobody_woken,
    reserve_cell,
    reserve_lock,
    reserve_of,
    reserve_unlock,
    reserve_wake,
    reserve_wants,
    wake_all_locked,
)
from cython.cimports.mempools.pools.shares import share_mend

register_module(cython.address(this_module_step))

_MEND_NS = cython.declare(uint64_t, 20_000_000)  # for a lock whose holder may live, or be as dead: recovery tries again


# ---- looking


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
            lanes = lanes_equal(read_once(cython.address(chunk.map[w]), b"mempoolmend.outstanding"), owner | START, 0)
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
    nobody_woken(cython.address(woken))
    named[0] = read_once(cython.address(reserve_of(pool).curr_nr), b"mempoolmend.check")
    wrong[0] = 0
    for i in range(named[0]):
        cell = reserve_cell(pool, i)
        if cell == cython.NULL:  # the count is wrong: it may be any number
            wrong[0] += named[0] - i
            break
        if is_element(pool, backend, read_once(cell, b"mempoolmend.check"), OWNER_RESERVE) != OK:
            wrong[0] += 1
    reserve_unlock(pool, cython.address(woken))
    return OK


# ---- recovery


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def backend_of(pool: cython.pointer(PoolRef), loaded: cython.pointer(PoolRef)) -> cython.pointer(PoolRef):
    """The pool that the elements are blocks of, for recovery, which has no references; NULL: there is none."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    index: uint64_t = read_once(cython.address(r.backend), b"mempoolmend.backend")
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
            lanes = lanes_equal(read_once(cython.address(chunk.map[w]), b"mempoolmend.mend"), slot | START, 0)
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
    moving: uint64_t = read_once(cython.address(r.moving), b"mempoolmend.moving")
    cell: cython.pointer(uint64_t) = cython.NULL if moving == 0 else reserve_cell(pool, moving - 1)
    if backend != cython.NULL and cell != cython.NULL:
        if (
            genpool_transfer(backend, read_once(cell, b"mempoolmend.moving"), element_nbytes(pool), slot, OWNER_RESERVE)
            == OK
        ):
            write_once(cython.address(r.curr_nr), moving, b"mempoolmend.moving")
    write_once(cython.address(r.moving), 0, b"mempoolmend.moving")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_moving_elsewhere(
    pool: cython.pointer(PoolRef), backend: cython.pointer(PoolRef), slot: uint32_t
) -> cython.void:
    """Of other pools over the same backend whose locks the dead process has: an element under way is X's in the owner map, as
    are those that anybody may have now. Were it taken for this pool's, that one's mend would find it moved, and count it
    there."""
    other: PoolRef
    r: cython.pointer(Reserve)
    index: uint32_t
    for index in range(1, NR_POOLS):
        if index == pool.index or pool_load(pool.arena, index, cython.address(other)) != OK:
            continue
        r = reserve_of(cython.address(other))
        if (
            other.kind == KIND_MEMPOOL
            and r != cython.NULL
            and other.root_nbytes >= cython.sizeof(Reserve)
            and robust_holder(cython.address(r.lock)) == slot
            and is_of(cython.address(other), backend)
        ):
            mend_moving(cython.address(other), backend, slot)


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
    nobody_woken(cython.address(woken))
    if read_once(cython.address(r.made), b"mempoolmend.mend"):
        backend = backend_of(pool, cython.address(loaded))
        mend_moving(pool, backend, slot)
        for k in range(1, NR_SEGMENTS):
            if read_once(cython.address(r.segments[k]), b"mempoolmend.mend"):
                genpool_transfer(
                    pool,
                    read_once(cython.address(r.segments[k]), b"mempoolmend.mend"),
                    cython.cast(uint64_t, NR_INLINE << 3) << k,
                    slot,
                    OWNER_STRUCT,
                )
        window(b"D:mempoolmend.mended")
        if backend != cython.NULL:
            share_mend(backend, slot)  # what it alone held of shared blocks becomes its own, and the reserve's
            mend_moving_elsewhere(pool, backend, slot)
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
    write_once(cython.address(r.counts[slot].stuck), 0, b"mempoolmend.fold")
    for i in range(7):
        write_once(
            cython.address(gone[i]),
            read_once(cython.address(gone[i]), b"mempoolmend.fold")
            + read_once(cython.address(mine[i]), b"mempoolmend.fold"),
            b"mempoolmend.fold",
        )
        write_once(cython.address(mine[i]), 0, b"mempoolmend.fold")


register_mend(KIND_MEMPOOL, mend)
register_mend(KIND_PERCPU_POOL, mend)
