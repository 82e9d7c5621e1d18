"""L3: the zspages of a ZsPool: slots, lists by fullness, their beginning and end; all under the lock of their class.

The guarantee, the rules and what may run beside what stand in pools/zsalloc.py.

Crash windows (the dead process is X, which has the class's lock):
  [D:zspage.named]    a descriptor names a block that is X's: recovery hands it to OWNER_STRUCT, an empty zspage.
  [D:zspage.leaving]  a zspage in no list, its block OWNER_STRUCT's, X's or in part both: it is an empty zspage again.
  [D:zspage.unnamed]  the block that was a zspage is X's and nobody names it: swept.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zspage is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import CORRUPT, NOT_REGISTERED, OK, TABLE_FULL
from cython.cimports.mempools.pools.genpool import genpool_transfer
from cython.cimports.mempools.pools.zsgeometry import NR_GROUPS, Geometry, group_of
from cython.cimports.mempools.pools.zstable import (
    ZS_SHIFT,
    Descriptor,
    ZsClass,
    ZsRoot,
    desc_class,
    desc_offset,
    desc_word,
    header_of,
    word_fits,
    zs_class,
    zs_desc,
    zs_root,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def class_lock(pool: cython.pointer(PoolRef), c: uint64_t, timeout_ns: uint64_t) -> cython.int:
    """OK, TIMED_OUT (its holder may be dead), INTERRUPTED, NOT_REGISTERED."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    return robust_lock(cython.address(zs_class(pool, c).lock), slot, timeout_ns) if slot else NOT_REGISTERED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def class_unlock(pool: cython.pointer(PoolRef), c: uint64_t) -> cython.void:
    robust_unlock(cython.address(zs_class(pool, c).lock), cython.cast(uint32_t, pool.arena.slot[0]))


