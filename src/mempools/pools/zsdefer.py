"""L3: deferred frees of a ZsPool: an object ends at once, its place is given back later, with others' (see zsalloc.py).

Purpose. A free takes the lock of a class, which others may have. Who cannot wait, or has many objects to free, makes an object
DOOMED by one swap and notes its handle in a queue of its process's, a page; a drain gives the places of many objects of a class
back under one lock (zs_free_deferred, proposed for mm/zsmalloc.c, has page-sized buffers for each CPU).
Guarantee. Of all who end an object, by whatever call, one succeeds. What is deferred is freed by a drain, with its last reader,
or by recovery. Defer: lock-free, process-safe; drain: process-safe, not lock-free. Memory is bounded: a page a process slot;
with a full queue, or without room for one, nothing is done, and the caller frees.
Price. Defer: two swaps, and the search for an entry. Drain: a retire an object, a lock for each FREES_A_TURN of a class.

  what runs | beside a read               | beside free, keep, move, retire | beside another defer, a drain
  defer     | neither waits for the other | one swap, which cancels a claim | one wins; each takes another entry
  drain     | as a retire                 | as a retire                     | each object is freed once

Rules.
- The cells are the truth. An entry is only where to look for a DOOMED object: one whose handle names nothing any more is dropped,
  one whose object is not DOOMED is about to be, or its process is about to take it back: it stays.
- The entry comes before the swap of the cell. So a DOOMED object has an entry, whoever is interrupted; and who finds no room has
  done nothing yet.
- An entry goes after its object: a drain that dies, or passes an object by that is being read, leaves it to the next.
- Any process may drain any queue; entries come and go by swaps alone. Relaxed, all of them: an entry that is not seen yet is
  found by the next drain, and what it names is read under its class's lock.

Crash windows (the dead process is X):
  [D:zsdefer.entered]  X's queue names an object that has not ended: it is as it was.
  [D:zsdefer.doomed]   the object is nobody's: recovery frees it.
  [D:zsdefer.ended]    an object has ended, a queue names it still: it names nothing.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zsdefer is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import inside
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import NR_SLOTS
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    read_once,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import CORRUPT, NOT_A_BLOCK, NOT_REGISTERED, OK, STALE, TABLE_FULL, TIMED_OUT
from cython.cimports.mempools.pools.genpool import genpool_free
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zspage import class_lock, class_unlock
from cython.cimports.mempools.pools.zspin import not_named
from cython.cimports.mempools.pools.zsretire import retire_locked
from cython.cimports.mempools.pools.zstable import (
    CELL_CLAIMED,
    DOOMED,
    OWNER_SHIFT,
    ZS_SHIFT,
    cell_owner,
    handle_names,
    index_of,
    name_block,
    zs_cell,
    zs_root,
)

register_module(cython.address(this_module_step))


# ---- queues


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def queue_of(pool: cython.pointer(PoolRef), slot: uint64_t) -> cython.pointer(uint64_t):
    """A slot's page; NULL: it has none."""
    # Relaxed: its own process has zeroed it; another that finds what was there before finds handles that name nothing, or an
    # object that is DOOMED, which it may free.
    offset: uint64_t = read_once(cython.address(zs_root(pool).queues[slot]), b"zsdefer.page")
    if not inside(pool.arena, offset, 4096):
        return cython.NULL
    return cython.cast(cython.pointer(uint64_t), pool.arena.base + offset)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def used(queue: cython.pointer(uint64_t)) -> uint64_t:
    """Entries that have ever been used are the first of that many."""
    high: uint64_t = read_once(queue, b"zsdefer.high")
    return high if high < NR_DEFERRED else NR_DEFERRED


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def entry_at(queue: cython.pointer(uint64_t), i: uint64_t) -> cython.pointer(uint64_t):
    return cython.address(queue[FIRST_DEFERRED + i])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def enter_from(queue: cython.pointer(uint64_t), handle: uint64_t, start: uint64_t, end: uint64_t) -> uint64_t:
    """The number of an entry in [start, end) that has the handle now; `end`: there is none free."""
    i: uint64_t = start
    high: uint64_t
    while i < end:
        if read_once(entry_at(queue, i), b"zsdefer.enter") == 0:
            high = read_once(queue, b"zsdefer.high")
            while high <= i and cmpxchg_relaxed(queue, high, i + 1, b"zsdefer.high") != high:
                high = read_once(queue, b"zsdefer.high")
            if cmpxchg_relaxed(entry_at(queue, i), 0, handle, b"zsdefer.enter") == 0:
                write_once(cython.address(queue[1]), i + 1, b"zsdefer.hint")  # a store: where searches start is a guess
                return i
        i += 1
    return end


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def enter(queue: cython.pointer(uint64_t), handle: uint64_t) -> uint64_t:
    """The number of the entry; NR_DEFERRED: the queue is full."""
    hint: uint64_t = read_once(cython.address(queue[1]), b"zsdefer.hint")
    at: uint64_t = enter_from(queue, handle, hint, NR_DEFERRED)
    if at < NR_DEFERRED:
        return at
    hint = hint if hint < NR_DEFERRED else NR_DEFERRED
    at = enter_from(queue, handle, 0, hint)
    return at if at < hint else NR_DEFERRED


