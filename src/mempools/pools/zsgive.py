"""L3: objects of a ZsPool that belong to a structure in the arena: who owns them, and what stands in them (see zsalloc.py).

Purpose. A structure (an index of a Store) takes objects over from the process that made them, and gives them back to the one that
is to free them, under a lock of its own, where no class may be locked.
Guarantee. One swap of one cell; lock-free, process-safe. Doing it twice changes nothing.
Precondition. The caller alone decides whose the object is: nobody frees or gives it meanwhile.

  what runs | beside a move, a free             | beside pin
  give      | takes the claim away: they fail   | neither sees the other
  look      | only of an object that nobody can move or free now

Rules. As a reader's, the swap takes CELL_CLAIMED away; so the mover's swap from the claimed word fails, and its copy is dropped.
A claim is a swap, too: it cannot undo a gift.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zsgive is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import cmpxchg_relaxed, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import NOT_A_BLOCK, OK
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zspin import Pinned, locate, not_named
from cython.cimports.mempools.pools.zstable import CELL_CLAIMED, OWNER_SHIFT, handle_names, index_of, zs_cell

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_give(pool: cython.pointer(PoolRef), handle: uint64_t, owner: uint64_t) -> cython.int:
    """The object is that owner's from now on: OK; STALE, NOT_A_BLOCK: there is none."""
    cell: cython.pointer(uint64_t) = zs_cell(pool, index_of(handle))
    word: uint64_t
    given: uint64_t
    if cell == cython.NULL:
        return NOT_A_BLOCK
    while True:
        word = read_once(cell, b"zsgive.look")
        if not handle_names(handle, word):
            return not_named(handle, word)
        given = word & ~(cython.cast(uint64_t, 0x7F) << OWNER_SHIFT | cython.cast(uint64_t, CELL_CLAIMED))
        # Relaxed: it publishes nothing. What the structure's commit publishes, that commit orders.
        if cmpxchg_relaxed(cell, word, given | owner << OWNER_SHIFT, b"zsgive.give") == word:
            return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_look(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, seen: cython.pointer(Pinned)
) -> cython.int:
    """Where an object is, without a pin: OK; STALE, NOT_A_BLOCK, CORRUPT. Of an object that has a zspage to itself, which is
    never moved, and that the caller keeps from being freed."""
    cell: cython.pointer(uint64_t) = zs_cell(pool, index_of(handle))
    word: uint64_t
    if cell == cython.NULL:
        return NOT_A_BLOCK
    word = read_once(cell, b"zsgive.look")
    if not handle_names(handle, word):
        return not_named(handle, word)
    seen.entry = cython.NULL
    seen.handle = handle
    return locate(pool, g, word & ~cython.cast(uint64_t, CELL_CLAIMED), seen)
