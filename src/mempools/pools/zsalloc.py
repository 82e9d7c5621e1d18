"""L3: ZsPool: dense objects behind handles (mm/zsmalloc.c): allocation and free, class by class.

Purpose. Objects of a class lie in zspages, runs of pages of the pool's own chunks. A handle names a cell, and the cell, one word,
says where the object is; so the object may be moved (pools/zscompact.py) while nobody has pinned it (pools/zspin.py).
Guarantee. An object has one place, and no place two objects; a handle that has been freed is told from the object that has its
cell now. After the death of a process at any instruction recovery finds each object once, and what the dead process had
allocated and nobody keeps is free (pools/zsmend.py). Process-safe, not lock-free.
Price. One robust lock a class, held for a bounded time; no page is allocated or freed under it.
Precondition. Not for C signal handlers. Nothing that waits and no Python under the lock.

  what runs   | beside alloc, free, keep, move of the class | of other classes              | beside pin
  alloc       | one at a time, under the class's lock       | cells, descriptors: by a swap | [R:zsalloc.live]
  free, move  | likewise                                    | likewise                      | [F:zspin.claimed]
  defer, give | one swap, which cancels a claim, or fails   | likewise                      | neither sees the other

Rules.
- The cells are the truth, together with the words of the descriptors. A slot is taken if and only if its header names a cell
  whose word names this slot; so an object comes into being, moves and ends by one store of one word. Lists, groups, counters,
  chains of free slots and of free cells are caches that whoever mends a class makes anew.
- A cell belongs to the first class that uses it, for ever. Unused cells and descriptors are claimed by a swap under the class's
  lock: who finds the lock's holder dead finds them by the class that stands in them. The cells that have ever been used are
  the first ones of the table: whoever wants one takes the first that is 0, and none becomes 0 again.
- Who holds the class's lock changes the cell of a live object by swaps: pools/zsdefer.py and zsgive.py take no lock.
- A descriptor's word is its zspage's claim to the block: set before the block becomes OWNER_STRUCT's, cleared after it has
  become the process's again.
- Each class keeps at most one empty zspage, so that a pair of alloc and free at the edge costs no pages; zs_trim
  (pools/zscompact.py) returns it.

Crash windows (the dead process is X, which has the class's lock; those of zspages: pools/zspage.py):
  [D:zsalloc.filled]   a slot is taken out of the chain, its header names a cell that is not live: both are free.
  [D:zsalloc.alive]    the object is X's, the zspage in a wrong group: the class is made anew, the object freed.
  [D:zsalloc.claimed]  the cell of a live object is CELL_CLAIMED: the bit is taken away, the object X's or another's as before.
  [D:zsalloc.ended]    the cell is free, its slot not yet: both are.
  [D:zsalloc.given_back]  a block of X's has no pages behind it any more: see end_block.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zsalloc is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.backing import pages_unback
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    fill,
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, INVALID, NOT_A_BLOCK, OK, STALE, TABLE_FULL
from cython.cimports.mempools.pools.genpool import genpool_free
from cython.cimports.mempools.pools.zsgeometry import NR_GROUPS, Geometry, class_of
from cython.cimports.mempools.pools.zspage import (
    class_lock,
    class_unlock,
    drop_locked,
    install_locked,
    pop_slot_locked,
    put_slot_locked,
    regroup_locked,
    zspage_of,
)
from cython.cimports.mempools.pools.zspin import claim_locked, not_named, register_end
from cython.cimports.mempools.pools.zstable import (
    CELL_CLAIMED,
    CELL_LIVE,
    CLASS_SHIFT,
    DOOMED,
    GENERATION_SHIFT,
    OWNER_SHIFT,
    SLOT_BITS,
    ZS_SHIFT,
    Descriptor,
    ZsClass,
    ZsRoot,
    cell_class,
    cell_owner,
    cell_slot,
    cell_zspage,
    grow_cells,
    grow_descs,
    handle_names,
    handle_of,
    header_of,
    index_of,
    take_pages,
    zs_cell,
    zs_class,
    zs_root,
)

register_module(cython.address(this_module_step))

# What alloc_locked lacks, to be had without the lock.
_NEEDS_ZSPAGE = cython.declare(cython.int, 1)
_NEEDS_CELLS = cython.declare(cython.int, 2)
_NEEDS_DESCS = cython.declare(cython.int, 3)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fullest_locked(k: cython.pointer(ZsClass)) -> uint64_t:
    """Index + 1 of the first zspage of the fullest group that has room, the empty one last; 0: none."""
    group: uint64_t = NR_GROUPS - 1
    head: uint64_t
    while group > 0:
        group -= 1
        head = read_once(cython.address(k.heads[group]), b"zsalloc.fullest")
        if head:
            return head
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_cell_locked(
    pool: cython.pointer(PoolRef), c: uint64_t, index: cython.pointer(uint64_t), free: cython.pointer(uint64_t)
) -> cython.int:
    """A free cell of the class and its word: OK, _NEEDS_CELLS, CORRUPT."""
    k: cython.pointer(ZsClass) = zs_class(pool, c)
    r: cython.pointer(ZsRoot) = zs_root(pool)
    head: uint64_t = read_once(cython.address(k.free_cell), b"zsalloc.take_cell")
    cell: cython.pointer(uint64_t)
    i: uint64_t
    stamp: uint64_t
    if head:
        cell = zs_cell(pool, head - 1)
        if cell == cython.NULL:
            return CORRUPT
        free[0] = read_once(cell, b"zsalloc.take_cell")
        if free[0] & cython.cast(uint64_t, CELL_LIVE) or cell_class(free[0]) != c:
            return CORRUPT
        write_once(cython.address(k.free_cell), index_of(free[0]), b"zsalloc.take_cell")
        index[0] = head - 1
        return OK
    stamp = cython.cast(uint64_t, 1) << GENERATION_SHIFT | c << CLASS_SHIFT
    i = read_once(cython.address(r.next_cell), b"zsalloc.hint")
    while True:
        cell = zs_cell(pool, i)
        if cell == cython.NULL:
            return _NEEDS_CELLS
        # Relaxed, both: the swap confirms; nobody has used the cell before, so there is nothing to see.
        if read_once(cell, b"zsalloc.take_cell") == 0 and cmpxchg_relaxed(cell, 0, stamp, b"zsalloc.take_cell") == 0:
            break
        i += 1
    # Relaxed: every cell below it is used, and another's lower number only makes the search longer.
    write_once(cython.address(r.next_cell), i + 1, b"zsalloc.hint")
    free[0] = stamp
    index[0] = i
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    nbytes: uint64_t,
    owner: uint64_t,
    block: cython.pointer(uint64_t),
    handle: cython.pointer(uint64_t),
) -> cython.int:
    """OK, what it lacks, or CORRUPT. `block`: a zspage's pages that the caller has made, 0: none; 0 when they are used."""
    k: cython.pointer(ZsClass) = zs_class(pool, c)
    found: uint64_t
    index: uint64_t = 0
    free: uint64_t = 0
    at: uint64_t = 0
    word: uint64_t
    d: cython.pointer(Descriptor)
    # The cell first: were there a zspage and then no cell, the pages of the one might be given back for want of the other, and
    # taken again, without end.
    status: cython.int = take_cell_locked(pool, c, cython.address(index), cython.address(free))
    if status != OK:
        return status
    found = fullest_locked(k)
    if found == 0:
        status = _NEEDS_ZSPAGE
        if block[0] != 0:
            status = install_locked(pool, g, c, block[0])
        if status != OK:
            write_once(cython.address(k.free_cell), index + 1, b"zsalloc.alloc")  # its word says the next one still
            return _NEEDS_DESCS if status == TABLE_FULL else status
        block[0] = 0
        found = read_once(cython.address(k.heads[0]), b"zsalloc.alloc")
    d = zspage_of(pool, g, c, found - 1)
    if d == cython.NULL:
        return CORRUPT
    status = pop_slot_locked(pool, g, c, d, cython.address(at))
    if status != OK:
        return status
    # Before the object is there: deaths leave a count that is too high rather than too low for the objects.
    write_once(
        cython.address(k.nr_alloc), read_once(cython.address(k.nr_alloc), b"zsalloc.count") + 1, b"zsalloc.count"
    )
    write_once(
        header_of(pool, g, d, read_once(cython.address(d.word), b"zsalloc.alloc"), at),
        index << 32 | nbytes << 1 | 1,
        b"zsalloc.header",
    )
    window(b"D:zsalloc.filled")
    word = (
        free >> GENERATION_SHIFT << GENERATION_SHIFT
        | cython.cast(uint64_t, CELL_LIVE)
        | c << CLASS_SHIFT
        | owner << OWNER_SHIFT
        | (found - 1) << SLOT_BITS
        | at
    )
    # [R:zsalloc.live] release; pairs with [A:zspin.cell]: whoever finds the object finds its header and its zspage's descriptor.
    store_release(zs_cell(pool, index), word, b"R:zsalloc.live")
    window(b"D:zsalloc.alive")
    regroup_locked(pool, g, c, found - 1, d)
    handle[0] = handle_of(word, index)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def freed_word(word: uint64_t, next: uint64_t) -> uint64_t:
    """What a cell says when its object has been freed: the next generation, never 0."""
    generation: uint64_t = (word >> GENERATION_SHIFT) + 1 & 0xFFFF
    return (generation if generation else 1) << GENERATION_SHIFT | cell_class(word) << CLASS_SHIFT | next


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    index: uint64_t,
    cell: cython.pointer(uint64_t),
    word: uint64_t,
    slot: uint32_t,
    block: cython.pointer(uint64_t),
) -> cython.int:
    """Ends the live object that the cell's word names: OK, and block[0] is the pages of a zspage for the caller to free, or 0;
    BUSY: somebody reads it; CORRUPT."""
    c: uint64_t = cell_class(word)
    k: cython.pointer(ZsClass) = zs_class(pool, c)
    d: cython.pointer(Descriptor) = zspage_of(pool, g, c, cell_zspage(word))
    next: uint64_t = read_once(cython.address(k.free_cell), b"zsalloc.free")
    block[0] = 0
    if d == cython.NULL or cell_slot(word) >= g.shapes[c].objs:
        return CORRUPT
    if claim_locked(pool, index, cell, word) != OK:
        return BUSY
    window(b"D:zsalloc.claimed")
    # Relaxed: who sees the cell free reads nothing behind it.
    if cmpxchg_relaxed(
        cell, word | cython.cast(uint64_t, CELL_CLAIMED), freed_word(word, next), b"zsalloc.free"
    ) != word | cython.cast(uint64_t, CELL_CLAIMED):
        return BUSY
    window(b"D:zsalloc.ended")
    write_once(cython.address(k.free_cell), index + 1, b"zsalloc.free")
    put_slot_locked(pool, g, c, d, cell_slot(word))
    regroup_locked(pool, g, c, cell_zspage(word), d)
    if (
        read_once(cython.address(d.inuse), b"zsalloc.free") == 0
        and read_once(cython.address(k.counts[0]), b"zsalloc.free") > 1
    ):
        block[0] = drop_locked(pool, g, c, cell_zspage(word), d, slot)
    return OK


