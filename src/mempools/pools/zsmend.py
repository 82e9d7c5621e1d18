"""L3: what recovery does for a ZsPool, and looking at one (see zsalloc.py).

Guarantee. After mend the dead process has no pin and no lock, each class whose lock it had is made anew from the cells, and
what it had allocated and nobody keeps has been freed; an object of it that a living process reads is DOOMED: who reads it
last frees it. It may die and be run again by another.

Order. Its pins go first, for nobody reads through them, and its queue of deferred frees, for whatever is to end is DOOMED; then
the blocks that it had named in the root but not handed over; then the classes whose locks it has; then its objects and all that
are DOOMED, each under its class's lock in the dead process's name, so that a recovery that dies leaves what the first death
would have left; last the lock of compaction.

Crash windows.
  [D:zsmend.rebuilt]  a class has been made anew, its lock is still the dead process's: it is made anew again.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zsmend is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.recovery import register_mend
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_ZSPOOL
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    read_once,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, INTERRUPTED, OK
from cython.cimports.mempools.pools.genpool import genpool_transfer
from cython.cimports.mempools.pools.zsdefer import clear_queue
from cython.cimports.mempools.pools.zsgeometry import NR_GROUPS, Geometry, group_of
from cython.cimports.mempools.pools.zspage import class_lock, class_unlock, link_locked, zspage_of
from cython.cimports.mempools.pools.zspin import clear_pins
from cython.cimports.mempools.pools.zsretire import retire_locked
from cython.cimports.mempools.pools.zstable import (
    CELL_CLAIMED,
    CELL_LIVE,
    DOOMED,
    NR_SEGMENTS,
    ZS_SHIFT,
    Descriptor,
    ZsClass,
    ZsRoot,
    cell_class,
    cell_owner,
    cell_slot,
    cell_zspage,
    desc_offset,
    header_of,
    index_of,
    zs_cell,
    zs_class,
    zs_desc,
    zs_geometry,
    zs_root,
)

register_module(cython.address(this_module_step))

_MEND_NS = cython.declare(uint64_t, 20_000_000)  # for a lock whose holder may live, or be as dead: recovery tries again


# ---- a class made anew, under its lock


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_taken(
    pool: cython.pointer(PoolRef), c: uint64_t, index: uint64_t, at: uint64_t, header: uint64_t
) -> cython.bint:
    """Is a slot an object's? Its header names a cell that names the slot."""
    cell: cython.pointer(uint64_t)
    word: uint64_t
    if not header & 1:
        return False
    cell = zs_cell(pool, header >> 32)
    if cell == cython.NULL:
        return False
    word = read_once(cell, b"zsmend.slot")
    return (
        word & cython.cast(uint64_t, CELL_LIVE) != 0
        and cell_class(word) == c
        and cell_zspage(word) == index
        and cell_slot(word) == at
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rebuild_zspage(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    index: uint64_t,
    d: cython.pointer(Descriptor),
) -> uint64_t:
    """Its chain of free slots and its count; how many objects it has."""
    at: uint64_t = g.shapes[c].objs
    free: uint64_t = 0
    inuse: uint64_t = 0
    word: uint64_t = read_once(cython.address(d.word), b"zsmend.zspage")
    header: cython.pointer(uint64_t)
    while at > 0:
        at -= 1
        header = header_of(pool, g, d, word, at)
        if is_taken(pool, c, index, at, read_once(header, b"zsmend.slot")):
            inuse += 1
        else:
            write_once(header, free << 1, b"zsmend.chain")
            free = at + 1
    write_once(cython.address(d.free), free, b"zsmend.zspage")
    write_once(cython.address(d.inuse), inuse, b"zsmend.zspage")
    return inuse


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rebuild_cells(pool: cython.pointer(PoolRef), c: uint64_t) -> cython.void:
    """The chain of the class's free cells; and nobody claims any."""
    index: uint64_t = 0
    free: uint64_t = 0
    word: uint64_t
    cell: cython.pointer(uint64_t) = zs_cell(pool, 0)
    while cell != cython.NULL:
        word = read_once(cell, b"zsmend.cell")
        if word == 0:
            break
        if cell_class(word) == c:
            if not word & cython.cast(uint64_t, CELL_LIVE):
                write_once(cell, word ^ index_of(word) | free, b"zsmend.cell")
                free = index + 1
            elif word & cython.cast(uint64_t, CELL_CLAIMED):
                # If the swap fails another has taken the claim away.
                cmpxchg_relaxed(cell, word, word & ~cython.cast(uint64_t, CELL_CLAIMED), b"zsmend.unclaim")
        index += 1
        cell = zs_cell(pool, index)
    write_once(cython.address(zs_class(pool, c).free_cell), free, b"zsmend.cell")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rebuild(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), c: uint64_t, slot: uint32_t) -> cython.void:
    k: cython.pointer(ZsClass) = zs_class(pool, c)
    d: cython.pointer(Descriptor) = zs_desc(pool, 0)
    index: uint64_t = 0
    inuse: uint64_t
    total: uint64_t = 0
    nr: uint64_t = 0
    group: uint64_t
    word: uint64_t
    for group in range(NR_GROUPS):
        write_once(cython.address(k.heads[group]), 0, b"zsmend.class")
        write_once(cython.address(k.counts[group]), 0, b"zsmend.class")
    rebuild_cells(pool, c)
    while d != cython.NULL:
        if zspage_of(pool, g, c, index) != cython.NULL:
            word = read_once(cython.address(d.word), b"zsmend.class")
            # It may be half the dead process's: it was about to become a zspage, or no more to be one.
            genpool_transfer(
                pool, desc_offset(word), cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT, slot, OWNER_STRUCT
            )
            inuse = rebuild_zspage(pool, g, c, index, d)
            link_locked(pool, c, index, d, group_of(inuse, g.shapes[c].objs))
            total += inuse
            nr += 1
        index += 1
        d = zs_desc(pool, index)
    write_once(cython.address(k.inuse), total, b"zsmend.class")
    write_once(cython.address(k.nr_zspages), nr, b"zsmend.class")


