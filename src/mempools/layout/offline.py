"""L2: a chunk whose last granules are all free gives their pages back to the arena, and takes them again (the kernel's memory
hotplug: offline_pages and online_pages in mm/memory_hotplug.c).

Guarantee. Granules that are offline cannot be had: the chunk's map says META. Its first pages, header and map, stay, so whoever
knows the chunk may look at them for ever. The pages of the granules are the chunk's or the arena's, never both, never nobody's,
also after a death at any instant. Lock-free, process-safe. Price. The first pages of each chunk; pages come back only to where
they were.
Precondition. The pool's granule is a page, and nobody looks at memory of the pool that he has not allocated.

  what runs   | beside allocation from the chunk                | beside another of these of the chunk
  offline     | its caller holds the granules, a block each     | the swap of the state decides
  online      | from [R:ownermap.release] of a granule on       | likewise
  list_runs   | -                                               | sees the old length or the new one

Rules. Who takes granules offline: claims them; state; granules META; run_nbytes; pages, downwards; state. Who takes them online:
state; pages, upwards, by extending the block of pages that the others are; run_nbytes; state; granules; state. So how many pages
there are is told by the length of that block. What lies where granules of a newer chunk of the pool do stays offline: addresses
are looked up newest chunk first.

Crash windows (the dead process is X; offline_mend, called by recovery before it sweeps X's bytes):
  [D:offline.leaving]    the granules are X's, the state says what X was at: finished.
  [D:offline.closed]     they are META: likewise.
  [D:offline.shortened]  the pages are nobody's by the chunk's word, but its block has them still: likewise.
  [D:offline.extending]  the block of pages may be longer than the chunk says: cut again, offline.
  [D:offline.extended]   likewise, though it may say so.
  [D:offline.opening]    the pages are the chunk's, granules META: the rest is opened, online.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.layout.offline is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.backing import pages_taken, pages_unback
from cython.cimports.mempools.layout.chunks import pool_known, pool_update
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import (
    CHUNK_EXTENDING,
    CHUNK_LEAVING,
    CHUNK_OFFLINE,
    CHUNK_ONLINE,
    CHUNK_OPENING,
    PAGE_BYTES,
    PAGE_SHIFT,
    Chunk,
)
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import every_lane, lane_mask, lanes_equal, spread_lanes
from cython.cimports.mempools.parts.ownermap import block_length, owner_at, release_lanes, transfer
from cython.cimports.mempools.parts.owners import OWNER_META, OWNER_STRUCT, START
from cython.cimports.mempools.parts.ownertail import cut, extend
from cython.cimports.mempools.parts.status import BUSY, INVALID, OK

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def chunk_of(pool: cython.pointer(PoolRef), i: uint64_t) -> cython.pointer(Chunk):
    return cython.cast(cython.pointer(Chunk), pool.arena.base + pool.chunks[i].offset)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_nr(pool: cython.pointer(PoolRef), i: uint64_t) -> uint64_t:
    """Granules of a chunk, taken or free, whose pages are its own: its first ones. Relaxed: whoever has a block of it, or of
    another chunk that lies there, has learnt of that since the state was changed."""
    state: uint64_t = read_once(cython.address(chunk_of(pool, i).state), b"offline.nr")
    keep: uint64_t = state >> 16
    if state & 0xFF == CHUNK_ONLINE or state & 0xFF == CHUNK_OPENING:
        return pool.chunks[i].nr
    return keep if keep < pool.chunks[i].nr else pool.chunks[i].nr


# ---- pages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def has_form(pool: cython.pointer(PoolRef), i: uint64_t, keep: uint64_t) -> cython.bint:
    """Has a chunk whole pages of its own for its granules, as it says? What the arena says is not trusted."""
    run: uint64_t = read_once(cython.address(chunk_of(pool, i).run), b"offline.form")
    whole: uint64_t = read_once(cython.address(chunk_of(pool, i).whole_nbytes), b"offline.form")
    base: uint64_t = pool.chunks[i].base
    return (
        pool.shift == PAGE_SHIFT
        and not pool.foreign
        and (run | whole | base) & (PAGE_BYTES - 1) == 0
        and 0 < run < base
        and whole <= pool.arena.nbytes
        and run <= pool.arena.nbytes - whole
        and base - run + (pool.chunks[i].nr << PAGE_SHIFT) <= whole
        and keep < pool.chunks[i].nr
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def first_page(pool: cython.pointer(PoolRef), i: uint64_t, keep: uint64_t) -> uint64_t:
    """Of the granules that it does not keep."""
    return (pool.chunks[i].base >> PAGE_SHIFT) + keep


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_page(pool: cython.pointer(PoolRef), i: uint64_t) -> uint64_t:
    """Behind those that it has when it is online."""
    chunk: cython.pointer(Chunk) = chunk_of(pool, i)
    return (
        read_once(cython.address(chunk.run), b"offline.end")
        + read_once(cython.address(chunk.whole_nbytes), b"offline.end")
    ) >> PAGE_SHIFT


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_pages(pool: cython.pointer(PoolRef), i: uint64_t, keep: uint64_t) -> cython.void:
    """Those of the granules that it does not keep, as many as there are, to the arena, their memory to the system."""
    pages: cython.pointer(ChunkRef) = cython.address(pool.arena.pages.chunks[0])
    run: uint64_t = read_once(cython.address(chunk_of(pool, i).run), b"offline.run") >> PAGE_SHIFT
    first: uint64_t = first_page(pool, i, keep)
    end: uint64_t = run + block_length(pages.map, pages.nr, run)  # exact: nobody else changes it now
    # First: whoever lists the pool's runs does not list pages that are another's.
    write_once(cython.address(chunk_of(pool, i).run_nbytes), first - run << PAGE_SHIFT, b"offline.run_nbytes")
    window(b"D:offline.shortened")
    if end > first:
        pages_unback(pool.arena, first << PAGE_SHIFT, end - first << PAGE_SHIFT)
        cut(pages.map, pages.summary, first, end - first, OWNER_STRUCT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rest_offline(pool: cython.pointer(PoolRef), i: uint64_t, keep: uint64_t) -> cython.void:
    # [R:offline.left] release; pairs with [A:offline.taken]: run_nbytes is written by one after the other.
    store_release(cython.address(chunk_of(pool, i).state), keep << 16 | CHUNK_OFFLINE, b"R:offline.left")


# ---- to the arena


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave(pool: cython.pointer(PoolRef), i: uint64_t, keep: uint64_t, slot: uint32_t) -> cython.void:
    """Of a chunk whose state says that the slot's process takes granules offline. May be done again."""
    ref: cython.pointer(ChunkRef) = cython.address(pool.chunks[i])
    transfer(ref.map, ref.nr_words, keep, ref.nr - keep, slot, OWNER_META)
    window(b"D:offline.closed")
    give_pages(pool, i, keep)
    rest_offline(pool, i, keep)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_state(pool: cython.pointer(PoolRef), i: uint64_t) -> uint64_t:
    return read_once(cython.address(chunk_of(pool, i).state), b"offline.look")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_offline(pool: cython.pointer(PoolRef), i: uint64_t, state: uint64_t, keep: uint64_t) -> cython.int:
    """Takes all granules but the first `keep` offline: those that were not offline in `state`, what chunk_state said before, are
    this process's, each a block. OK, and they are nobody's; BUSY, INVALID: nothing has changed."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    if not has_form(pool, i, keep):
        return INVALID
    if state & 0xFF > CHUNK_OFFLINE:
        return BUSY
    # Who adds a chunk hands its pages over after others may have found it; upwards, so the last one tells.
    if state == CHUNK_ONLINE and owner_at(pool.arena.pages.chunks[0].map, end_page(pool, i) - 1) != OWNER_STRUCT:
        return BUSY
    # [A:offline.taken] acquire; pairs with [R:offline.left]: see there. A swap: who has opened the last granules may not have
    # said yet that it is done, and another may take other granules offline.
    if (
        cmpxchg_acquire(
            cython.address(chunk_of(pool, i).state), state, keep << 16 | slot << 8 | CHUNK_LEAVING, b"A:offline.taken"
        )
        != state
    ):
        return BUSY
    window(b"D:offline.leaving")
    leave(pool, i, keep, slot)
    return OK


# ---- from the arena


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_covered(pool: cython.pointer(PoolRef), i: uint64_t, keep: uint64_t) -> cython.bint:
    """Lies a newer chunk of the pool where the granules are that it does not keep? Once their pages are its own, no more comes to
    lie there."""
    first: uint64_t = first_page(pool, i, keep) << PAGE_SHIFT
    end: uint64_t = end_page(pool, i) << PAGE_SHIFT
    k: uint64_t
    if pool_update(pool) == BUSY:
        return True
    for k in range(i + 1, pool_known(pool)):
        if pool.chunks[k].base < end and first < pool.chunks[k].base + (pool.chunks[k].nr << PAGE_SHIFT):
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def open_granules(pool: cython.pointer(PoolRef), i: uint64_t) -> cython.void:
    """Those that are META are free, downwards. May be done again, beside those who have claimed some."""
    ref: cython.pointer(ChunkRef) = cython.address(pool.chunks[i])
    w: uint64_t = ref.nr_words
    mask: uint64_t
    while w > 0:
        w -= 1
        mask = lane_mask(0, 8 if ref.nr - w * 8 >= 8 else ref.nr - w * 8)
        # Relaxed: META lanes change here only.
        mask &= spread_lanes(lanes_equal(read_once(cython.address(ref.map[w]), b"offline.open"), OWNER_META | START, 0))
        if mask:
            release_lanes(ref.map, ref.summary, w, mask, mask & every_lane(OWNER_META | START))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_pages(pool: cython.pointer(PoolRef), i: uint64_t, keep: uint64_t) -> cython.int:
    """Those that the chunk had, to be touched: OK, or BUSY, EXHAUSTED: it has none."""
    pages: cython.pointer(ChunkRef) = cython.address(pool.arena.pages.chunks[0])
    first: uint64_t = first_page(pool, i, keep)
    nr: uint64_t = end_page(pool, i) - first
    status: cython.int = extend(pages.map, pages.summary, first, nr, OWNER_STRUCT)
    if status != OK:
        return status
    window(b"D:offline.extended")
    status = BUSY if is_covered(pool, i, keep) else pages_taken(pool.arena, first << PAGE_SHIFT, nr << PAGE_SHIFT)
    if status != OK:
        cut(pages.map, pages.summary, first, nr, OWNER_STRUCT)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_online(pool: cython.pointer(PoolRef), i: uint64_t) -> cython.int:
    """Takes the pages of granules that are offline from the arena again: OK; BUSY: none are, others have some of the pages, or
    are at it; EXHAUSTED: the system has no memory for them."""
    chunk: cython.pointer(Chunk) = chunk_of(pool, i)
    mine: uint64_t = cython.cast(uint64_t, pool.arena.slot[0]) << 8
    state: uint64_t = chunk_state(pool, i)
    keep: uint64_t = state >> 16
    status: cython.int
    if state & 0xFF != CHUNK_OFFLINE or not has_form(pool, i, keep):
        return BUSY
    # [A:offline.taken] as above.
    if (
        cmpxchg_acquire(cython.address(chunk.state), state, keep << 16 | mine | CHUNK_EXTENDING, b"A:offline.taken")
        != state
    ):
        return BUSY
    window(b"D:offline.extending")
    status = take_pages(pool, i, keep)
    if status != OK:
        rest_offline(pool, i, keep)
        return status
    write_once(
        cython.address(chunk.run_nbytes),
        read_once(cython.address(chunk.whole_nbytes), b"offline.whole"),
        b"offline.run_nbytes",
    )
    write_once(cython.address(chunk.state), keep << 16 | mine | CHUNK_OPENING, b"offline.opening")
    window(b"D:offline.opening")
    open_granules(pool, i)
    # Relaxed: nobody changes the state before this; what was written before, a granule's release orders.
    write_once(cython.address(chunk.state), CHUNK_ONLINE, b"offline.online")
    return OK


# ---- recovery


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def offline_mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.void:
    """What a dead process was at. Relaxed: it reads and writes no more. Run again after a death of its own it finds the state
    as it was."""
    i: uint64_t
    state: uint64_t
    keep: uint64_t
    for i in range(pool_known(pool)):
        state = read_once(cython.address(chunk_of(pool, i).state), b"offline.mend")
        keep = state >> 16
        if (state >> 8 & 0xFF) != slot or state & 0xFF <= CHUNK_OFFLINE or not has_form(pool, i, keep):
            continue
        if state & 0xFF == CHUNK_LEAVING:
            leave(pool, i, keep, slot)
        elif state & 0xFF == CHUNK_EXTENDING:
            give_pages(pool, i, keep)
            rest_offline(pool, i, keep)
        else:
            open_granules(pool, i)
            write_once(cython.address(chunk_of(pool, i).state), CHUNK_ONLINE, b"offline.online")
