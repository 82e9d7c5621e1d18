"""L3: what one does to a page of a Zram: look, change, mark (see zramtable.py).

Purpose. A change gives a page a new content and ends the old one in one critical section, so of two writers of a page neither
loses an object (the kernel's leaked handle).
Guarantee. A change is there whole or not at all, whenever its process dies; the object or block that the page had is freed once,
the new one is the page's and no process's. Readers pin the object by the handle that they have looked up, after they have let
the page go: it is what the page had, or STALE, and they look again. Process-safe.
Price. A free and a zs_keep, each a lock of a size class, after the page is unlocked: none is waited for under it.

  what runs | beside another change of the page                | beside a reader
  change    | one after the other; the second ends what the    | the reader has the old object pinned, so it is
            | first has written                                | retired, or finds its handle STALE

Crash windows (the dead process is X, the page is locked by X until the last but two):
  [D:zramslot.journaled]  the entry has the page's word and the new object, which is X's: unlocked, the object is freed.
  [D:zramslot.blocks]     the block that the page has is X's, the one that it is to have OWNER_STRUCT's: each goes back.
  [D:zramslot.written]    the word is the new one, the flags are the old ones: the word of the entry is put back.
  [D:zramslot.committed]  the page is as it is to be; the new object is X's, the old one lives: the one is kept, the other
  retired. [D:zramslot.kept]       the old object lives: retired. The old block is X's: swept.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zramslot is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    cmpxchg_relaxed32,
    read_once,
    read_once32,
    store_release32,
    this_module_step,
    window,
    write_once,
    write_once32,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64
from cython.cimports.mempools.parts.ownermap import claim_singles, note_full, release, transfer
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import INTERRUPTED, INVALID, NOT_REGISTERED, OK, TIMED_OUT
from cython.cimports.mempools.pools.zramtable import (
    JOURNALED,
    OLD_OBJECT,
    ZRAM_IDLE,
    ZRAM_LOCK,
    ZRAM_PP,
    ZRAM_SAME,
    ZRAM_STATE,
    ZRAM_STRICT,
    ZRAM_WB,
    Held,
    ZramEntry,
    ZramPage,
    ZramRef,
    entry_end,
    entry_of,
    has_object,
    page_lock,
    page_unlock,
)
from cython.cimports.mempools.pools.zsalloc import zs_alloc, zs_keep
from cython.cimports.mempools.pools.zsgeometry import NR_GROUPS, class_of
from cython.cimports.mempools.pools.zsretire import zs_retire
from cython.cimports.mempools.pools.zstable import ZsClass, zs_class

register_module(cython.address(this_module_step))


# ---- looking


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_look(
    z: cython.pointer(ZramRef),
    index: uint64_t,
    now: uint32_t,
    touch: cython.bint,
    held: cython.pointer(Held),
    timeout_ns: uint64_t,
) -> cython.int:
    """The page's word and flags, together. `touch`: it is an access, which ends its being idle or chosen. Status as of
    page_lock."""
    flags: uint32_t
    status: cython.int = page_lock(z, index, held, timeout_ns)
    if status != OK:
        return status
    flags = held.flags
    if touch:
        flags &= ~cython.cast(uint32_t, ZRAM_IDLE | ZRAM_PP)
        write_once32(cython.address(z.pages[index].time), now, b"zramslot.touch")
    page_unlock(z, held, flags)
    return OK


# ---- objects


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_total_pages(z: cython.pointer(ZramRef)) -> uint64_t:
    """Of all zspages (zs_get_total_pages in mm/zsmalloc.c): a moment's picture."""
    c: uint64_t
    pages: uint64_t = 0
    for c in range(z.g.nr):
        pages += read_once(cython.address(zs_class(z.pool, c).nr_zspages), b"zramslot.total") * z.g.shapes[c].pages
    return pages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def has_room(k: cython.pointer(ZsClass)) -> cython.bint:
    """Has a class a zspage with a free slot?"""
    group: uint64_t
    for group in range(NR_GROUPS - 1):
        if read_once(cython.address(k.heads[group]), b"zramslot.room"):
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def note_used(z: cython.pointer(ZramRef), pages: uint64_t) -> cython.void:
    """Relaxed: a statistic."""
    most: uint64_t = read_once(cython.address(z.root.stats.max_used_pages), b"zramslot.most")
    seen: uint64_t
    while pages > most:
        seen = cmpxchg_relaxed(cython.address(z.root.stats.max_used_pages), most, pages, b"zramslot.most")
        if seen == most:
            return
        most = seen


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_counted(
    z: cython.pointer(ZramRef), nbytes: uint64_t, c: uint64_t, handle: cython.pointer(uint64_t), timeout_ns: uint64_t
) -> cython.int:
    """As zs_alloc; and the most pages that there ever were. OVER_LIMIT: there are too many now, as in the kernel, where the limit
    is held against what has been allocated: the caller is to free the object."""
    limit: uint64_t = read_once(cython.address(z.root.limit_pages), b"zramslot.limit")
    nr: uint64_t = read_once(cython.address(zs_class(z.pool, c).nr_zspages), b"zramslot.grown")
    pages: uint64_t
    status: cython.int = zs_alloc(z.pool, z.g, nbytes, z.pool.arena.slot[0], handle, timeout_ns)
    if status != OK:
        return status
    if limit or read_once(cython.address(zs_class(z.pool, c).nr_zspages), b"zramslot.grown") > nr:
        pages = zram_total_pages(z)
        note_used(z, pages)
        if limit and pages > limit:
            return OVER_LIMIT
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_alloc(
    z: cython.pointer(ZramRef), nbytes: uint64_t, handle: cython.pointer(uint64_t), timeout_ns: uint64_t
) -> cython.int:
    """A new object of this process's: status as of zs_alloc, or OVER_LIMIT, with an object to be freed if the handle is not 0.
    Where the limit is strict, one process at a time may let the pool grow, and looks before it does: what frees meanwhile only
    makes room, and a zspage that ends between the look and the allocation makes way for the next one."""
    slot: uint32_t = cython.cast(uint32_t, z.pool.arena.slot[0])
    limit: uint64_t = read_once(cython.address(z.root.limit_pages), b"zramslot.limit")
    c: cython.int = class_of(z.g, nbytes)
    status: cython.int
    handle[0] = 0
    if c < 0:
        return INVALID
    if slot == 0:
        return NOT_REGISTERED
    if limit == 0 or not read_once(cython.address(z.root.options), b"zramslot.options") & ZRAM_STRICT:
        return alloc_counted(z, nbytes, c, handle, timeout_ns)
    # The order is: this lock, then the class's. Nobody takes it with a class's lock, or a page's.
    status = robust_lock(cython.address(z.root.growing), slot, timeout_ns)
    if status != OK:
        return status
    if not has_room(zs_class(z.pool, c)) and zram_total_pages(z) + z.g.shapes[c].pages > limit:
        status = OVER_LIMIT
    else:
        status = alloc_counted(z, nbytes, c, handle, timeout_ns)
    robust_unlock(cython.address(z.root.growing), slot)
    return status