# ---- the objects of the dead, under their class's lock


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_dead(word: uint64_t, slot: uint32_t) -> cython.bint:
    """Is it a live object of the dead process, or of nobody?"""
    return word & cython.cast(uint64_t, CELL_LIVE) != 0 and (cell_owner(word) == slot or cell_owner(word) == DOOMED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_objects(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), slot: uint32_t) -> cython.int:
    """OK, or BUSY: a lock was not had."""
    index: uint64_t = 0
    cell: cython.pointer(uint64_t) = zs_cell(pool, 0)
    lock: cython.pointer(uint32_t)
    word: uint64_t
    block: uint64_t = 0
    status: cython.int = OK
    while cell != cython.NULL:
        word = read_once(cell, b"zsmend.look")
        if word == 0:
            break
        if is_dead(word, slot) and cell_class(word) < g.nr:
            lock = cython.address(zs_class(pool, cell_class(word)).lock)
            if take_lock(lock, slot) == OK:
                # A reader may have freed it meanwhile. The pages of a zspage that ends with it are the dead process's: swept.
                word = read_once(cell, b"zsmend.end")
                if is_dead(word, slot):
                    retire_locked(pool, g, index, cell, word, slot, cython.address(block))
                robust_unlock(lock, slot)
            else:
                status = BUSY
        index += 1
        cell = zs_cell(pool, index)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_lock(lock: cython.pointer(uint32_t), slot: uint32_t) -> cython.int:
    """In the dead process's name: OK or BUSY."""
    status: cython.int
    while True:
        status = robust_lock(lock, slot, _MEND_NS)
        if status != INTERRUPTED:
            return OK if status == OK else BUSY


