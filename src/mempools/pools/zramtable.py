"""L3: Zram: pages by index, compressed, in the objects of a ZsPool (drivers/block/zram): the table, its locks, the journal.

Purpose. A page is a word, which says where its content is, and flags, which say how to read the word. The lock is a part of the
flags: who holds it, and which entry of its journal says what it is about.
Guarantee. A page changes by one store of its flags, which unlocks it at once: whoever dies before that store has changed nothing,
whoever dies after it has changed the page and nothing else is lost. Process-safe, not lock-free.
Price. A swap and a store of a word of this process to use its journal, a swap to lock a page, a store to unlock it.
Precondition. Not for C signal handlers. Under a page's lock nobody waits for anything, allocates, or runs Python.

  what runs | beside the same page                          | beside another page
  lock      | one wins; the others look again, then sleep   | no connection, but 16 entries a process
  change    | [R:zramtable.unlock]: who has the lock next   | likewise
            | sees the word that the flags are about        |

Rules.
- The flags of a locked page are changed by its holder alone, by a plain release store. A page that nobody has locked may be
  marked idle or chosen by a swap.
- An entry is claimed before its page is locked, and is let go after it: so recovery looks at a dead process's entries, not at
  the table, for pages that are locked. Entries that no lock names are of changes that are done, but for what stands in them.

Crash windows (the dead process is X; recovery is pools/zrammend.py):
  [D:zramtable.claimed]   an entry names a page that X has not locked: it is not JOURNALED, and is cleared.
  [D:zramtable.locked]    a page is X's, unchanged: unlocked.
  [D:zramtable.unlocked]  an entry of X's names a page that X has let go: as above.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zramtable is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import NR_SLOTS
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cmpxchg_acquire32,
    copy,
    cpu_relax,
    futex_wait,
    load_acquire,
    read_once,
    read_once32,
    store_release,
    store_release32,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import every_lane, lane_mask
from cython.cimports.mempools.parts.owners import OWNER_META, START
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, MISMATCH, NOT_FOUND, NOT_REGISTERED, OK, TIMED_OUT
from cython.cimports.mempools.pools.zsgeometry import MAX_CHAIN, geometry_of
from cython.cimports.mempools.pools.zstable import root_nbytes, zs_geometry

register_module(cython.address(this_module_step))

_SPINS = cython.declare(uint64_t, 200)
_SLEEP_NS = cython.declare(uint64_t, 100_000)  # nobody wakes a sleeper: a page is locked for less than this
_MAX_PAGES = cython.declare(uint64_t, cython.cast(uint64_t, 1) << 40)


# ---- the device


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def root_offset() -> uint64_t:
    """Of the ZramRoot: the same whatever the pool's chain."""
    return (root_nbytes(geometry_of(MAX_CHAIN)) + 63) & ~cython.cast(uint64_t, 63)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_nbytes(nr_pages: uint64_t, nr_blocks: uint64_t) -> uint64_t:
    """Bytes of the root, tables included."""
    words: uint64_t = (nr_blocks + 7) >> 3
    return (
        root_offset()
        + cython.sizeof(ZramRoot)
        + nr_pages * cython.sizeof(ZramPage)
        + (words + ((words + 63) >> 6)) * cython.sizeof(uint64_t)
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_root(pool: cython.pointer(PoolRef)) -> cython.pointer(ZramRoot):
    """NULL: it is none."""
    if pool.root == cython.NULL or pool.root_nbytes < zram_nbytes(0, 0):
        return cython.NULL
    return cython.cast(cython.pointer(ZramRoot), pool.root + root_offset())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_load(pool: cython.pointer(PoolRef), z: cython.pointer(ZramRef)) -> cython.int:
    """OK; NOT_FOUND: it has not been made; CORRUPT."""
    z.pool = pool
    z.root = zram_root(pool)
    z.g = zs_geometry(pool)
    if z.root == cython.NULL:
        return CORRUPT
    # [A:zramtable.made] acquire; pairs with [R:zramtable.made]: the constants are whole.
    if load_acquire(cython.address(z.root.made), b"A:zramtable.made") == 0:
        return NOT_FOUND
    z.nr_pages = read_once(cython.address(z.root.nr_pages), b"zramtable.load")
    z.nr_blocks = read_once(cython.address(z.root.nr_blocks), b"zramtable.load")
    z.nr_words = (z.nr_blocks + 7) >> 3
    if (
        z.g == cython.NULL
        or z.nr_pages == 0
        or z.nr_pages > _MAX_PAGES
        or z.nr_blocks > _MAX_PAGES
        or pool.root_nbytes < zram_nbytes(z.nr_pages, z.nr_blocks)
    ):
        return CORRUPT
    z.pages = cython.cast(cython.pointer(ZramPage), z.root + 1)
    z.blocks = cython.cast(cython.pointer(uint64_t), z.pages + z.nr_pages)
    z.full = z.blocks + z.nr_words
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_locked(pool: cython.pointer(PoolRef), config: cython.pointer(ZramRoot)) -> cython.void:
    """The constants. A death between them leaves a device that is not made, whose next maker writes them again."""
    r: cython.pointer(ZramRoot) = zram_root(pool)
    i: uint64_t
    words: uint64_t = (config.nr_blocks + 7) >> 3
    map: cython.pointer(uint64_t)
    write_once(cython.address(r.nr_pages), config.nr_pages, b"zramtable.make")
    write_once(cython.address(r.nr_blocks), config.nr_blocks, b"zramtable.make")
    write_once(cython.address(r.options), config.options, b"zramtable.make")
    for i in range(NR_CODECS):
        write_once(cython.address(r.codecs[i]), config.codecs[i], b"zramtable.make")
    write_once(cython.address(r.file_device), config.file_device, b"zramtable.make")
    write_once(cython.address(r.file_inode), config.file_inode, b"zramtable.make")
    copy(r.path, config.path, PATH_BYTES, b"zramtable.make")
    write_once(cython.address(r.wb_batch), config.wb_batch, b"zramtable.make")
    if config.nr_blocks & 7:
        map = cython.cast(cython.pointer(uint64_t), cython.cast(cython.pointer(ZramPage), r + 1) + config.nr_pages)
        write_once(
            cython.address(map[words - 1]),
            every_lane(OWNER_META | START) & lane_mask(config.nr_blocks & 7, 8 - (config.nr_blocks & 7)),
            b"zramtable.make",
        )
    # [R:zramtable.made] release; pairs with [A:zramtable.made]: see there. Else a process might take a table for longer than it
    # is.
    store_release(cython.address(r.made), 1, b"R:zramtable.made")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_make(pool: cython.pointer(PoolRef), config: cython.pointer(ZramRoot), timeout_ns: uint64_t) -> cython.int:
    """Says what a new device is, unless somebody has: OK; MISMATCH: the root is too small for it; and what the lock says."""
    r: cython.pointer(ZramRoot) = zram_root(pool)
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    status: cython.int
    if r == cython.NULL or pool.root_nbytes < zram_nbytes(config.nr_pages, config.nr_blocks):
        return MISMATCH
    if slot == 0:
        return NOT_REGISTERED
    status = robust_lock(cython.address(r.making), slot, timeout_ns)
    if status != OK:
        return status
    if read_once(cython.address(r.made), b"zramtable.make") == 0:
        make_locked(pool, config)
    robust_unlock(cython.address(r.making), slot)
    return OK


# ---- the journal


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_begin(
    z: cython.pointer(ZramRef), slot: uint32_t, index: uint64_t, entry: cython.pointer(uint32_t), timeout_ns: uint64_t
) -> cython.int:
    """An entry of this process's that names the page: OK, or TIMED_OUT: as many threads as there are entries are at it."""
    i: uint32_t
    turns: uint64_t = 0
    waited: uint64_t = 0
    while True:
        for i in range(NR_ENTRIES):
            # [A:zramtable.entry] acquire; pairs with [R:zramtable.entry]: what the entry's last user wrote in it is older than
            # what this one writes. Else the last one's 0 may fall on this one's handle, and the object be freed although a
            # page names it.
            if (
                read_once(cython.address(entry_of(z, slot, i).page), b"zramtable.begin") == 0
                and cmpxchg_acquire(cython.address(entry_of(z, slot, i).page), 0, index + 1, b"A:zramtable.entry") == 0
            ):
                entry[0] = i
                window(b"D:zramtable.claimed")
                return OK
        if waited >= timeout_ns:
            return TIMED_OUT
        turns += 1
        if turns < _SPINS:
            cpu_relax(b"zramtable.begin")
            continue
        waited += _SLEEP_NS
        doze(cython.cast(cython.pointer(uint32_t), cython.address(entry_of(z, slot, 0).page)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def doze(word: cython.pointer(uint32_t)) -> cython.void:
    """Nobody wakes who sleeps here."""
    futex_wait(word, read_once32(word, b"zramtable.doze"), _SLEEP_NS, b"zramtable.doze")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_end(z: cython.pointer(ZramRef), slot: uint32_t, entry: uint32_t) -> cython.void:
    # [R:zramtable.entry] release; pairs with [A:zramtable.entry]: see there.
    store_release(cython.address(entry_of(z, slot, entry).page), 0, b"R:zramtable.entry")


# ---- locks


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def try_flags(z: cython.pointer(ZramRef), slot: uint32_t, held: cython.pointer(Held)) -> cython.bint:
    page: cython.pointer(ZramPage) = cython.address(z.pages[held.index])
    flags: uint32_t = read_once32(cython.address(page.flags), b"zramtable.flags")
    if flags & cython.cast(uint32_t, ZRAM_LOCK):
        return False
    # [A:zramtable.lock] acquire; pairs with [R:zramtable.unlock]: the holder sees the word that its last holder wrote, and what
    # that one did to the objects.
    if (
        cmpxchg_acquire32(
            cython.address(page.flags),
            flags,
            flags | slot << HOLDER_SHIFT | held.entry << ENTRY_SHIFT,
            b"A:zramtable.lock",
        )
        != flags
    ):
        return False
    window(b"D:zramtable.locked")
    held.flags = flags
    held.word = read_once(cython.address(page.word), b"zramtable.word")
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def page_trylock(z: cython.pointer(ZramRef), index: uint64_t, held: cython.pointer(Held)) -> cython.int:
    """OK; BUSY: somebody has it, or this process's journal is full; NOT_REGISTERED. `index` is less than nr_pages."""
    slot: uint32_t = cython.cast(uint32_t, z.pool.arena.slot[0])
    if slot == 0 or slot > NR_SLOTS:
        return NOT_REGISTERED
    held.index = index
    if entry_begin(z, slot, index, cython.address(held.entry), 0) != OK:
        return BUSY
    if try_flags(z, slot, held):
        return OK
    entry_end(z, slot, held.entry)
    return BUSY


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def page_lock(
    z: cython.pointer(ZramRef), index: uint64_t, held: cython.pointer(Held), timeout_ns: uint64_t
) -> cython.int:
    """OK; TIMED_OUT: its holder may be dead; NOT_REGISTERED. `index` is less than nr_pages."""
    slot: uint32_t = cython.cast(uint32_t, z.pool.arena.slot[0])
    turns: uint64_t = 0
    waited: uint64_t = 0
    status: cython.int
    if slot == 0 or slot > NR_SLOTS:
        return NOT_REGISTERED
    held.index = index
    status = entry_begin(z, slot, index, cython.address(held.entry), timeout_ns)
    if status != OK:
        return status
    while not try_flags(z, slot, held):
        if waited >= timeout_ns:
            entry_end(z, slot, held.entry)
            return TIMED_OUT
        turns += 1
        if turns < _SPINS:
            cpu_relax(b"zramtable.lock")
            continue
        waited += _SLEEP_NS
        doze(cython.address(z.pages[index].flags))
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lock_makes_sense(z: cython.pointer(ZramRef), index: uint64_t) -> cython.bint:
    """The entry that it names names the page: at some instant of many, for the page may change hands between two looks. If the
    page is free, somebody else's journal is what was waited for."""
    flags: uint32_t
    i: uint32_t
    for i in range(1000):
        flags = read_once32(cython.address(z.pages[index].flags), b"zramtable.sense")
        if not flags & cython.cast(uint32_t, ZRAM_LOCK):
            return True
        if (
            0 < lock_holder(flags) <= NR_SLOTS
            and read_once(
                cython.address(entry_of(z, lock_holder(flags), flags >> ENTRY_SHIFT).page), b"zramtable.sense"
            )
            & ~cython.cast(uint64_t, JOURNALED | OLD_OBJECT)
            == index + 1
        ):
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def page_unlock(z: cython.pointer(ZramRef), held: cython.pointer(Held), flags: uint32_t) -> cython.void:
    """With those flags; there is nothing in the entry but the page."""
    # [R:zramtable.unlock] release; pairs with [A:zramtable.lock]: see there. Here it is a holder that has changed nothing but
    # flags; the other one is [R:zramslot.commit].
    store_release32(cython.address(z.pages[held.index].flags), flags, b"R:zramtable.unlock")
    window(b"D:zramtable.unlocked")
    entry_end(z, cython.cast(uint32_t, z.pool.arena.slot[0]), held.entry)
