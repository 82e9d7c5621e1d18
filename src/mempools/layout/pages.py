"""L2: the arena as a pool of pages: entry 0 of its directory, one chunk over the whole arena.

Its granule is the page, its chunk starts at offset 0, and the arena's own header (superblock, tables, this very map) is
marked META in it. Every other pool takes runs of pages from it and gives them back.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.layout.pages is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import chunk_format, chunk_map, chunk_overhead, chunk_publish
from cython.cimports.mempools.layout.refs import ArenaRef, ChunkRef
from cython.cimports.mempools.layout.structs import (
    KIND_PAGES,
    NR_POOLS,
    PAGE_BYTES,
    PAGE_SHIFT,
    STATE_LIVE,
    Chunk,
    PoolEntry,
)
from cython.cimports.mempools.machine.atomics import this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import claim, release, transfer
from cython.cimports.mempools.parts.owners import OWNER_META
from cython.cimports.mempools.parts.search import NOWHERE, find_run
from cython.cimports.mempools.parts.status import CORRUPT, EXHAUSTED, OK

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_header_nbytes(nbytes: uint64_t) -> uint64_t:
    tables: uint64_t = 3 * PAGE_BYTES + NR_POOLS * cython.sizeof(PoolEntry)
    return (tables + chunk_overhead(nbytes >> PAGE_SHIFT) + PAGE_BYTES - 1) & ~cython.cast(uint64_t, PAGE_BYTES - 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_format(arena: cython.pointer(ArenaRef)) -> cython.int:
    entry: cython.pointer(PoolEntry) = cython.address(arena.pools[0])
    chunk: uint64_t = 3 * PAGE_BYTES + NR_POOLS * cython.sizeof(PoolEntry)
    nr: uint64_t = arena.nbytes >> PAGE_SHIFT
    header: uint64_t = pages_header_nbytes(arena.nbytes)
    map: cython.pointer(uint64_t)
    summary: cython.pointer(uint64_t)
    if header >= arena.nbytes:
        return CORRUPT
    chunk_format(arena, chunk, nr, 0, 0)
    map = cython.cast(cython.pointer(uint64_t), arena.base + chunk_map(chunk, nr))
    summary = cython.cast(cython.pointer(uint64_t), arena.base + chunk + cython.sizeof(Chunk))
    if claim(map, summary, 0, header >> PAGE_SHIFT, OWNER_META) != OK:
        return CORRUPT
    write_once(cython.address(entry.kind), KIND_PAGES, b"pages.format")
    write_once(cython.address(entry.shift), PAGE_SHIFT, b"pages.format")
    chunk_publish(arena, entry, chunk)
    # Relaxed: nobody else has the arena before it has a name.
    write_once(cython.address(entry.state), STATE_LIVE, b"pages.live")
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_transfer(
    arena: cython.pointer(ArenaRef), page: uint64_t, nr: uint64_t, from_owner: uint32_t, to_owner: uint32_t
) -> cython.int:
    chunk: cython.pointer(ChunkRef) = cython.address(arena.pages.chunks[0])
    if page >= chunk.nr or nr > chunk.nr - page:
        return CORRUPT
    return transfer(chunk.map, chunk.nr_words, page, nr, from_owner, to_owner)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_alloc(
    arena: cython.pointer(ArenaRef), nr: uint64_t, owner: uint32_t, page: cython.pointer(uint64_t)
) -> cython.int:
    chunk: cython.pointer(ChunkRef) = cython.address(arena.pages.chunks[0])
    at: uint64_t
    while True:
        at = find_run(chunk.map, chunk.summary, 0, chunk.nr, nr, 1, 0)
        if at == NOWHERE:
            return EXHAUSTED
        if claim(chunk.map, chunk.summary, at, nr, owner) == OK:
            page[0] = at
            return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_free(arena: cython.pointer(ArenaRef), page: uint64_t, nr: uint64_t, owner: uint32_t) -> cython.int:
    chunk: cython.pointer(ChunkRef) = cython.address(arena.pages.chunks[0])
    if page >= chunk.nr or nr > chunk.nr - page:
        return CORRUPT
    return release(chunk.map, chunk.summary, chunk.nr_words, page, nr, owner)
