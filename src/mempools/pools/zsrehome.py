"""L3: zspages of a ZsPool move out of the tail of a chunk, whose pages go back to the arena (the kernel's page migration,
zs_page_migrate in mm/zsmalloc.c, which serves the kernel's compaction of physical memory).

Guarantee. As of zscompact.py: readers see objects whole, where they were or where they are; what somebody reads stays, and with
it the tail. The pool does not grow for it. Whoever does it may die anywhere: the chunk is what it was, with fewer objects.
Process-safe, not lock-free. Price. As of zscompact.py, and a copy of each object of the tail.
Precondition. The lock of compaction is the caller's: nothing else moves objects of the pool.

  what runs | beside alloc, free                                    | beside pin
  close     | the free granules of the tail are not to be had       | -
  turn      | under the class's lock, as compaction                 | as compaction
  finish    | layout/offline.py                                     | nothing in the tail is pinned: all granules are held

Rules. Granules are held before anything moves, so what moves goes elsewhere, and what others free in the chunk is held when it is
closed again. A death leaves held granules as the dead process's blocks: swept.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zsrehome is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_known
from cython.cimports.mempools.layout.offline import chunk_nr, chunk_offline, chunk_state
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import MAX_CHUNKS
from cython.cimports.mempools.machine.atomics import fetch_add_relaxed, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import popcount64
from cython.cimports.mempools.parts.ownermap import claim_singles, count_owner, owner_at, release_singles
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, NOT_FOUND, OK
from cython.cimports.mempools.pools.genpool import genpool_free
from cython.cimports.mempools.pools.zsalloc import new_block
from cython.cimports.mempools.pools.zscompact import MOVES_A_TURN, move_locked
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zspage import (
    class_lock,
    class_unlock,
    drop_locked,
    install_locked,
    regroup_locked,
    zspage_of,
)
from cython.cimports.mempools.pools.zstable import (
    ZS_SHIFT,
    Descriptor,
    desc_class,
    desc_offset,
    word_fits,
    zs_class,
    zs_desc,
    zs_root,
)

register_module(cython.address(this_module_step))

_NEEDS_ZSPAGE = cython.declare(cython.int, 1)  # beside the statuses, as in zsalloc.py


# ---- which chunk, and how much of it


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nr_free(chunk: cython.pointer(ChunkRef)) -> uint64_t:
    return count_owner(chunk.map, chunk.summary, chunk.nr_words, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rehome_pick(pool: cython.pointer(PoolRef), state: cython.pointer(Rehoming)) -> cython.int:
    """The next chunk, of those not tried: the one with the fewest granules taken. OK, or NOT_FOUND. A pool with a size of its own
    keeps it."""
    i: uint64_t
    nr: uint64_t
    free: uint64_t
    best: uint64_t = MAX_CHUNKS
    least: uint64_t = 0
    if pool.limit:
        return NOT_FOUND
    for i in range(pool_known(pool)):
        nr = chunk_nr(pool, i)
        if nr == 0 or state.tried >> i & 1:
            continue
        free = nr_free(cython.address(pool.chunks[i]))
        nr = nr - free if nr > free else 0
        if best == MAX_CHUNKS or nr < least:
            best = i
            least = nr
    if best == MAX_CHUNKS:
        return NOT_FOUND
    state.tried |= cython.cast(uint64_t, 1) << best
    state.chunk = best
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tail_of(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), word: uint64_t, chunk: uint64_t, keep: uint64_t
) -> uint64_t:
    """1 + the granule of the chunk's that a zspage begins with, by its descriptor's word, if it is not one of those it keeps."""
    offset: uint64_t = desc_offset(word)
    at: uint64_t = (offset - pool.chunks[chunk].base) >> ZS_SHIFT
    if word == 0 or not word_fits(pool, g, word) or desc_class(word) >= g.nr or offset < pool.chunks[chunk].base:
        return 0
    return at + 1 if keep <= at < chunk_nr(pool, chunk) else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mark_zspages(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), state: cython.pointer(Rehoming)
) -> cython.void:
    """In state.held, the granules of the chunk that belong to zspages whose objects can move."""
    index: uint64_t = 0
    first: uint64_t
    at: uint64_t
    c: uint64_t
    word: uint64_t
    d: cython.pointer(Descriptor) = zs_desc(pool, 0)
    while d != cython.NULL:
        word = read_once(cython.address(d.word), b"zsrehome.look")
        first = tail_of(pool, g, word, state.chunk, 0)
        c = desc_class(word)
        if first and not state.fixed[c >> 6] >> (c & 63) & 1:
            for at in range(first - 1, first - 1 + g.shapes[c].pages):
                if at < pool.chunks[state.chunk].nr:
                    state.held[at >> 3] |= 1 << (at & 7)
        index += 1
        d = zs_desc(pool, index)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rehome_plan(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), state: cython.pointer(Rehoming)
) -> cython.int:
    """How much of the picked chunk can be given back: behind the last granule that is neither free nor of a zspage whose objects
    can move. OK; NOT_FOUND: nothing, or there is no room elsewhere for what is there. Relaxed: a guess, which rehome_finish
    proves."""
    chunk: cython.pointer(ChunkRef) = cython.address(pool.chunks[state.chunk])
    i: uint64_t
    at: uint64_t
    room: uint64_t = 0
    taken: uint64_t = 0
    state.state = chunk_state(pool, state.chunk)
    mark_zspages(pool, g, state)
    at = chunk_nr(pool, state.chunk)
    state.nr = 0
    while at > 0 and (owner_at(chunk.map, at - 1) == 0 or state.held[at - 1 >> 3] >> (at - 1 & 7) & 1):
        at -= 1
        state.nr += 1
        taken += owner_at(chunk.map, at) != 0
    state.keep = at
    while at > 0:
        at -= 1
        room += owner_at(chunk.map, at) == 0
    for i in range(pool_known(pool)):
        room += nr_free(cython.address(pool.chunks[i])) if i != state.chunk else 0
    for i in range(chunk.nr_words):
        state.held[i] = 0
    if state.nr < LEAST_TAIL or room < taken:
        return NOT_FOUND
    state.next = 0
    state.nr_held = 0
    for i in range(g.nr):
        state.targets[i] = 0
    return OK


# ---- its free granules are held


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hold(
    pool: cython.pointer(PoolRef), state: cython.pointer(Rehoming), first: uint64_t, last: uint64_t
) -> cython.void:
    """What is free of the tail in words first .. last of the chunk's map is held."""
    chunk: cython.pointer(ChunkRef) = cython.address(pool.chunks[state.chunk])
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    w: uint64_t
    lanes: uint64_t
    others: uint64_t
    for w in range(first, last + 1):
        lanes = claim_singles(chunk.map, w, 8, slot)
        others = lanes & ((1 << (state.keep & 7)) - 1) if w == state.keep >> 3 else 0  # the chunk keeps these
        if others:
            release_singles(chunk.map, chunk.summary, chunk.nr_words, w, others, slot)
            lanes ^= others
        state.held[w] |= lanes
        state.nr_held += popcount64(lanes)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rehome_close(pool: cython.pointer(PoolRef), state: cython.pointer(Rehoming)) -> cython.void:
    """What is free in the tail now is held."""
    hold(pool, state, state.keep >> 3, pool.chunks[state.chunk].nr_words - 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rehome_finish(pool: cython.pointer(PoolRef), state: cython.pointer(Rehoming)) -> cython.int:
    """OK: the tail was empty, and is offline. Else BUSY, and what was held is free again."""
    chunk: cython.pointer(ChunkRef) = cython.address(pool.chunks[state.chunk])
    w: uint64_t
    rehome_close(pool, state)
    if state.nr_held == state.nr and chunk_offline(pool, state.chunk, state.state, state.keep) == OK:
        return OK
    for w in range(chunk.nr_words):
        if state.held[w]:
            release_singles(
                chunk.map, chunk.summary, chunk.nr_words, w, state.held[w], cython.cast(uint32_t, pool.arena.slot[0])
            )
    return BUSY


# ---- zspage by zspage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_in_tail(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    state: cython.pointer(Rehoming),
    d: cython.pointer(Descriptor),
) -> cython.bint:
    return tail_of(pool, g, read_once(cython.address(d.word), b"zsrehome.look"), state.chunk, state.keep) != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def target_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    state: cython.pointer(Rehoming),
    block: cython.pointer(uint64_t),
) -> cython.int:
    """A zspage of the class outside the tail, with room, is in state.targets: OK, _NEEDS_ZSPAGE, TABLE_FULL. `block`: pages of
    the caller's that may become one, 0: none; 0 when they have."""
    index: uint64_t = state.targets[c]
    d: cython.pointer(Descriptor) = zspage_of(pool, g, c, index - 1) if index else cython.NULL
    status: cython.int
    if d != cython.NULL and not is_in_tail(pool, g, state, d):
        if read_once(cython.address(d.inuse), b"zsrehome.target") < g.shapes[c].objs:
            return OK
    if block[0] == 0:
        return _NEEDS_ZSPAGE
    status = install_locked(pool, g, c, block[0])
    if status == OK:
        block[0] = 0
        state.targets[c] = read_once(cython.address(zs_class(pool, c).heads[0]), b"zsrehome.target")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def empty_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    c: uint64_t,
    state: cython.pointer(Rehoming),
    block: cython.pointer(uint64_t),
    freed: cython.pointer(uint64_t),
) -> cython.int:
    """Moves up to MOVES_A_TURN objects out of zspage state.next: OK, and freed[0] is its pages if it is empty now; BUSY: all that
    is left in it is being read; CORRUPT, and as of target_locked."""
    index: uint64_t = state.next
    d: cython.pointer(Descriptor) = zspage_of(pool, g, c, index)
    e: cython.pointer(Descriptor)
    at: uint64_t
    moves: uint64_t = 0
    status: cython.int = OK
    if d == cython.NULL or not is_in_tail(pool, g, state, d):
        return OK  # it has ended since
    if read_once(cython.address(d.inuse), b"zsrehome.source"):
        status = target_locked(pool, g, c, state, block)
        if status != OK:
            return status
        e = zspage_of(pool, g, c, state.targets[c] - 1)
        if e == cython.NULL:
            return CORRUPT
        for at in range(g.shapes[c].objs):
            status = move_locked(pool, g, c, index, at, state.targets[c] - 1)
            if status == CORRUPT:
                break
            moves += status == OK
            if moves == MOVES_A_TURN or read_once(cython.address(e.inuse), b"zsrehome.full") >= g.shapes[c].objs:
                break
        regroup_locked(pool, g, c, state.targets[c] - 1, e)
        regroup_locked(pool, g, c, index, d)
        fetch_add_relaxed(cython.address(zs_root(pool).nr_moved), moves, b"zsrehome.count")
        if status == CORRUPT:
            return CORRUPT
    if read_once(cython.address(d.inuse), b"zsrehome.source") == 0:
        freed[0] = drop_locked(pool, g, c, index, d, cython.cast(uint32_t, pool.arena.slot[0]))
        return OK
    return OK if moves else BUSY


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rehome_turn(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), state: cython.pointer(Rehoming), timeout_ns: uint64_t
) -> cython.int:
    """Some objects of the tail's next zspage: OK, there may be more; NOT_FOUND: all are out; BUSY: something stays, EXHAUSTED:
    there is no room elsewhere, so there is no point in going on; CORRUPT, and what the lock says."""
    d: cython.pointer(Descriptor)
    c: uint64_t
    block: uint64_t = 0
    freed: uint64_t = 0
    at: uint64_t
    status: cython.int
    while True:
        d = zs_desc(pool, state.next)
        if d == cython.NULL:
            return NOT_FOUND
        if is_in_tail(pool, g, state, d):
            break
        state.next += 1
    c = desc_class(read_once(cython.address(d.word), b"zsrehome.next"))
    if c >= g.nr:
        return OK  # it has ended since
    if state.fixed[c >> 6] >> (c & 63) & 1:
        return BUSY  # it has come since
    while True:
        status = class_lock(pool, c, timeout_ns)
        if status != OK:
            break
        status = empty_locked(pool, g, c, state, cython.address(block), cython.address(freed))
        class_unlock(pool, c)
        if status != _NEEDS_ZSPAGE:
            break
        status = new_block(pool, g, c, False, cython.address(block))
        if status != OK:
            break
    if block:
        genpool_free(pool, block, cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT)
    if freed:
        genpool_free(pool, freed, cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT)
        at = (freed - pool.chunks[state.chunk].base) >> ZS_SHIFT
        hold(pool, state, at >> 3, (at + g.shapes[c].pages - 1) >> 3)
    return status
