"""L3: what recovery does for a Zram (see zramtable.py and zramslot.py).

Guarantee. After mend the dead process has no page locked; each page has what it had before the change that the process did not
get to the end of, or what it was to have, with its object or block; nothing that the process had allocated or reserved is left
but what pages have. It may die and be run again by another.

Order. What a ZsPool's recovery does for its tables; then the journal, for which locks of classes are needed, in the dead
process's name; then its objects, of which the journal has said which are kept; then its blocks of the backing file; last its
locks.

Crash windows.
  [D:zrammend.put_back]  a page is as it was, and locked by the dead process; its entry is not JOURNALED any more: unlocked.
  [D:zrammend.unlocked]  an entry is not JOURNALED and names a page that is not locked: cleared.
  [D:zrammend.kept]      as [D:zramslot.kept].
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zrammend is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.recovery import register_mend
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_ZRAM
from cython.cimports.mempools.machine.atomics import (
    read_once,
    read_once32,
    store_release32,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import forget_full, sweep
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_unlock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, OK
from cython.cimports.mempools.pools.zramslot import block_of, block_transfer
from cython.cimports.mempools.pools.zramtable import (
    ENTRY_SHIFT,
    JOURNALED,
    NR_ENTRIES,
    OLD_OBJECT,
    ZRAM_STATE,
    ZRAM_WB,
    ZramEntry,
    ZramPage,
    ZramRef,
    ZramRoot,
    entry_end,
    entry_of,
    lock_holder,
    zram_load,
    zram_root,
)
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zsmend import take_lock, zs_forked, zs_mend_objects, zs_mend_tables
from cython.cimports.mempools.pools.zsretire import retire_locked
from cython.cimports.mempools.pools.zstable import (
    DOOMED,
    OWNER_SHIFT,
    cell_owner,
    handle_names,
    index_of,
    zs_cell,
    zs_class,
    zs_geometry,
    zs_root,
)

register_module(cython.address(this_module_step))


# ---- objects, in the dead process's name


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def settle_object(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, slot: uint32_t, keep: cython.bint
) -> cython.int:
    """Keeps an object that was the dead process's, or retires one; nothing if it has ended. OK, or BUSY."""
    c: uint64_t = handle >> 32 & 0xFF
    cell: cython.pointer(uint64_t) = zs_cell(pool, index_of(handle))
    lock: cython.pointer(uint32_t)
    word: uint64_t
    block: uint64_t = 0
    if cell == cython.NULL or c >= g.nr:
        return OK
    lock = cython.address(zs_class(pool, c).lock)
    if take_lock(lock, slot) != OK:
        return BUSY
    word = read_once(cell, b"zrammend.object")
    if handle_names(handle, word):
        if not keep:
            if cell_owner(word) != DOOMED:
                retire_locked(pool, g, index_of(handle), cell, word, slot, cython.address(block))
        elif cell_owner(word) == slot:
            # Plain, as in zs_keep.
            write_once(
                cell,
                word & ~(cython.cast(uint64_t, 0x7F) << OWNER_SHIFT)
                | cython.cast(uint64_t, OWNER_STRUCT) << OWNER_SHIFT,
                b"zrammend.keep",
            )
    robust_unlock(lock, slot)
    return OK


