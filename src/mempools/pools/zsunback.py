"""L3: free pages of a ZsPool give their memory back to the system; their place stays the pool's.

Guarantee. Only pages that nobody has: each is claimed meanwhile. Lock-free, process-safe. Price. A system call for each run of
free pages in eight; whoever takes one of them later reserves it again (layout/backing.py).

  what runs | beside alloc                                          | beside free
  unback    | eight pages at a time are not to be had for a moment  | any

Crash windows.
  [D:zsunback.claimed]  some pages are the dead process's, whether they exist or not: swept, and reserved by whoever has them
                        next.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zsunback is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.backing import pages_unback
from cython.cimports.mempools.layout.chunks import pool_known
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.machine.atomics import this_module_step, window
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64
from cython.cimports.mempools.parts.ownermap import claim_singles, release_singles
from cython.cimports.mempools.pools.zstable import ZS_SHIFT

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unback_word(
    pool: cython.pointer(PoolRef), chunk: cython.pointer(ChunkRef), w: uint64_t, slot: uint32_t
) -> cython.void:
    lanes: uint64_t = claim_singles(chunk.map, w, 8, slot)
    left: uint64_t = lanes
    first: uint64_t
    nr: uint64_t
    if lanes == 0:
        return
    window(b"D:zsunback.claimed")
    while left:
        first = ctz64(left)
        nr = ctz64(~(left >> first))
        pages_unback(pool.arena, chunk.base + (w * 8 + first << ZS_SHIFT), nr << ZS_SHIFT)
        left &= ~(((1 << nr) - 1) << first)
    release_singles(chunk.map, chunk.summary, chunk.nr_words, w, lanes, slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_unback(pool: cython.pointer(PoolRef)) -> cython.void:
    """Of an arena that has a file; there is nothing to give back in memory of this process alone."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    i: uint64_t
    w: uint64_t
    if slot == 0 or pool.arena.fd < 0:
        return
    for i in range(pool_known(pool)):
        for w in range(pool.chunks[i].nr_words):
            unback_word(pool, cython.address(pool.chunks[i]), w, slot)
