"""L3: the tables of a ZsPool: cells, which say where the objects are, and descriptors of zspages.

Guarantee. A cell or descriptor stays where it is; tables grow beside lookups. Lock-free, process-safe.
Price. One acquiring load for a lookup beyond the root's own part.

  what runs | beside a lookup                     | beside another growth
  growth    | [R:zstable.named]: zeroed before it | one wins, the other's block goes back

Crash windows (the dead process is X; recovery is pools/zsmend.py):
  [D:zstable.named]  the root names a block that is still X's in the owner map: recovery hands it to OWNER_STRUCT.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zstable is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.backing import pages_taken
from cython.cimports.mempools.layout.chunks import inside
from cython.cimports.mempools.layout.refs import Hint, PoolRef
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    cmpxchg_release,
    fill,
    load_acquire,
    read_once,
    this_module_step,
    window,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import clz64
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import EXHAUSTED, MISMATCH, OK
from cython.cimports.mempools.pools.genpool import (
    NEAR_FIT,
    genpool_alloc_algo,
    genpool_free,
    genpool_take,
    genpool_transfer,
)
from cython.cimports.mempools.pools.zsgeometry import Geometry, geometry_of

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def root_nbytes(g: cython.pointer(Geometry)) -> uint64_t:
    return cython.sizeof(ZsRoot) + g.nr * cython.sizeof(ZsClass)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_make(pool: cython.pointer(PoolRef), chain: uint64_t) -> cython.int:
    """Says what a new pool is, or compares: OK or MISMATCH. The rest of a new root is zero, which is right."""
    # Relaxed: nothing was written before it that others must see.
    found: uint64_t = cmpxchg_relaxed(cython.address(zs_root(pool).chain), 0, chain, b"zstable.make")
    return OK if found == 0 or found == chain else MISMATCH


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_geometry(pool: cython.pointer(PoolRef)) -> cython.pointer(Geometry):
    """NULL: the pool has not been made, or its root makes no sense."""
    g: cython.pointer(Geometry)
    if pool.root == cython.NULL or pool.root_nbytes < cython.sizeof(ZsRoot):
        return cython.NULL
    g = geometry_of(read_once(cython.address(zs_root(pool).chain), b"zstable.chain"))  # relaxed: constant
    return g if g != cython.NULL and pool.root_nbytes >= root_nbytes(g) else cython.NULL


# ---- lookups


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def segment_of(index: uint64_t, first: uint64_t) -> uint64_t:
    """Segments have first, 2 * first, 4 * first ... entries."""
    return 63 - clz64(index // first + 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def segment_at(pool: cython.pointer(PoolRef), name: cython.pointer(uint64_t), k: uint64_t) -> cython.p_char:
    # [A:zstable.named] acquire; pairs with [R:zstable.named]: see there.
    offset: uint64_t = load_acquire(name, b"A:zstable.named")
    if not inside(pool.arena, offset, cython.cast(uint64_t, 4096) << k):  # 0: there is none yet
        return cython.NULL
    return pool.arena.base + offset


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_cell(pool: cython.pointer(PoolRef), index: uint64_t) -> cython.pointer(uint64_t):
    """NULL where there is none (yet)."""
    k: uint64_t
    base: cython.p_char
    if index < INLINE_CELLS:
        return cython.address(zs_root(pool).first_cells[index])
    k = segment_of(index, INLINE_CELLS)
    if k >= NR_SEGMENTS:
        return cython.NULL
    base = segment_at(pool, cython.address(zs_root(pool).cells[k]), k)
    if base == cython.NULL:
        return cython.NULL
    return cython.cast(cython.pointer(uint64_t), base) + (index - ((cython.cast(uint64_t, 1) << k) - 1) * INLINE_CELLS)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_desc(pool: cython.pointer(PoolRef), index: uint64_t) -> cython.pointer(Descriptor):
    """NULL where there is none (yet)."""
    k: uint64_t
    base: cython.p_char
    if index < INLINE_DESCS:
        return cython.address(zs_root(pool).first_descs[index])
    k = segment_of(index, INLINE_DESCS)
    if k >= NR_SEGMENTS or index >= MAX_ZSPAGES:
        return cython.NULL
    base = segment_at(pool, cython.address(zs_root(pool).descs[k]), k)
    if base == cython.NULL:
        return cython.NULL
    return cython.cast(cython.pointer(Descriptor), base) + (
        index - ((cython.cast(uint64_t, 1) << k) - 1) * INLINE_DESCS
    )


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def word_fits(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), word: uint64_t) -> cython.bint:
    """Does a descriptor's word name a zspage inside the arena?"""
    c: uint64_t = desc_class(word)
    return c < g.nr and inside(pool.arena, desc_offset(word), cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def object_at(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), word: uint64_t, slot: uint64_t
) -> cython.p_char:
    c: uint64_t = desc_class(word)
    return pool.arena.base + desc_offset(word) + slot * g.shapes[c].size + (0 if g.shapes[c].huge else 8)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def header_of(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    d: cython.pointer(Descriptor),
    word: uint64_t,
    slot: uint64_t,
) -> cython.pointer(uint64_t):
    """A slot's header: cell << 32 | bytes of the object << 1 | 1, or, of a free slot, (next free slot + 1) << 1. Of a
    descriptor whose word has just changed into nonsense, a word that harms nobody."""
    if not word_fits(pool, g, word) or g.shapes[desc_class(word)].huge:
        return cython.address(d.huge)
    return cython.cast(cython.pointer(uint64_t), object_at(pool, g, word, slot) - 8)


