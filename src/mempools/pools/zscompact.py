"""L3: compaction of a ZsPool: objects move from the emptiest zspages of a class to the fullest, until one is empty
(mm/zsmalloc.c).

Guarantee. A reader sees an object whole, where it was or where it is. One busy reader keeps its own object where it is, and
its zspage; not the class. One compaction at a time in a pool; one that died is taken over. Process-safe, not lock-free.
Price. The class's lock for at most MOVES_A_TURN objects at a time; then others get it.

  what runs | beside pin                              | beside alloc, free of the class
  a move    | [R:zscompact.moved]; a reader cancels it | under the class's lock

Rules. A move is: claim the cell; copy; one swap of the cell's word, from claimed to the new place. If the swap fails a reader has
come, or the object has been given or deferred: nothing has happened, and the copy, which may be torn, is dropped.

Crash windows (the dead process is X, which has the class's lock):
  [D:zscompact.copied]  the object is in two slots, both headers name its cell, the cell the old one: the new one is free.
  [D:zscompact.moved]   the cell names the new one: the old one is free, the groups are made anew.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zscompact is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    cmpxchg_release,
    fetch_add_relaxed,
    read_once,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.robustlock import robust_trylock, robust_unlock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, NOT_FOUND, NOT_REGISTERED, OK
from cython.cimports.mempools.pools.zsalloc import end_block
from cython.cimports.mempools.pools.zsgeometry import NR_GROUPS, Geometry
from cython.cimports.mempools.pools.zspage import (
    class_lock,
    class_unlock,
    drop_locked,
    pop_slot_locked,
    put_slot_locked,
    regroup_locked,
    zspage_of,
)
from cython.cimports.mempools.pools.zspin import claim_locked
from cython.cimports.mempools.pools.zstable import (
    CELL_CLAIMED,
    CELL_LIVE,
    SLOT_BITS,
    ZS_SHIFT,
    Descriptor,
    ZsClass,
    cell_class,
    cell_slot,
    cell_zspage,
    header_of,
    object_at,
    zs_cell,
    zs_class,
    zs_root,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def compact_trylock(pool: cython.pointer(PoolRef)) -> cython.int:
    """OK, BUSY (another compaction runs, or has died and not been recovered), NOT_REGISTERED."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    return robust_trylock(cython.address(zs_root(pool).compact_lock), slot) if slot else NOT_REGISTERED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def compact_unlock(pool: cython.pointer(PoolRef)) -> cython.void:
    robust_unlock(cython.address(zs_root(pool).compact_lock), cython.cast(uint32_t, pool.arena.slot[0]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def can_compact(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), c: uint64_t) -> uint64_t:
    """Pages that a class has more than its objects need: without the lock an estimate, relaxed."""
    k: cython.pointer(ZsClass) = zs_class(pool, c)
    slots: uint64_t = read_once(cython.address(k.nr_zspages), b"zscompact.estimate") * g.shapes[c].objs
    inuse: uint64_t = read_once(cython.address(k.inuse), b"zscompact.estimate")
    return (slots - inuse) // g.shapes[c].objs * g.shapes[c].pages if slots > inuse else 0


# ---- under the lock


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_slot(to: cython.pointer(uint64_t), source: cython.pointer(uint64_t), nbytes: uint64_t) -> cython.void:
    """Word by word, so that what a writer changes meanwhile, having cancelled the move, is read as it is, and dropped."""
    i: uint64_t
    for i in range((nbytes + 7) >> 3):
        write_once(cython.address(to[i]), read_once(cython.address(source[i]), b"zscompact.copy"), b"zscompact.copy")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    source: uint64_t,
    at: uint64_t,
    target: uint64_t,
) -> cython.int:
    """Moves the object in a slot of one zspage into another, which has room; neither is regrouped. OK; NOT_FOUND: the slot is
    free; BUSY: somebody reads the object; CORRUPT."""
    d: cython.pointer(Descriptor) = zspage_of(pool, g, c, source)
    e: cython.pointer(Descriptor) = zspage_of(pool, g, c, target)
    of: cython.pointer(uint64_t)
    to: cython.pointer(uint64_t)
    cell: cython.pointer(uint64_t)
    header: uint64_t
    word: uint64_t
    place: uint64_t = 0
    if d == cython.NULL or e == cython.NULL:
        return CORRUPT
    of = header_of(pool, g, d, read_once(cython.address(d.word), b"zscompact.move"), at)
    header = read_once(of, b"zscompact.move")
    if not header & 1:
        return NOT_FOUND
    cell = zs_cell(pool, header >> 32)
    if cell == cython.NULL:
        return CORRUPT
    word = read_once(cell, b"zscompact.move")
    if (
        not word & cython.cast(uint64_t, CELL_LIVE)
        or cell_class(word) != c
        or cell_zspage(word) != source
        or cell_slot(word) != at
        or (header >> 1 & 0x7FFFFFFF) + (0 if g.shapes[c].huge else 8) > g.shapes[c].size
    ):
        return CORRUPT
    if claim_locked(pool, header >> 32, cell, word) != OK:
        return BUSY
    if pop_slot_locked(pool, g, c, e, cython.address(place)) != OK:
        cmpxchg_relaxed(cell, word | cython.cast(uint64_t, CELL_CLAIMED), word, b"zscompact.undo")
        return CORRUPT
    to = header_of(pool, g, e, read_once(cython.address(e.word), b"zscompact.move"), place)
    if g.shapes[c].huge:  # its header is not in front of it
        write_once(to, header, b"zscompact.copy")
        of = cython.cast(
            cython.pointer(uint64_t), object_at(pool, g, read_once(cython.address(d.word), b"zscompact.move"), at)
        )
        to = cython.cast(
            cython.pointer(uint64_t), object_at(pool, g, read_once(cython.address(e.word), b"zscompact.move"), place)
        )
        copy_slot(to, of, header >> 1 & 0x7FFFFFFF)
    else:
        copy_slot(to, of, (header >> 1 & 0x7FFFFFFF) + 8)
    window(b"D:zscompact.copied")
    # [R:zscompact.moved] release; pairs with [A:zspin.cell]: who finds the object in its new place finds its bytes there. The
    # old place is free from here on, and its next owner's from its next allocation on.
    if cmpxchg_release(
        cell,
        word | cython.cast(uint64_t, CELL_CLAIMED),
        word & ~((cython.cast(uint64_t, 1) << 31) - 1) | target << SLOT_BITS | place,
        b"R:zscompact.moved",
    ) != word | cython.cast(uint64_t, CELL_CLAIMED):
        put_slot_locked(pool, g, c, e, place)
        return BUSY
    window(b"D:zscompact.moved")
    put_slot_locked(pool, g, c, d, at)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_passed(state: cython.pointer(Compaction), found: uint64_t) -> cython.bint:
    i: uint64_t
    for i in range(state.nr_passed):
        if state.passed[i] == found:
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def emptiest_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    state: cython.pointer(Compaction),
) -> uint64_t:
    """Index + 1 of the first zspage of the emptiest group that is neither empty, nor full, nor passed; 0: none."""
    group: uint64_t
    found: uint64_t
    left: uint64_t
    d: cython.pointer(Descriptor)
    for group in range(1, NR_GROUPS - 1):
        found = read_once(cython.address(zs_class(pool, c).heads[group]), b"zscompact.source")
        left = MAX_PASSED  # a list of ours has no more of them
        while found and left and is_passed(state, found):
            left -= 1
            d = zspage_of(pool, g, c, found - 1)
            found = read_once(cython.address(d.next), b"zscompact.source") if d != cython.NULL else 0
        if found:
            return found
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def target_locked(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), c: uint64_t, source: uint64_t
) -> uint64_t:
    """Index + 1 of the first zspage of the fullest group that has room and is not the source (likewise + 1); 0: none."""
    group: uint64_t = NR_GROUPS - 1
    found: uint64_t
    d: cython.pointer(Descriptor)
    while group > 1:
        group -= 1
        found = read_once(cython.address(zs_class(pool, c).heads[group]), b"zscompact.target")
        if found == source:
            d = zspage_of(pool, g, c, found - 1)
            found = read_once(cython.address(d.next), b"zscompact.target") if d != cython.NULL else 0
        if found:
            return found
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def turn_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    state: cython.pointer(Compaction),
    block: cython.pointer(uint64_t),
) -> cython.int:
    """Up to MOVES_A_TURN objects: OK, NOT_FOUND (nothing left to do) or CORRUPT. block[0]: the pages of a zspage that is empty
    now, for the caller to free."""
    source: uint64_t
    target: uint64_t
    at: uint64_t
    moves: uint64_t = 0
    skipped: uint64_t = 0
    status: cython.int = OK
    d: cython.pointer(Descriptor)
    e: cython.pointer(Descriptor)
    if g.shapes[c].objs == 1 or can_compact(pool, g, c) == 0 or state.nr_passed == MAX_PASSED:
        return NOT_FOUND
    source = emptiest_locked(pool, g, c, state)
    target = target_locked(pool, g, c, source) if source else 0
    if target == 0:
        return NOT_FOUND
    d = zspage_of(pool, g, c, source - 1)
    e = zspage_of(pool, g, c, target - 1)
    if d == cython.NULL or e == cython.NULL:
        return CORRUPT
    for at in range(g.shapes[c].objs):
        status = move_locked(pool, g, c, source - 1, at, target - 1)
        if status == CORRUPT:
            break
        skipped += status == BUSY
        if status == OK:
            moves += 1
            if moves == MOVES_A_TURN or read_once(cython.address(e.inuse), b"zscompact.full") >= g.shapes[c].objs:
                break
    regroup_locked(pool, g, c, target - 1, e)
    regroup_locked(pool, g, c, source - 1, d)
    fetch_add_relaxed(cython.address(zs_root(pool).nr_moved), moves, b"zscompact.count")
    fetch_add_relaxed(cython.address(zs_root(pool).nr_skipped), skipped, b"zscompact.count")
    if read_once(cython.address(d.inuse), b"zscompact.empty") == 0:
        block[0] = drop_locked(pool, g, c, source - 1, d, cython.cast(uint32_t, pool.arena.slot[0]))
    elif skipped or moves == 0:
        state.passed[state.nr_passed] = source
        state.nr_passed += 1
    return CORRUPT if status == CORRUPT else OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def compact_turn(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    state: cython.pointer(Compaction),
    timeout_ns: uint64_t,
) -> cython.int:
    block: uint64_t = 0
    nbytes: uint64_t = cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT
    status: cython.int = class_lock(pool, c, timeout_ns)
    if status != OK:
        return status
    status = turn_locked(pool, g, c, state, cython.address(block))
    class_unlock(pool, c)
    if block:
        end_block(pool, block, nbytes, state.to_system)
        state.pages += g.shapes[c].pages
        fetch_add_relaxed(cython.address(zs_root(pool).pages_compacted), g.shapes[c].pages, b"zscompact.count")
    return status


# ---- empty zspages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_trim(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    to_system: cython.bint,
    pages: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    """Gives the empty zspages back to the pool's chunks, and their memory to the system: OK and how many pages, or what a lock
    says."""
    c: uint64_t
    head: uint64_t
    block: uint64_t
    status: cython.int
    d: cython.pointer(Descriptor)
    pages[0] = 0
    for c in range(g.nr):
        # Relaxed: a hint, for the lock is not worth taking where there is none.
        while read_once(cython.address(zs_class(pool, c).heads[0]), b"zscompact.trim"):
            status = class_lock(pool, c, timeout_ns)
            if status != OK:
                return status
            head = read_once(cython.address(zs_class(pool, c).heads[0]), b"zscompact.trim")
            d = zspage_of(pool, g, c, head - 1) if head else cython.NULL
            block = 0
            if d != cython.NULL:
                block = drop_locked(pool, g, c, head - 1, d, cython.cast(uint32_t, pool.arena.slot[0]))
            class_unlock(pool, c)
            if block == 0:
                break
            end_block(pool, block, cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT, to_system)
            pages[0] += g.shapes[c].pages
    return OK