# ---- under the lock: relaxed accesses, but for what readers look at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def add(counter: cython.pointer(uint64_t), by: uint64_t) -> cython.void:
    write_once(counter, read_once(counter, b"zspage.count") + by, b"zspage.count")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zspage_of(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), c: uint64_t, index: uint64_t
) -> cython.pointer(Descriptor):
    """A zspage of the class; NULL: it is none."""
    d: cython.pointer(Descriptor) = zs_desc(pool, index)
    word: uint64_t
    if d == cython.NULL:
        return cython.NULL
    word = read_once(cython.address(d.word), b"zspage.zspage")
    return d if desc_class(word) == c and word_fits(pool, g, word) else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def link_locked(
    pool: cython.pointer(PoolRef), c: uint64_t, index: uint64_t, d: cython.pointer(Descriptor), group: uint64_t
) -> cython.void:
    """To the front of a group's list."""
    k: cython.pointer(ZsClass) = zs_class(pool, c)
    next: uint64_t = read_once(cython.address(k.heads[group]), b"zspage.link")
    other: cython.pointer(Descriptor) = zs_desc(pool, next - 1) if next else cython.NULL
    write_once(cython.address(d.group), group, b"zspage.link")
    write_once(cython.address(d.prev), 0, b"zspage.link")
    write_once(cython.address(d.next), next, b"zspage.link")
    if other != cython.NULL:
        write_once(cython.address(other.prev), index + 1, b"zspage.link")
    write_once(cython.address(k.heads[group]), index + 1, b"zspage.link")
    add(cython.address(k.counts[group]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unlink_locked(pool: cython.pointer(PoolRef), c: uint64_t, d: cython.pointer(Descriptor)) -> cython.void:
    k: cython.pointer(ZsClass) = zs_class(pool, c)
    group: uint64_t = read_once(cython.address(d.group), b"zspage.unlink")
    prev: uint64_t = read_once(cython.address(d.prev), b"zspage.unlink")
    next: uint64_t = read_once(cython.address(d.next), b"zspage.unlink")
    other: cython.pointer(Descriptor)
    if group >= NR_GROUPS:
        return
    other = zs_desc(pool, prev - 1) if prev else cython.NULL
    if other != cython.NULL:
        write_once(cython.address(other.next), next, b"zspage.unlink")
    else:
        write_once(cython.address(k.heads[group]), next, b"zspage.unlink")
    other = zs_desc(pool, next - 1) if next else cython.NULL
    if other != cython.NULL:
        write_once(cython.address(other.prev), prev, b"zspage.unlink")
    add(cython.address(k.counts[group]), ~cython.cast(uint64_t, 0))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def regroup_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    index: uint64_t,
    d: cython.pointer(Descriptor),
) -> cython.void:
    """A zspage whose number of objects has changed goes into the list where it belongs."""
    group: uint64_t = group_of(read_once(cython.address(d.inuse), b"zspage.regroup"), g.shapes[c].objs)
    if group != read_once(cython.address(d.group), b"zspage.regroup"):
        unlink_locked(pool, c, d)
        link_locked(pool, c, index, d, group)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pop_slot_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    d: cython.pointer(Descriptor),
    at: cython.pointer(uint64_t),
) -> cython.int:
    """A free slot of a zspage that has one; the caller fills it and regroups: OK or CORRUPT."""
    free: uint64_t = read_once(cython.address(d.free), b"zspage.pop")
    header: uint64_t
    if free == 0 or free > g.shapes[c].objs:
        return CORRUPT
    at[0] = free - 1
    header = read_once(header_of(pool, g, d, read_once(cython.address(d.word), b"zspage.pop"), free - 1), b"zspage.pop")
    if header & 1:
        return CORRUPT
    write_once(cython.address(d.free), header >> 1, b"zspage.pop")
    add(cython.address(d.inuse), 1)
    add(cython.address(zs_class(pool, c).inuse), 1)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_slot_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    d: cython.pointer(Descriptor),
    at: uint64_t,
) -> cython.void:
    """A slot that no cell names any more; the caller regroups."""
    free: uint64_t = read_once(cython.address(d.free), b"zspage.put")
    word: uint64_t = read_once(cython.address(d.word), b"zspage.put")
    write_once(header_of(pool, g, d, word, at), free << 1, b"zspage.put")
    write_once(cython.address(d.free), at + 1, b"zspage.put")
    add(cython.address(d.inuse), ~cython.cast(uint64_t, 0))
    add(cython.address(zs_class(pool, c).inuse), ~cython.cast(uint64_t, 0))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drop_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    index: uint64_t,
    d: cython.pointer(Descriptor),
    slot: uint32_t,
) -> uint64_t:
    """An empty zspage ends; its block becomes the slot's, to be freed without the lock: its offset."""
    word: uint64_t = read_once(cython.address(d.word), b"zspage.drop")
    unlink_locked(pool, c, d)
    add(cython.address(zs_class(pool, c).nr_zspages), ~cython.cast(uint64_t, 0))
    window(b"D:zspage.leaving")
    genpool_transfer(pool, desc_offset(word), cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT, OWNER_STRUCT, slot)
    # [R:zspage.unnamed] release; pairs with [A:zspage.claim]: what was done to the descriptor under this class's lock is done
    # before another class may claim it. Else the new zspage's links might be overwritten by the old one's.
    store_release(cython.address(d.word), 0, b"R:zspage.unnamed")
    if index < read_once(cython.address(zs_root(pool).next_desc), b"zspage.hint"):
        write_once(cython.address(zs_root(pool).next_desc), index, b"zspage.hint")
    window(b"D:zspage.unnamed")
    return desc_offset(word)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim_desc(pool: cython.pointer(PoolRef), word: uint64_t, start: uint64_t, end: uint64_t) -> uint64_t:
    """The index + 1 of an unused descriptor in [start, end) that says `word` now, 0: there is none."""
    i: uint64_t = start
    d: cython.pointer(Descriptor)
    while i < end:
        d = zs_desc(pool, i)
        if d == cython.NULL:
            return 0
        if read_once(cython.address(d.word), b"zspage.claim") == 0:  # relaxed: the swap confirms
            # [A:zspage.claim] acquire; pairs with [R:zspage.unnamed]: see there.
            if cmpxchg_acquire(cython.address(d.word), 0, word, b"A:zspage.claim") == 0:
                return i + 1
        i += 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def install_locked(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), c: uint64_t, block: uint64_t
) -> cython.int:
    """A block of this process's with a chain of free slots becomes a zspage: OK, or TABLE_FULL: there is no unused descriptor."""
    r: cython.pointer(ZsRoot) = zs_root(pool)
    hint: uint64_t = read_once(cython.address(r.next_desc), b"zspage.hint")
    found: uint64_t = claim_desc(pool, desc_word(block, c), hint, ~cython.cast(uint64_t, 0))
    d: cython.pointer(Descriptor)
    if found == 0:
        found = claim_desc(pool, desc_word(block, c), 0, hint)
    if found == 0:
        return TABLE_FULL
    # Relaxed: where a search starts is a guess; whoever finds nothing from there on looks at the rest.
    write_once(cython.address(r.next_desc), found, b"zspage.hint")
    d = zs_desc(pool, found - 1)
    write_once(cython.address(d.inuse), 0, b"zspage.install")
    write_once(cython.address(d.free), 1, b"zspage.install")
    write_once(cython.address(d.huge), 0, b"zspage.install")
    window(b"D:zspage.named")
    genpool_transfer(
        pool,
        block,
        cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT,
        cython.cast(uint32_t, pool.arena.slot[0]),
        OWNER_STRUCT,
    )
    link_locked(pool, c, found - 1, d, 0)
    add(cython.address(zs_class(pool, c).nr_zspages), 1)
    return OK