# ---- defer


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def doom(cell: cython.pointer(uint64_t), handle: uint64_t) -> cython.int:
    """OK, STALE or NOT_A_BLOCK. A loop only as long as others move or give the object, or come to free it and find it read."""
    word: uint64_t = read_once(cell, b"zsdefer.doom")
    found: uint64_t
    while handle_names(handle, word):
        if cell_owner(word) == DOOMED:
            return STALE
        # Relaxed: who frees the object looks at the pins behind a barrier of its own.
        found = cmpxchg_relaxed(
            cell,
            word,
            word & ~(cython.cast(uint64_t, CELL_CLAIMED) | cython.cast(uint64_t, 0x7F) << OWNER_SHIFT),
            b"zsdefer.doom",
        )
        if found == word:
            return OK
        word = found
    return not_named(handle, word)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_defer(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, many: cython.pointer(cython.bint)
) -> cython.int:
    """The object has ended, for everybody but those who are reading it: OK, and many[0] if it is time for a drain; STALE: it had;
    NOT_A_BLOCK: it never was one; TABLE_FULL: the queue is full; EXHAUSTED: there is no room for one; NOT_REGISTERED, CORRUPT."""
    slot: uint64_t = pool.arena.slot[0]
    cell: cython.pointer(uint64_t) = zs_cell(pool, index_of(handle))
    queue: cython.pointer(uint64_t)
    word: uint64_t
    at: uint64_t
    status: cython.int
    if slot == 0:
        return NOT_REGISTERED
    if cell == cython.NULL or (handle >> 32 & 0xFF) >= g.nr:
        return NOT_A_BLOCK
    word = read_once(cell, b"zsdefer.look")
    if not handle_names(handle, word):
        return not_named(handle, word)
    if cell_owner(word) == DOOMED:
        return STALE
    if read_once(cython.address(zs_root(pool).queues[slot]), b"zsdefer.page") == 0:
        status = name_block(pool, cython.address(zs_root(pool).queues[slot]), 4096)
        if status != OK:
            return status
    queue = queue_of(pool, slot)
    if queue == cython.NULL:
        return CORRUPT
    at = enter(queue, handle)
    if at == NR_DEFERRED:
        return TABLE_FULL
    window(b"D:zsdefer.entered")
    status = doom(cell, handle)
    if status != OK:
        cmpxchg_relaxed(entry_at(queue, at), handle, 0, b"zsdefer.undo")  # a drain may have been faster
        return status
    window(b"D:zsdefer.doomed")
    many[0] = at >= NR_DEFERRED // 2 and at & 31 == 0
    return OK