# ---- recovery


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hand_over(pool: cython.pointer(PoolRef), offset: uint64_t, nbytes: uint64_t, slot: uint32_t) -> cython.void:
    if offset:
        genpool_transfer(pool, offset, nbytes, slot, OWNER_STRUCT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_classes(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), slot: uint32_t) -> cython.void:
    """The classes whose locks the dead process has."""
    c: uint64_t
    for c in range(g.nr):
        if robust_holder(cython.address(zs_class(pool, c).lock)) == slot:
            rebuild(pool, g, c, slot)
            window(b"D:zsmend.rebuilt")
            robust_unlock(cython.address(zs_class(pool, c).lock), slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_mend_tables(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), slot: uint32_t) -> cython.void:
    """The first half: the dead process has no pins and no class's lock; what it had allocated is there still."""
    r: cython.pointer(ZsRoot) = zs_root(pool)
    k: uint64_t
    clear_pins(pool, slot)
    clear_queue(pool, slot)
    for k in range(1, NR_SEGMENTS):
        hand_over(pool, read_once(cython.address(r.cells[k]), b"zsmend.named"), cython.cast(uint64_t, 4096) << k, slot)
        hand_over(pool, read_once(cython.address(r.descs[k]), b"zsmend.named"), cython.cast(uint64_t, 4096) << k, slot)
    hand_over(pool, read_once(cython.address(r.pins[slot]), b"zsmend.named"), 4096, slot)
    hand_over(pool, read_once(cython.address(r.queues[slot]), b"zsmend.named"), 4096, slot)
    mend_classes(pool, g, slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_mend_objects(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), slot: uint32_t) -> cython.int:
    """The second half: what it had allocated and nobody keeps is freed. OK, or BUSY."""
    status: cython.int = end_objects(pool, g, slot)
    robust_unlock(cython.address(zs_root(pool).compact_lock), slot)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.int:
    """For recovery: OK; BUSY: a living process has had a lock for long: again later; CORRUPT."""
    g: cython.pointer(Geometry) = zs_geometry(pool)
    if pool.root == cython.NULL or pool.root_nbytes < cython.sizeof(ZsRoot):
        return CORRUPT
    if g == cython.NULL:  # 0: it was being made
        return OK if read_once(cython.address(zs_root(pool).chain), b"zsmend.chain") == 0 else CORRUPT
    zs_mend_tables(pool, g, slot)
    return zs_mend_objects(pool, g, slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_forked(pool: cython.pointer(PoolRef)) -> cython.void:
    """The threads that had a lock are not here. What was pinned stays pinned: the views are."""
    g: cython.pointer(Geometry) = zs_geometry(pool)
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    if g == cython.NULL or slot == 0:
        return
    mend_classes(pool, g, slot)
    robust_unlock(cython.address(zs_root(pool).compact_lock), slot)


# ---- looking


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chain_length(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    d: cython.pointer(Descriptor),
    most: uint64_t,
) -> uint64_t:
    """Free slots in a zspage's chain; more than `most` if it has a loop or a taken slot."""
    free: uint64_t = read_once(cython.address(d.free), b"zsmend.check")
    word: uint64_t = read_once(cython.address(d.word), b"zsmend.check")
    header: uint64_t
    nr: uint64_t = 0
    while free and nr <= most:
        if free > g.shapes[c].objs:
            return most + 1
        header = read_once(header_of(pool, g, d, word, free - 1), b"zsmend.check")
        if header & 1:
            return most + 1
        free = header >> 1
        nr += 1
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def check_zspages(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), c: uint64_t, report: cython.pointer(ClassReport)
) -> uint64_t:
    """How many slots of the class's zspages are taken."""
    k: cython.pointer(ZsClass) = zs_class(pool, c)
    d: cython.pointer(Descriptor) = zs_desc(pool, 0)
    index: uint64_t = 0
    at: uint64_t
    taken: uint64_t
    total: uint64_t = 0
    nr: uint64_t = 0
    group: uint64_t
    listed: uint64_t = 0
    found: uint64_t
    word: uint64_t
    objs: uint64_t = g.shapes[c].objs
    while d != cython.NULL:
        if zspage_of(pool, g, c, index) != cython.NULL:
            taken = 0
            word = read_once(cython.address(d.word), b"zsmend.check")
            for at in range(objs):
                taken += is_taken(pool, c, index, at, read_once(header_of(pool, g, d, word, at), b"zsmend.check"))
            total += taken
            nr += 1
            if (
                taken != read_once(cython.address(d.inuse), b"zsmend.check")
                or chain_length(pool, g, c, d, objs - taken) != objs - taken
            ):
                report.bad_slots += 1
            if read_once(cython.address(d.group), b"zsmend.check") != group_of(taken, objs):
                report.bad_groups += 1
        index += 1
        d = zs_desc(pool, index)
    for group in range(NR_GROUPS):
        found = read_once(cython.address(k.heads[group]), b"zsmend.check")
        at = 0
        while found and at <= nr:
            d = zspage_of(pool, g, c, found - 1)
            if d == cython.NULL or read_once(cython.address(d.group), b"zsmend.check") != group:
                report.bad_groups += 1
                break
            found = read_once(cython.address(d.next), b"zsmend.check")
            at += 1
        listed += at
        if at != read_once(cython.address(k.counts[group]), b"zsmend.check"):
            report.bad_counts += 1
    if listed != nr:
        report.bad_groups += 1
    if nr != read_once(cython.address(k.nr_zspages), b"zsmend.check"):
        report.bad_counts += 1
    return total


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def check_cells(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), c: uint64_t, report: cython.pointer(ClassReport)
) -> cython.void:
    index: uint64_t = 0
    free: uint64_t = 0
    word: uint64_t
    next: uint64_t
    cell: cython.pointer(uint64_t) = zs_cell(pool, 0)
    d: cython.pointer(Descriptor)
    while cell != cython.NULL:
        word = read_once(cell, b"zsmend.check")
        if word == 0:
            break
        if cell_class(word) == c:
            if not word & cython.cast(uint64_t, CELL_LIVE):
                free += 1
            else:
                report.objects += 1
                report.claimed += word & cython.cast(uint64_t, CELL_CLAIMED) != 0
                d = zspage_of(pool, g, c, cell_zspage(word))
                if (
                    d == cython.NULL
                    or cell_slot(word) >= g.shapes[c].objs
                    or (
                        read_once(
                            header_of(pool, g, d, read_once(cython.address(d.word), b"zsmend.check"), cell_slot(word)),
                            b"zsmend.check",
                        )
                        >> 32
                        != index
                    )
                ):
                    report.bad_objects += 1
        index += 1
        cell = zs_cell(pool, index)
    next = read_once(cython.address(zs_class(pool, c).free_cell), b"zsmend.check")
    while next:
        cell = zs_cell(pool, next - 1)
        word = 0 if cell == cython.NULL else read_once(cell, b"zsmend.check")
        if word == 0 or free == 0 or word & cython.cast(uint64_t, CELL_LIVE) or cell_class(word) != c:
            report.bad_cells += 1
            return
        free -= 1
        next = index_of(word)
    report.bad_cells += free != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_unused(k: cython.pointer(ZsClass)) -> cython.bint:
    """Has the class never had an object? Most have not: no need to walk the tables for each of them."""
    return (
        read_once(cython.address(k.nr_zspages), b"zsmend.check") == 0
        and read_once(cython.address(k.inuse), b"zsmend.check") == 0
        and read_once(cython.address(k.free_cell), b"zsmend.check") == 0
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_check(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    report: cython.pointer(ClassReport),
    timeout_ns: uint64_t,
) -> cython.int:
    taken: uint64_t
    status: cython.int = class_lock(pool, c, timeout_ns)
    if status != OK:
        return status
    report.objects = report.bad_objects = report.claimed = report.bad_slots = 0
    report.bad_groups = report.bad_cells = report.bad_counts = 0
    if is_unused(zs_class(pool, c)):
        class_unlock(pool, c)
        return OK
    taken = check_zspages(pool, g, c, report)
    check_cells(pool, g, c, report)
    if taken != report.objects or taken != read_once(cython.address(zs_class(pool, c).inuse), b"zsmend.check"):
        report.bad_counts += 1
    class_unlock(pool, c)
    return OK


register_mend(KIND_ZSPOOL, mend)
