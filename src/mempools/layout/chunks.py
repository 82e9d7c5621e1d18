"""L2: the chunks of a pool: formatted in pages of their maker's own, published with one store, validated before use.

A chunk is a header (structs.pxd: Chunk), one summary bit per map word, and the owner map; the granules follow in the same
run of pages, or lie elsewhere (foreign memory). A pool's chunks form a push-only list, newest first, as the kernel's.
They are never removed before the whole pool is destroyed, so a chunk that was seen once stays.

  what runs | beside publish                    | beside update
  publish   | one swap of the head wins at a time | [A:chunks.head] sees whole chunks only
  update    | see there                         | one thread appends; the others go on with what they know

Nothing read from the arena is trusted: `chunk_load` checks every offset against the mapping and copies the constants out.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.layout.chunks is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import ArenaRef, ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import MAX_CHUNKS, NR_POOLS, STATE_LIVE, Chunk, PoolEntry, ShareRecord
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cmpxchg_release,
    copy,
    fill,
    load_acquire,
    read_once,
    store_release,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import every_lane, lane_mask
from cython.cimports.mempools.parts.owners import OWNER_META, START
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, NOT_FOUND, OK, TABLE_FULL

register_module(cython.address(this_module_step))

_MAGIC = cython.declare(uint64_t, 0x6B6E756863706D00)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_overhead(nr: uint64_t) -> uint64_t:
    """Bytes of header, summary and map of a chunk of nr granules, rounded up to a cache line."""
    words: uint64_t = (nr + 7) >> 3
    return (chunk_map(0, nr) + words * 8 + 63) & ~cython.cast(uint64_t, 63)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_map(offset: uint64_t, nr: uint64_t) -> uint64_t:
    """Offset of the owner map of a chunk of nr granules whose header is at `offset`."""
    return offset + cython.sizeof(Chunk) + ((((nr + 7) >> 3) + 63) >> 6) * 8


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_format(
    arena: cython.pointer(ArenaRef), offset: uint64_t, nr: uint64_t, base: uint64_t, run_nbytes: uint64_t
) -> cython.void:
    """Writes an empty chunk at `offset`, in pages that belong to the caller. Plain order: nobody else sees it yet."""
    chunk: cython.pointer(Chunk) = cython.cast(cython.pointer(Chunk), arena.base + offset)
    words: uint64_t = (nr + 7) >> 3
    map: cython.pointer(uint64_t)
    fill(chunk, 0, chunk_overhead(nr), b"chunks.format")
    write_once(cython.address(chunk.magic), _MAGIC, b"chunks.format")
    write_once(cython.address(chunk.nr), nr, b"chunks.format")
    write_once(cython.address(chunk.summary), offset + cython.sizeof(Chunk), b"chunks.format")
    write_once(cython.address(chunk.map), chunk_map(offset, nr), b"chunks.format")
    write_once(cython.address(chunk.base), base, b"chunks.format")
    write_once(cython.address(chunk.run), offset if run_nbytes else 0, b"chunks.format")
    write_once(cython.address(chunk.run_nbytes), run_nbytes, b"chunks.format")
    write_once(cython.address(chunk.whole_nbytes), run_nbytes, b"chunks.format")
    if nr & 7:
        map = cython.cast(cython.pointer(uint64_t), arena.base + chunk_map(offset, nr))
        write_once(
            cython.address(map[words - 1]),
            every_lane(OWNER_META | START) & lane_mask(nr & 7, 8 - (nr & 7)),
            b"chunks.format",
        )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_publish(arena: cython.pointer(ArenaRef), entry: cython.pointer(PoolEntry), offset: uint64_t) -> cython.int:
    """Makes a formatted chunk the newest of its pool: OK; TABLE_FULL when the pool has MAX_CHUNKS."""
    chunk: cython.pointer(Chunk) = cython.cast(cython.pointer(Chunk), arena.base + offset)
    head: uint64_t
    depth: uint64_t
    while True:
        # [A:chunks.newest] acquire; pairs with [R:chunks.publish]: the depth of the chunk that is the newest now has been
        # written. It is constant from then on, and the swap below fails if another has become the newest.
        head = load_acquire(cython.address(entry.head), b"A:chunks.newest")
        depth = 0
        if head and inside_chunk(arena, head):
            older: cython.pointer(Chunk) = cython.cast(cython.pointer(Chunk), arena.base + head)
            depth = read_once(cython.address(older.depth), b"chunks.publish") + 1
        if depth >= MAX_CHUNKS:
            return TABLE_FULL
        write_once(cython.address(chunk.next), head, b"chunks.publish")
        write_once(cython.address(chunk.depth), depth, b"chunks.publish")
        # [R:chunks.publish] release; pairs with [A:chunks.head] and [A:chunks.newest]: whoever sees the chunk sees its
        # fields and its zeroed map. Without it a reader could take the bytes that the pages held before for owners, or for
        # free granules.
        if cmpxchg_release(cython.address(entry.head), head, offset, b"R:chunks.publish") == head:
            return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def inside(arena: cython.pointer(ArenaRef), offset: uint64_t, nbytes: uint64_t) -> cython.bint:
    """Does [offset, offset + nbytes) lie in the arena behind its first page, 8-aligned?"""
    return offset & 7 == 0 and offset >= 4096 and offset < arena.nbytes and nbytes <= arena.nbytes - offset


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_load(pool: cython.pointer(PoolRef), offset: uint64_t, ref: cython.pointer(ChunkRef)) -> cython.int:
    """Validates the chunk at `offset` and copies its constants: OK or CORRUPT."""
    arena: cython.pointer(ArenaRef) = pool.arena
    chunk: cython.pointer(Chunk)
    map: uint64_t
    summary: uint64_t
    last: uint64_t
    if not inside_chunk(arena, offset):
        return CORRUPT
    chunk = cython.cast(cython.pointer(Chunk), arena.base + offset)
    if read_once(cython.address(chunk.magic), b"chunks.load") != _MAGIC:
        return CORRUPT
    ref.nr = read_once(cython.address(chunk.nr), b"chunks.load")
    ref.nr_words = (ref.nr + 7) >> 3
    if ref.nr == 0 or ref.nr > arena.nbytes:  # a granule costs a byte of map
        return CORRUPT
    map = read_once(cython.address(chunk.map), b"chunks.load")
    summary = read_once(cython.address(chunk.summary), b"chunks.load")
    if not inside(arena, map, ref.nr_words * 8) or not inside(arena, summary, ((ref.nr_words + 63) >> 6) * 8):
        return CORRUPT
    ref.base = read_once(cython.address(chunk.base), b"chunks.load")
    last = (ref.nr << pool.shift) - 1
    if (ref.nr << pool.shift) >> pool.shift != ref.nr or ref.base + last < ref.base:
        return CORRUPT
    if not pool.foreign and ref.base + last >= arena.nbytes:
        return CORRUPT
    ref.map = cython.cast(cython.pointer(uint64_t), arena.base + map)
    ref.summary = cython.cast(cython.pointer(uint64_t), arena.base + summary)
    ref.device = read_once(cython.address(chunk.device), b"chunks.load")
    ref.has_device = read_once(cython.address(chunk.has_device), b"chunks.load")
    ref.cookie = read_once(cython.address(chunk.cookie), b"chunks.load")
    ref.offset = offset
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pool_update(pool: cython.pointer(PoolRef)) -> cython.int:
    """Takes up chunks that were published since: OK if there were any, NOT_FOUND if not, BUSY if another thread is at it,
    CORRUPT, or TABLE_FULL."""
    fresh: uint64_t[MAX_CHUNKS]
    ref: ChunkRef
    nr: uint64_t = 0
    offset: uint64_t
    newest: uint64_t
    known: uint64_t
    status: cython.int = OK
    if pool.gone:
        return NOT_FOUND
    # [A:chunks.head] acquire; pairs with [R:chunks.publish]: see there. The older chunks were published before the head,
    # and each publisher saw the older head: the release sequence of swaps carries their fields along.
    offset = load_acquire(cython.address(pool.entry.head), b"A:chunks.head")
    # [A:chunks.updating] acquire; pairs with [R:chunks.updating]: one thread appends at a time, and sees the last one's.
    if cmpxchg_acquire(cython.address(pool.updating), 0, 1, b"A:chunks.updating") != 0:
        return BUSY
    known = read_once(cython.address(pool.nr_chunks), b"chunks.update")  # relaxed: written only under `updating`
    newest = 0
    if known:
        copy(cython.address(newest), cython.address(pool.chunks[known - 1].offset), 8, b"chunks.update")
    while offset != newest and offset != 0:
        if nr + known == MAX_CHUNKS:
            status = CORRUPT  # a pool never publishes more: the list has a loop, or is not ours
            break
        fresh[nr] = offset
        nr += 1
        if not inside_chunk(pool.arena, offset):
            status = CORRUPT
            break
        offset = read_once(
            cython.address(cython.cast(cython.pointer(Chunk), pool.arena.base + offset).next), b"chunks.update"
        )
    if status == OK and nr == 0:
        status = NOT_FOUND
    while status == OK and nr > 0:
        nr -= 1
        status = chunk_load(pool, fresh[nr], cython.address(ref))
        if status == OK:
            copy(cython.address(pool.chunks[known]), cython.address(ref), cython.sizeof(ChunkRef), b"chunks.update")
            known += 1
            # [R:chunks.known] release; pairs with [A:chunks.known], [A:genpool.known] and [A:genbulk.known]: the other
            # threads of this process see a chunk's copy whole.
            store_release(cython.address(pool.nr_chunks), known, b"R:chunks.known")
    # [R:chunks.updating] release; pairs with [A:chunks.updating].
    store_release(cython.address(pool.updating), 0, b"R:chunks.updating")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pool_known(pool: cython.pointer(PoolRef)) -> uint64_t:
    """How many chunks there are to look at; another thread of this process may be adding one."""
    # [A:chunks.known] acquire; pairs with [R:chunks.known]: a chunk that is counted has been copied whole.
    return load_acquire(cython.address(pool.nr_chunks), b"A:chunks.known")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def inside_chunk(arena: cython.pointer(ArenaRef), offset: uint64_t) -> cython.bint:
    """Can a chunk's header lie at `offset`?"""
    return inside(arena, offset, cython.sizeof(Chunk))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pool_load(arena: cython.pointer(ArenaRef), index: uint32_t, pool: cython.pointer(PoolRef)) -> cython.int:
    """Validates directory entry `index` and fills a PoolRef with its constants and chunks: OK, NOT_FOUND, CORRUPT."""
    entry: cython.pointer(PoolEntry) = cython.address(arena.pools[index])
    shares: uint64_t
    root: uint64_t
    shift: uint64_t
    # [A:chunks.entry] acquire; pairs with [R:directory.live]: a LIVE entry's fields are whole.
    if index >= NR_POOLS or load_acquire(cython.address(entry.state), b"A:chunks.entry") & 0xFF != STATE_LIVE:
        return NOT_FOUND
    pool.arena = arena
    pool.entry = entry
    pool.index = index
    pool.kind = cython.cast(uint32_t, read_once(cython.address(entry.kind), b"chunks.pool"))
    shift = read_once(cython.address(entry.shift), b"chunks.pool")
    pool.foreign = read_once(cython.address(entry.foreign), b"chunks.pool") != 0
    pool.limit = read_once(cython.address(entry.limit), b"chunks.pool")
    root = read_once(cython.address(entry.root), b"chunks.pool")
    pool.root_nbytes = read_once(cython.address(entry.root_nbytes), b"chunks.pool")
    shares = read_once(cython.address(entry.shares), b"chunks.pool")
    pool.nr_shares = read_once(cython.address(entry.nr_shares), b"chunks.pool")
    pool.serial = read_once(cython.address(entry.serial), b"chunks.pool")
    pool.gone = 0
    pool.nr_objects = 0
    pool.nr_chunks = 0
    pool.updating = 0
    if shift > 62 or (shift < 2 and not pool.foreign):
        return CORRUPT
    pool.shift = cython.cast(uint32_t, shift)
    if pool.root_nbytes and not inside(arena, root, pool.root_nbytes):
        return CORRUPT
    if pool.nr_shares > arena.nbytes or (
        pool.nr_shares and not inside(arena, shares, pool.nr_shares * cython.sizeof(ShareRecord))
    ):
        return CORRUPT
    pool.root = arena.base + root if pool.root_nbytes else cython.NULL
    pool.shares = cython.cast(cython.pointer(ShareRecord), arena.base + shares)
    return CORRUPT if pool_update(pool) == CORRUPT else OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pool_forget(pool: cython.pointer(PoolRef)) -> cython.void:
    """The pool is no more: nothing is found in it, no call through this reference touches what were its pages. The caller
    knows that no other thread is inside."""
    pool.gone = 1
    pool.nr_chunks = 0
    pool.nr_shares = 0
    pool.limit = 1  # does not grow
    pool.root = cython.NULL
    pool.root_nbytes = 0
