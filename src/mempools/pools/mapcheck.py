"""L3: check(): the invariants of layout/structs.pxd and parts/ownermap.py, tested over a whole pool.

Reads only, all of it relaxed. Beside the living it may see a block between two of its words, or the words in another order
than they were written; so a granule that looks wrong is looked at again a few times, and only what stays wrong is told.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.mapcheck is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_known
from cython.cimports.mempools.layout.growth import MAX_RUNS, Run, list_runs
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import (
    NR_LANES,
    NR_POOLS,
    NR_SLOTS,
    PAGE_SHIFT,
    STATE_DROPPING,
    STATE_LIVE,
    STATE_SETUP,
    ShareRecord,
    granules_of,
)
from cython.cimports.mempools.machine.atomics import cpu_relax, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import has_free_lane
from cython.cimports.mempools.parts.ownermap import block_length, count_owner, owner_at
from cython.cimports.mempools.parts.owners import (
    OWNER_MASK,
    OWNER_META,
    OWNER_RESERVE,
    OWNER_SHARED,
    OWNER_STRUCT,
    START,
)
from cython.cimports.mempools.pools.genpool import genpool_chunk

register_module(cython.address(this_module_step))

_LOOKS = cython.declare(cython.int, 10_000)  # at one granule, before what looks wrong is called wrong


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tell(
    problems: cython.pointer(Problem), room: uint64_t, nr: uint64_t, what: uint64_t, address: uint64_t, owner: uint64_t
) -> uint64_t:
    if nr < room:
        problems[nr].what = what
        problems[nr].address = address
        problems[nr].owner = owner
    return nr + 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wrong_at(pool: cython.pointer(PoolRef), chunk: cython.pointer(ChunkRef), index: uint64_t) -> uint64_t:
    """What contradicts the invariants at one granule, 0 for nothing: a moment's look."""
    byte: uint32_t = owner_at(chunk.map, index)
    owner: uint32_t = byte & OWNER_MASK
    word: uint64_t = index >> 3
    if byte == 0:
        if read_once(cython.address(chunk.summary[word >> 6]), b"mapcheck.full") >> (word & 63) & 1:
            return FALSELY_FULL if has_free_lane(read_once(cython.address(chunk.map[word]), b"mapcheck.word")) else 0
        return 0
    if not byte & START and (index == 0 or owner_at(chunk.map, index - 1) & OWNER_MASK != owner):
        return ORPHAN
    if owner <= NR_SLOTS:
        state: uint64_t = read_once(cython.address(pool.arena.slots[owner].state), b"mapcheck.slot")
        return 0 if state & 0xFF == STATE_LIVE else NOBODY
    return 0 if owner in (OWNER_RESERVE, OWNER_STRUCT, OWNER_SHARED, OWNER_META) else NOBODY


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def stays_wrong(pool: cython.pointer(PoolRef), chunk: cython.pointer(ChunkRef), index: uint64_t) -> uint64_t:
    what: uint64_t = wrong_at(pool, chunk, index)
    looks: cython.int = 0
    while what and looks < _LOOKS:
        cpu_relax(b"mapcheck.again")
        what = wrong_at(pool, chunk, index)
        looks += 1
    return what


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_is_whole(pool: cython.pointer(PoolRef), record: cython.pointer(ShareRecord)) -> cython.bint:
    """A LIVE record: one SHARED block of its length, and somebody who holds it. A moment's look."""
    address: uint64_t = read_once(cython.address(record.address), b"mapcheck.share")
    nr: uint64_t = granules_of(read_once(cython.address(record.nr), b"mapcheck.share"))
    chunk: cython.pointer(ChunkRef)
    w: uint64_t
    held: cython.bint = False
    for w in range(NR_LANES // 7):
        held = held or read_once(cython.address(record.lanes[w]), b"mapcheck.share") << 8 != 0
    chunk = genpool_chunk(pool, address, 1)
    if not held or chunk == cython.NULL:
        return False
    index: uint64_t = (address - chunk.base) >> pool.shift
    return owner_at(chunk.map, index) == OWNER_SHARED | START and block_length(chunk.map, chunk.nr, index) == nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def map_check(pool: cython.pointer(PoolRef), problems: cython.pointer(Problem), room: uint64_t) -> uint64_t:
    nr: uint64_t = 0
    shared: uint64_t = 0
    named: uint64_t = 0
    moving: cython.bint = False
    i: uint64_t
    index: uint64_t
    state: uint64_t
    what: uint64_t
    looks: cython.int
    chunk: cython.pointer(ChunkRef)
    record: cython.pointer(ShareRecord)
    for i in range(pool_known(pool)):
        chunk = cython.address(pool.chunks[i])
        for index in range(chunk.nr):
            what = stays_wrong(pool, chunk, index)
            if what:
                nr = tell(
                    problems,
                    room,
                    nr,
                    what,
                    chunk.base + (index << pool.shift),
                    owner_at(chunk.map, index) & OWNER_MASK,
                )
        shared += count_owner(chunk.map, chunk.summary, chunk.nr_words, OWNER_SHARED)
    for i in range(pool.nr_shares):
        record = cython.address(pool.shares[i])
        looks = 0
        while True:
            state = read_once(cython.address(record.state), b"mapcheck.share") & 0xFF
            if state != STATE_LIVE or share_is_whole(pool, record) or looks == _LOOKS:
                break
            looks += 1
        if state == STATE_LIVE:
            named += granules_of(read_once(cython.address(record.nr), b"mapcheck.share"))
            if looks == _LOOKS:
                nr = tell(problems, room, nr, LOST_SHARE, i, 0)
        elif state in (STATE_SETUP, STATE_DROPPING):
            moving = True  # somebody is sharing or dropping: the sums need not agree now
    if shared != named and not moving and nr == 0 and pool.nr_shares:
        nr = tell(problems, room, nr, UNSHARED, shared << pool.shift, named << pool.shift)
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_check(pages: cython.pointer(PoolRef), problems: cython.pointer(Problem), room: uint64_t) -> uint64_t:
    """Run this while no pool is made, grown or destroyed: it compares two sums."""
    runs: Run[MAX_RUNS]
    chunk: cython.pointer(ChunkRef) = cython.address(pages.chunks[0])
    nr: uint64_t = 0
    named: uint64_t = 0
    index: uint32_t
    i: cython.int
    nr_runs: cython.int
    page: uint64_t
    for index in range(1, NR_POOLS):
        if read_once(cython.address(pages.arena.pools[index].state), b"mapcheck.entry") & 0xFF != STATE_LIVE:
            continue
        nr_runs = list_runs(pages.arena, cython.address(pages.arena.pools[index]), runs)
        for i in range(nr_runs):
            named += runs[i].nr
            page = runs[i].page
            if (
                page >= chunk.nr
                or owner_at(chunk.map, page) != OWNER_STRUCT | START
                or block_length(chunk.map, chunk.nr, page) != runs[i].nr
            ):
                nr = tell(problems, room, nr, LOST_RUN, page << PAGE_SHIFT, index)
    if named != count_owner(chunk.map, chunk.summary, chunk.nr_words, OWNER_STRUCT):
        nr = tell(
            problems,
            room,
            nr,
            LOST_PAGES,
            count_owner(chunk.map, chunk.summary, chunk.nr_words, OWNER_STRUCT) << PAGE_SHIFT,
            named << PAGE_SHIFT,
        )
    return nr