# ---- growth


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_pages(
    pool: cython.pointer(PoolRef),
    nbytes: uint64_t,
    low: cython.bint,
    may_grow: cython.bint,
    offset: cython.pointer(uint64_t),
) -> cython.int:
    """Pages of this process's, which can be touched: OK, EXHAUSTED, NOT_REGISTERED. Those of tables, which stay for ever, are
    `low`: at the beginnings of chunks, so that the ends can be given back (zsrehome.py)."""
    hint: Hint
    status: cython.int = genpool_take(pool, nbytes, low, offset)
    if status == EXHAUSTED and may_grow:
        hint.chunk = 0
        hint.word = 0
        status = genpool_alloc_algo(pool, cython.address(hint), nbytes, NEAR_FIT, 0, offset)
    if status != OK:
        return status
    status = pages_taken(pool.arena, offset[0], nbytes)  # compaction may have given them back to the system
    if status != OK:
        genpool_free(pool, offset[0], nbytes)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def name_block(pool: cython.pointer(PoolRef), name: cython.pointer(uint64_t), nbytes: uint64_t) -> cython.int:
    """A zeroed block of the pool's becomes what the root names there, unless somebody else's has: OK, EXHAUSTED,
    NOT_REGISTERED."""
    offset: uint64_t = 0
    status: cython.int = take_pages(pool, nbytes, True, True, cython.address(offset))
    if status != OK:
        return status
    fill(pool.arena.base + offset, 0, nbytes, b"zstable.zero")
    # [R:zstable.named] release; pairs with [A:zstable.named]: who finds the block finds it zeroed. Else a cell that was never
    # used might look like an object, whose place is rubbish, and an entry of a page of pins like a pin.
    if cmpxchg_release(name, 0, offset, b"R:zstable.named") != 0:
        return genpool_free(pool, offset, nbytes)
    window(b"D:zstable.named")
    return genpool_transfer(pool, offset, nbytes, cython.cast(uint32_t, pool.arena.slot[0]), OWNER_STRUCT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grow(pool: cython.pointer(PoolRef), names: cython.pointer(uint64_t)) -> cython.int:
    """One segment more."""
    k: uint64_t
    for k in range(1, NR_SEGMENTS):
        if read_once(cython.address(names[k]), b"zstable.grow") == 0:  # relaxed: the swap confirms
            return name_block(pool, cython.address(names[k]), cython.cast(uint64_t, 4096) << k)
    return EXHAUSTED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grow_cells(pool: cython.pointer(PoolRef)) -> cython.int:
    return grow(pool, zs_root(pool).cells)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grow_descs(pool: cython.pointer(PoolRef)) -> cython.int:
    return grow(pool, zs_root(pool).descs)