# ---- the journal


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_back(
    z: cython.pointer(ZramRef),
    page: cython.pointer(ZramPage),
    flags: uint32_t,
    entry: cython.pointer(ZramEntry),
    slot: uint32_t,
) -> cython.void:
    """A page that the dead process has locked: it is as it was."""
    named: uint64_t = read_once(cython.address(entry.page), b"zrammend.entry")
    old: uint64_t = read_once(cython.address(entry.old), b"zrammend.entry")
    block: uint64_t = read_once(cython.address(entry.block), b"zrammend.entry")
    if named & cython.cast(uint64_t, JOURNALED):
        if flags & cython.cast(uint32_t, ZRAM_WB):
            block_transfer(z, block_of(old), slot, OWNER_STRUCT)
        if block:
            block_transfer(z, block - 1, OWNER_STRUCT, slot)
        write_once(cython.address(page.word), old, b"zrammend.word")
        write_once(
            cython.address(entry.page), named & ~cython.cast(uint64_t, JOURNALED | OLD_OBJECT), b"zrammend.entry"
        )
    window(b"D:zrammend.put_back")
    # [R:zrammend.unlock] release; pairs with [A:zramtable.lock]: see there.
    store_release32(cython.address(page.flags), flags & cython.cast(uint32_t, ZRAM_STATE), b"R:zrammend.unlock")
    window(b"D:zrammend.unlocked")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish(z: cython.pointer(ZramRef), entry: cython.pointer(ZramEntry), slot: uint32_t) -> cython.int:
    """A change that is done: what change_finish does. OK, or BUSY."""
    named: uint64_t = read_once(cython.address(entry.page), b"zrammend.entry")
    fresh: uint64_t
    if named & cython.cast(uint64_t, JOURNALED):
        fresh = read_once(cython.address(entry.fresh), b"zrammend.entry")
        if fresh and settle_object(z.pool, z.g, fresh, slot, True) != OK:
            return BUSY
        write_once(cython.address(entry.fresh), 0, b"zrammend.entry")
        window(b"D:zrammend.kept")
        if named & cython.cast(uint64_t, OLD_OBJECT):
            return settle_object(z.pool, z.g, read_once(cython.address(entry.old), b"zrammend.entry"), slot, False)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_journal(z: cython.pointer(ZramRef), slot: uint32_t) -> cython.int:
    """OK, or BUSY: a lock was not had; the entries that are left say what is to be done."""
    i: uint32_t
    index: uint64_t
    flags: uint32_t
    entry: cython.pointer(ZramEntry)
    for i in range(NR_ENTRIES):
        entry = entry_of(z, slot, i)
        index = read_once(cython.address(entry.page), b"zrammend.entry")
        if index == 0:
            continue
        index = (index & ~cython.cast(uint64_t, JOURNALED | OLD_OBJECT)) - 1
        if index < z.nr_pages:
            flags = read_once32(cython.address(z.pages[index].flags), b"zrammend.flags")
            if lock_holder(flags) == slot and flags >> ENTRY_SHIFT == i:
                put_back(z, cython.address(z.pages[index]), flags, entry, slot)
            elif finish(z, entry, slot) != OK:
                return BUSY
        entry_end(z, slot, i)
    return OK


# ---- recovery


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unlock_all(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.void:
    r: cython.pointer(ZramRoot) = zram_root(pool)
    robust_unlock(cython.address(r.making), slot)
    robust_unlock(cython.address(r.growing), slot)
    robust_unlock(cython.address(r.processing), slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.int:
    """For recovery: OK; BUSY: a living process has had a lock for long: again later; CORRUPT."""
    z: ZramRef
    g: cython.pointer(Geometry) = zs_geometry(pool)
    made: cython.int
    status: cython.int
    if zram_root(pool) == cython.NULL:
        return CORRUPT
    made = zram_load(pool, cython.address(z))
    if g == cython.NULL:
        unlock_all(pool, slot)
        return OK if read_once(cython.address(zs_root(pool).chain), b"zrammend.chain") == 0 else CORRUPT
    zs_mend_tables(pool, g, slot)
    status = mend_journal(cython.address(z), slot) if made == OK else OK
    if status == OK:
        status = zs_mend_objects(pool, g, slot)
    if status == OK and made == OK:
        sweep(z.blocks, z.full, z.nr_words, slot)
        forget_full(z.full, z.nr_words)
    unlock_all(pool, slot)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_forked(pool: cython.pointer(PoolRef)) -> cython.void:
    """The threads that had a page or a lock are not here."""
    z: ZramRef
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    if zram_load(pool, cython.address(z)) != OK or slot == 0:
        return
    zs_forked(pool)
    mend_journal(cython.address(z), slot)
    unlock_all(pool, slot)


register_mend(KIND_ZRAM, mend)
