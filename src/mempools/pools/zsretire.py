"""L3: the end of an object of a ZsPool that somebody may be reading (see zsalloc.py).

Purpose. A structure that replaces one object by another (a page of a Zram, a value of a Store) cannot wait for the readers of the
old one, nor be refused: it makes the old one DOOMED, and whoever reads it last frees it.
Guarantee. A retired object ends exactly once: at once, with its last reader, or, if that one dies, by recovery. Nobody needs to
be told which. Process-safe, not lock-free.
Price. A free; where somebody reads, one swap and a second look at the pins.

  what runs | beside pin                   | beside unpin                                  | beside another, a deferral
  retire    | as a free: [F:zspin.claimed] | [F:zsretire.doomed]: one of the two frees it  | one is told STALE

Crash windows.
  [D:zsretire.doomed]  an object is nobody's, and nobody may read it any more: the next recovery frees it.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zsretire is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import cmpxchg_relaxed, smp_mb, this_module_step, window
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, OK, STALE
from cython.cimports.mempools.pools.genpool import genpool_free
from cython.cimports.mempools.pools.zsalloc import free_locked, lock_object
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zspage import class_unlock
from cython.cimports.mempools.pools.zspin import is_pinned
from cython.cimports.mempools.pools.zstable import OWNER_SHIFT, ZS_SHIFT, index_of

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def retire_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    index: uint64_t,
    cell: cython.pointer(uint64_t),
    word: uint64_t,
    slot: uint32_t,
    block: cython.pointer(uint64_t),
) -> cython.int:
    """Frees the object that the cell's word names, or dooms it if somebody reads it: OK, and block[0] is the pages of a zspage
    for the caller to free, or 0; STALE: another has doomed it since; CORRUPT."""
    doomed: uint64_t = word & ~(cython.cast(uint64_t, 0x7F) << OWNER_SHIFT)
    found: uint64_t
    status: cython.int
    while True:
        status = free_locked(pool, g, index, cell, word, slot, block)
        if status != BUSY:
            return status
        # Relaxed: free_locked has given its claim up, or a reader has taken it, and nothing is published.
        found = cmpxchg_relaxed(cell, word, doomed, b"zsretire.doom")
        if found != word:
            if found == doomed:
                return STALE
            word = found
            continue
        word = doomed
        window(b"D:zsretire.doomed")
        # [F:zsretire.doomed] full; pairs with [F:zspin.leave]: see there.
        smp_mb(b"F:zsretire.doomed")
        if is_pinned(pool, index):
            return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_retire(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, timeout_ns: uint64_t
) -> cython.int:
    """Ends an object of the pool's own or of this process, read or not: OK, and it is free, or will be with its last reader;
    STALE: it has ended; NOT_A_BLOCK: it never was one; CORRUPT, and what the lock says. For who alone names the object: who
    looks it up by its handle meanwhile may still find it."""
    c: uint64_t = handle >> 32 & 0xFF
    cell: cython.pointer(uint64_t) = cython.NULL
    word: uint64_t = 0
    block: uint64_t = 0
    status: cython.int = lock_object(pool, g, handle, False, cython.address(cell), cython.address(word), timeout_ns)
    if status != OK:
        return status
    status = retire_locked(
        pool, g, index_of(handle), cell, word, cython.cast(uint32_t, pool.arena.slot[0]), cython.address(block)
    )
    class_unlock(pool, c)
    if block:
        genpool_free(pool, block, cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT)
    return status