# ---- alloc, free, keep


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_block(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    may_grow: cython.bint,
    block: cython.pointer(uint64_t),
) -> cython.int:
    """The pages of a zspage, this process's, zeroed but for the chain of free slots: OK, EXHAUSTED."""
    at: uint64_t
    size: uint64_t = g.shapes[c].size
    nbytes: uint64_t = cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT
    status: cython.int = take_pages(pool, nbytes, False, may_grow, block)
    if status != OK:
        block[0] = 0
        return status
    fill(pool.arena.base + block[0], 0, nbytes, b"zsalloc.zero")
    for at in range(g.shapes[c].objs - 1):
        write_once(
            cython.cast(cython.pointer(uint64_t), pool.arena.base + block[0] + at * size),
            (at + 2) << 1,
            b"zsalloc.chain",
        )
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_block(pool: cython.pointer(PoolRef), block: uint64_t, nbytes: uint64_t, to_system: cython.bint) -> cython.void:
    """The pages of what was a zspage, and is this process's, are free; nobody knows them. A death between the two leaves pages
    of the dead process's that do not exist: swept, and reserved by whoever has them next."""
    if to_system:
        pages_unback(pool.arena, block, nbytes)  # where the system takes none the pool has them still
        window(b"D:zsalloc.given_back")
    genpool_free(pool, block, nbytes)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_alloc(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    nbytes: uint64_t,
    owner: uint64_t,
    handle: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    """A new object of nbytes bytes: OK, INVALID (no class has such), EXHAUSTED, CORRUPT, and what the lock says."""
    c: cython.int = class_of(g, nbytes)
    block: uint64_t = 0
    status: cython.int
    if c < 0:
        return INVALID
    while True:
        status = class_lock(pool, c, timeout_ns)
        if status != OK:
            break
        status = alloc_locked(pool, g, c, nbytes, owner, cython.address(block), handle)
        class_unlock(pool, c)
        if status == _NEEDS_ZSPAGE:
            status = new_block(pool, g, c, True, cython.address(block))
        elif status == _NEEDS_CELLS:
            status = grow_cells(pool)
        elif status == _NEEDS_DESCS:
            status = grow_descs(pool)
        else:
            break
        if status != OK:
            break
    if block:  # another's free or zspage was faster, or something else is lacking
        genpool_free(pool, block, cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lock_object(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    handle: uint64_t,
    doomed: cython.bint,
    cell: cython.pointer(cython.pointer(uint64_t)),
    word: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    """Locks the class of a live object: OK; STALE, NOT_A_BLOCK: there is none; CORRUPT, and what the lock says. `doomed`: it may
    be DOOMED; else that is STALE, too."""
    c: uint64_t = handle >> 32 & 0xFF
    status: cython.int
    cell[0] = zs_cell(pool, index_of(handle))
    if cell[0] == cython.NULL or c >= g.nr:
        return NOT_A_BLOCK
    status = class_lock(pool, c, timeout_ns)
    if status != OK:
        return status
    word[0] = read_once(cell[0], b"zsalloc.object")
    if not handle_names(handle, word[0]):
        status = not_named(handle, word[0])
    elif word[0] & cython.cast(uint64_t, CELL_CLAIMED):
        status = CORRUPT
    elif not doomed and cell_owner(word[0]) == DOOMED:
        status = STALE
    if status != OK:
        class_unlock(pool, c)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_object(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    handle: uint64_t,
    doomed: cython.bint,
    timeout_ns: uint64_t,
) -> cython.int:
    c: uint64_t = handle >> 32 & 0xFF
    cell: cython.pointer(uint64_t) = cython.NULL
    word: uint64_t = 0
    block: uint64_t = 0
    status: cython.int = lock_object(pool, g, handle, doomed, cython.address(cell), cython.address(word), timeout_ns)
    if status != OK:
        return status
    status = free_locked(
        pool, g, index_of(handle), cell, word, cython.cast(uint32_t, pool.arena.slot[0]), cython.address(block)
    )
    if status == BUSY and not doomed and cell_owner(read_once(cell, b"zsalloc.object")) == DOOMED:
        status = STALE  # a deferred free was faster
    class_unlock(pool, c)
    if block:
        genpool_free(pool, block, cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_end(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, timeout_ns: uint64_t
) -> cython.int:
    """Ends an object, whoever allocated it: OK; BUSY: somebody reads it; STALE: it has ended, if only but for its readers or its
    place; NOT_A_BLOCK: it never was one; CORRUPT, and what the lock says."""
    return free_object(pool, g, handle, False, timeout_ns)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_free(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, timeout_ns: uint64_t
) -> cython.int:
    """As zs_end, of one that is DOOMED, too: for its last reader."""
    return free_object(pool, g, handle, True, timeout_ns)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_keep(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, timeout_ns: uint64_t
) -> cython.int:
    """The object is the pool's own from now on, no process's: status as of zs_end, without BUSY."""
    cell: cython.pointer(uint64_t) = cython.NULL
    word: uint64_t = 0
    status: cython.int = lock_object(pool, g, handle, False, cython.address(cell), cython.address(word), timeout_ns)
    if status != OK:
        return status
    # Relaxed: it publishes nothing. It fails if a deferred free was faster.
    if (
        cmpxchg_relaxed(
            cell,
            word,
            word & ~(cython.cast(uint64_t, 0x7F) << OWNER_SHIFT) | cython.cast(uint64_t, OWNER_STRUCT) << OWNER_SHIFT,
            b"zsalloc.keep",
        )
        != word
    ):
        status = STALE
    class_unlock(pool, handle >> 32 & 0xFF)
    return status


register_end(zs_free)