# ---- drain


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    entry: cython.pointer(uint64_t),
    handle: uint64_t,
    nr: cython.pointer(uint64_t),
    block: cython.pointer(uint64_t),
) -> cython.int:
    """Ends what an entry names, if nobody reads it, and then the entry: OK, and block[0] as of free_locked; CORRUPT."""
    cell: cython.pointer(uint64_t) = zs_cell(pool, index_of(handle))
    word: uint64_t = 0 if cell == cython.NULL else read_once(cell, b"zsdefer.end")
    status: cython.int = OK
    if handle_names(handle, word):
        if cell_owner(word) != DOOMED:
            return OK
        status = retire_locked(pool, g, index_of(handle), cell, word, cython.cast(uint32_t, pool.arena.slot[0]), block)
        if status != OK or handle_names(handle, read_once(cell, b"zsdefer.end")):
            return status
        nr[0] += 1
        window(b"D:zsdefer.ended")
    cmpxchg_relaxed(entry, handle, 0, b"zsdefer.clear")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drain_turn(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    queue: cython.pointer(uint64_t),
    start: uint64_t,
    passed: cython.pointer(uint64_t),
    nr: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    """Up to FREES_A_TURN objects of one class, that of entry `start`: OK, CORRUPT, and what the lock says. `passed`: a bit for
    each entry that need not be looked at again."""
    handle: uint64_t = read_once(entry_at(queue, start), b"zsdefer.turn")
    c: uint64_t = handle >> 32 & 0xFF
    end: uint64_t = used(queue)
    i: uint64_t = start
    turns: uint64_t = 0
    block: uint64_t = 0
    status: cython.int
    locked: cython.bint
    if c >= g.nr:  # garbage
        cmpxchg_relaxed(entry_at(queue, start), handle, 0, b"zsdefer.clear")
        return OK
    status = class_lock(pool, c, timeout_ns)
    locked = status == OK
    if status == TIMED_OUT and timeout_ns == 0:
        status = OK
    while i < end and turns < FREES_A_TURN and block == 0 and status == OK:
        handle = read_once(entry_at(queue, i), b"zsdefer.turn")
        if handle and handle >> 32 & 0xFF == c and not passed[i >> 6] >> (i & 63) & 1:
            passed[i >> 6] |= cython.cast(uint64_t, 1) << (i & 63)
            if locked:
                turns += 1
                status = end_locked(pool, g, entry_at(queue, i), handle, nr, cython.address(block))
        i += 1
    if locked:
        class_unlock(pool, c)
    if block:
        genpool_free(pool, block, cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_drain(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    slot: uint64_t,
    nr: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    """Ends what is in a slot's queue, but for what is being read: OK, CORRUPT, and what a lock says: then again. nr[0]: how many.
    With timeout_ns 0 it never waits, and leaves what is of a class that another has locked."""
    queue: cython.pointer(uint64_t) = queue_of(pool, slot)
    passed: uint64_t[8]
    i: uint64_t
    status: cython.int
    nr[0] = 0
    if queue == cython.NULL or pool.arena.slot[0] == 0:
        return OK
    for i in range(8):
        passed[i] = 0
    for i in range(used(queue)):
        while read_once(entry_at(queue, i), b"zsdefer.drain") and not passed[i >> 6] >> (i & 63) & 1:
            status = drain_turn(pool, g, queue, i, passed, nr, timeout_ns)
            if status != OK:
                return status
    write_once(cython.address(queue[1]), 0, b"zsdefer.hint")
    return OK


# ---- looking, and recovery


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nr_deferred(pool: cython.pointer(PoolRef)) -> uint64_t:
    """Objects that are in a queue, and there still: without a lock a moment's picture."""
    queue: cython.pointer(uint64_t)
    cell: cython.pointer(uint64_t)
    slot: uint64_t
    i: uint64_t
    handle: uint64_t
    word: uint64_t
    nr: uint64_t = 0
    for slot in range(1, NR_SLOTS + 1):
        queue = queue_of(pool, slot)
        if queue == cython.NULL:
            continue
        for i in range(used(queue)):
            handle = read_once(entry_at(queue, i), b"zsdefer.count")
            cell = zs_cell(pool, index_of(handle)) if handle else cython.NULL
            if cell != cython.NULL:
                word = read_once(cell, b"zsdefer.count")
                nr += handle_names(handle, word) and cell_owner(word) == DOOMED
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def clear_queue(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.void:
    """Of a dead process. What has been deferred is DOOMED: whoever recovers ends it."""
    queue: cython.pointer(uint64_t) = queue_of(pool, slot)
    i: uint64_t
    if queue == cython.NULL:
        return
    for i in range(used(queue)):
        write_once(entry_at(queue, i), 0, b"zsdefer.clear")
    write_once(cython.address(queue[1]), 0, b"zsdefer.hint")