# ---- blocks of the backing file


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_claim(z: cython.pointer(ZramRef), first: uint64_t) -> int64_t:
    """A free block, from word `first` of the map on: this process's; -1: none."""
    i: uint64_t
    w: uint64_t
    lanes: uint64_t
    for i in range(z.nr_words):
        w = (first + i) % z.nr_words
        if read_once(cython.address(z.full[w >> 6]), b"zramslot.full") >> (w & 63) & 1:
            continue
        lanes = claim_singles(z.blocks, w, 1, cython.cast(uint32_t, z.pool.arena.slot[0]))
        if lanes:
            return (w << 3) + ctz64(lanes)
        note_full(z.blocks, z.full, w)
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_release(z: cython.pointer(ZramRef), block: uint64_t) -> cython.void:
    """Of this process's."""
    if block < z.nr_blocks:
        release(z.blocks, z.full, z.nr_words, block, 1, cython.cast(uint32_t, z.pool.arena.slot[0]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_transfer(
    z: cython.pointer(ZramRef), block: uint64_t, from_owner: uint32_t, to_owner: uint32_t
) -> cython.bint:
    return block < z.nr_blocks and transfer(z.blocks, z.nr_words, block, 1, from_owner, to_owner) == OK


# ---- changes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_expected(held: cython.pointer(Held), expected: cython.pointer(Expected)) -> cython.bint:
    return expected.any or (
        held.word == expected.word
        and held.flags & cython.cast(uint32_t, ZRAM_SAME | ZRAM_WB) == expected.kind
        and (not expected.chosen or held.flags & cython.cast(uint32_t, ZRAM_PP) != 0)
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def page_change(
    z: cython.pointer(ZramRef),
    held: cython.pointer(Held),
    word: uint64_t,
    flags: uint32_t,
    now: uint32_t,
    fresh: uint64_t,
    block: uint64_t,
) -> cython.void:
    """Gives the page a new word and flags, and unlocks it. `fresh`: the object that the word names, or 0; `block`: the block that
    it names, + 1, or 0: each this process's so far."""
    slot: uint32_t = cython.cast(uint32_t, z.pool.arena.slot[0])
    page: cython.pointer(ZramPage) = cython.address(z.pages[held.index])
    entry: cython.pointer(ZramEntry) = entry_of(z, slot, held.entry)
    # Relaxed: who reads the entry but its owner finds the owner dead.
    write_once(cython.address(entry.old), held.word, b"zramslot.journal")
    write_once(cython.address(entry.fresh), fresh, b"zramslot.journal")
    write_once(cython.address(entry.block), block, b"zramslot.journal")
    write_once(
        cython.address(entry.page),
        held.index + 1
        | cython.cast(uint64_t, JOURNALED)
        | (cython.cast(uint64_t, OLD_OBJECT) if has_object(held.word, held.flags) else 0),
        b"zramslot.journal",
    )
    window(b"D:zramslot.journaled")
    if held.flags & cython.cast(uint32_t, ZRAM_WB):
        block_transfer(z, block_of(held.word), OWNER_STRUCT, slot)
    if block:
        block_transfer(z, block - 1, slot, OWNER_STRUCT)
    window(b"D:zramslot.blocks")
    write_once(cython.address(page.word), word, b"zramslot.word")
    window(b"D:zramslot.written")
    write_once32(cython.address(page.time), now, b"zramslot.time")
    # [R:zramslot.commit] release; pairs with [A:zramtable.lock]: see there. The change is done, and the page unlocked.
    store_release32(cython.address(page.flags), flags & cython.cast(uint32_t, ZRAM_STATE), b"R:zramslot.commit")
    window(b"D:zramslot.committed")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def change_finish(z: cython.pointer(ZramRef), held: cython.pointer(Held), timeout_ns: uint64_t) -> cython.int:
    """The new object is no process's any more, the old one ends: OK, or what a class's lock says: then again. That an object
    has ended already is right: another change of the page was faster."""
    slot: uint32_t = cython.cast(uint32_t, z.pool.arena.slot[0])
    entry: cython.pointer(ZramEntry) = entry_of(z, slot, held.entry)
    fresh: uint64_t = read_once(cython.address(entry.fresh), b"zramslot.finish")
    status: cython.int
    if fresh:
        status = zs_keep(z.pool, z.g, fresh, timeout_ns)
        if status == TIMED_OUT or status == INTERRUPTED:
            return status
        write_once(cython.address(entry.fresh), 0, b"zramslot.finish")
    window(b"D:zramslot.kept")
    if has_object(held.word, held.flags):
        status = zs_retire(z.pool, z.g, held.word, timeout_ns)
        if status == TIMED_OUT or status == INTERRUPTED:
            return status
    elif held.flags & cython.cast(uint32_t, ZRAM_WB):
        block_release(z, block_of(held.word))
    entry_end(z, slot, held.entry)
    return OK


# ---- marks


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def page_mark(z: cython.pointer(ZramRef), index: uint64_t, flags: uint32_t, mark: uint32_t) -> cython.bint:
    """Sets a mark on a page whose flags are these, unlocked: False if they are not any more. Relaxed: it says nothing of the
    word; and a holder's store of flags replaces it, or comes before it."""
    return (
        not flags & cython.cast(uint32_t, ZRAM_LOCK)
        and cmpxchg_relaxed32(cython.address(z.pages[index].flags), flags, flags | mark, b"zramslot.mark") == flags
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def page_unmark(z: cython.pointer(ZramRef), index: uint64_t, mark: uint32_t) -> cython.void:
    """Takes a mark away, unless somebody has the page: whoever touches it does that."""
    flags: uint32_t = read_once32(cython.address(z.pages[index].flags), b"zramslot.unmark")
    if flags & mark and not flags & cython.cast(uint32_t, ZRAM_LOCK):
        cmpxchg_relaxed32(cython.address(z.pages[index].flags), flags, flags & ~mark, b"zramslot.unmark")
