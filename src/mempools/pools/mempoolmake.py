"""L3: making and resizing a Mempool (see mempool.py).

Guarantee. Of those who make a pool at the same time one fills its table; resizing runs beside takes and gives, and of two
who make room at the same time one's is used and the other's returned. Process-safe, not lock-free.

Crash windows (the dead process is X; recovery is pools/mempoolmend.py):
  [D:mempoolmake.making]   the table is not `made`: the next one makes it from the start.
  [D:mempoolmake.segment]  a segment is named, its block still X's: recovery hands it to OWNER_STRUCT.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.mempoolmake is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import Hint, PoolRef
from cython.cimports.mempools.machine.atomics import (
    load_acquire,
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import (
    BUSY,
    CORRUPT,
    EXHAUSTED,
    MISMATCH,
    NOT_REGISTERED,
    OK,
)
from cython.cimports.mempools.pools.genpool import (
    NEAR_FIT,
    genpool_alloc_algo,
    genpool_free,
    genpool_transfer,
)
from cython.cimports.mempools.pools.mempool import pop_locked
from cython.cimports.mempools.pools.reserve import (
    NR_INLINE,
    NR_SEGMENTS,
    Reserve,
    Woken,
    nobody_woken,
    reserve_cell,
    reserve_lock,
    reserve_of,
    reserve_unlock,
    segment_of,
    wake_all_locked,
)

register_module(cython.address(this_module_step))

_MAKE_NS = cython.declare(uint64_t, 20_000_000)


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
    # [A:mempoolmake.made] acquire; pairs with [R:mempoolmake.made]: see there.
    if not load_acquire(cython.address(r.made), b"A:mempoolmake.made"):
        status = reserve_lock(pool, _MAKE_NS)
        if status != OK:
            return status if status == NOT_REGISTERED else BUSY
        nobody_woken(cython.address(woken))
        if not read_once(cython.address(r.made), b"mempoolmake.made"):
            write_once(cython.address(r.nbytes), config.nbytes, b"mempoolmake.make")
            write_once(cython.address(r.backend), config.backend, b"mempoolmake.make")
            if backend != cython.NULL:
                write_once(cython.address(r.serial), backend.serial, b"mempoolmake.make")
            write_once(cython.address(r.fifo), config.fifo, b"mempoolmake.make")
            write_once(cython.address(r.poison), config.poison, b"mempoolmake.make")
            write_once(cython.address(r.low_water), ~cython.cast(uint64_t, 0), b"mempoolmake.make")
            write_once(cython.address(r.asked), config.min_nr, b"mempoolmake.make")
            window(b"D:mempoolmake.making")
            # [R:mempoolmake.made] release; pairs with [A:mempoolmake.made]: whoever uses the pool knows what its elements are.
            store_release(cython.address(r.made), 1, b"R:mempoolmake.made")
        reserve_unlock(pool, cython.address(woken))
    if (
        read_once(cython.address(r.nbytes), b"mempoolmake.config") != config.nbytes
        or read_once(cython.address(r.backend), b"mempoolmake.config") != config.backend
        or (backend != cython.NULL and read_once(cython.address(r.serial), b"mempoolmake.config") != backend.serial)
        or read_once(cython.address(r.fifo), b"mempoolmake.config") != config.fifo
        or read_once(cython.address(r.poison), b"mempoolmake.config") != config.poison
        or read_once(cython.address(r.asked), b"mempoolmake.config") != config.min_nr
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
        if read_once(cython.address(r.segments[k]), b"mempoolmake.room"):
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
        nobody_woken(cython.address(woken))
        if read_once(cython.address(r.segments[k]), b"mempoolmake.room"):
            status = BUSY  # somebody else was faster
        else:
            write_once(cython.address(r.segments[k]), offset, b"mempoolmake.room")
            window(b"D:mempoolmake.segment")
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
    """Sets the minimum, for which there must be cells: OK; or BUSY: the reserve has more than that, and surplus[0] has been taken
    out for the caller to free: call again. Or the lock's status. The minimum comes first: whoever dies with half of the
    surplus taken out leaves a reserve that has more than it is to have, not less."""
    r: cython.pointer(Reserve) = reserve_of(pool)
    woken: Woken
    status: cython.int = reserve_lock(pool, timeout_ns)
    keep: uint64_t = min_nr if min_nr else 1
    if status != OK:
        return status
    nobody_woken(cython.address(woken))
    if read_once(cython.address(r.min_nr), b"mempoolmake.set_min") != min_nr:
        write_once(cython.address(r.min_nr), min_nr, b"mempoolmake.set_min")
        # Who waits for more than there will ever be must be told.
        wake_all_locked(r, cython.address(woken))
    if read_once(cython.address(r.curr_nr), b"mempoolmake.set_min") > keep:
        status = pop_locked(pool, backend, surplus, cython.cast(uint32_t, pool.arena.slot[0]))
        if status == OK:
            status = BUSY
    reserve_unlock(pool, cython.address(woken))
    return status
