"""L2: how a pool takes pages from the arena and gives them back.

A run of pages is claimed in the taker's own name, made into a chunk, published, and only then handed to the pool
(owner STRUCT). The publication is the commit point:

  [D:growth.claimed]    the pages are the dead process's, no pool names them: the sweep of the page map releases them.
  [D:growth.published]  a pool names pages that still carry the dead process's byte: recovery hands them to the pool
                        (runs_transfer) before it sweeps the page map.

Lock-free: growth happens inside an allocation that may not wait. Two processes that find a pool full at once may both add
a chunk; that costs room, never correctness.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.layout.growth is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.backing import pages_taken
from cython.cimports.mempools.layout.chunks import (
    chunk_format,
    chunk_overhead,
    chunk_publish,
    inside_chunk,
    pool_known,
)
from cython.cimports.mempools.layout.offline import chunk_nr, chunk_online
from cython.cimports.mempools.layout.pages import pages_alloc, pages_free, pages_transfer
from cython.cimports.mempools.layout.refs import ArenaRef, PoolRef
from cython.cimports.mempools.layout.structs import (
    KIND_PAGES,
    PAGE_BYTES,
    PAGE_SHIFT,
    Chunk,
    PoolEntry,
    ShareRecord,
)
from cython.cimports.mempools.machine.atomics import load_acquire, read_once, this_module_step, window, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import EXHAUSTED, NOT_REGISTERED, OK

register_module(cython.address(this_module_step))

_FIRST_CHUNK = cython.declare(uint64_t, 64 * 1024)  # bytes; later chunks double the pool


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run_claim(
    arena: cython.pointer(ArenaRef),
    nbytes: uint64_t,
    nr_touched: uint64_t,
    owner: uint32_t,
    offset: cython.pointer(uint64_t),
    run_nbytes: cython.pointer(uint64_t),
) -> cython.int:
    """Pages for `nbytes`, owned by `owner`, of which the first `nr_touched` bytes can be touched."""
    page: uint64_t = 0
    nr: uint64_t = ((nbytes - 1) >> PAGE_SHIFT) + 1
    status: cython.int
    if nbytes == 0 or nbytes > arena.nbytes:
        return EXHAUSTED
    status = pages_alloc(arena, nr, owner, cython.address(page))
    offset[0] = page << PAGE_SHIFT
    run_nbytes[0] = nr << PAGE_SHIFT
    if status == OK:
        nr_touched = ((nr_touched - 1) >> PAGE_SHIFT) + 1 << PAGE_SHIFT
        status = pages_taken(arena, offset[0], nr_touched)
        if status != OK:
            pages_free(arena, page, nr, owner)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run_alloc(
    arena: cython.pointer(ArenaRef),
    nbytes: uint64_t,
    owner: uint32_t,
    offset: cython.pointer(uint64_t),
    run_nbytes: cython.pointer(uint64_t),
) -> cython.int:
    """Pages for `nbytes`, owned by `owner`."""
    return run_claim(arena, nbytes, nbytes, owner, offset, run_nbytes)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def publish_or_free(
    arena: cython.pointer(ArenaRef),
    entry: cython.pointer(PoolEntry),
    offset: uint64_t,
    run_nbytes: uint64_t,
    owner: uint32_t,
) -> cython.int:
    """Publishes the chunk in a run of `owner`'s; a pool that has no place for it leaves the run free."""
    status: cython.int = chunk_publish(arena, entry, offset)
    if status != OK:
        pages_free(arena, offset >> PAGE_SHIFT, run_nbytes >> PAGE_SHIFT, owner)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_add(
    arena: cython.pointer(ArenaRef),
    entry: cython.pointer(PoolEntry),
    shift: uint64_t,
    nr: uint64_t,
    owner: uint32_t,
    offset: cython.pointer(uint64_t),
) -> cython.int:
    """Publishes a new chunk of nr granules inside the arena; its pages are `owner`'s until they are handed on."""
    align: uint64_t = (cython.cast(uint64_t, 1) << shift) if shift < PAGE_SHIFT else PAGE_BYTES
    before: uint64_t
    run_nbytes: uint64_t = 0
    status: cython.int
    if nr == 0 or nr > arena.nbytes >> shift:
        return EXHAUSTED
    before = (chunk_overhead(nr) + align - 1) & ~(align - 1)
    status = run_alloc(arena, before + (nr << shift), owner, offset, cython.address(run_nbytes))
    if status != OK:
        return status
    window(b"D:growth.claimed")
    # The last page's rest becomes granules too.
    nr = (run_nbytes - before) >> shift
    while chunk_overhead(nr) > before:
        nr -= 1
    chunk_format(arena, offset[0], nr, offset[0] + before, run_nbytes)
    return publish_or_free(arena, entry, offset[0], run_nbytes, owner)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def foreign_add(
    arena: cython.pointer(ArenaRef),
    entry: cython.pointer(PoolEntry),
    foreign: cython.pointer(ForeignChunk),
    owner: uint32_t,
    offset: cython.pointer(uint64_t),
) -> cython.int:
    """Publishes a chunk over addresses outside the arena; only its metadata takes pages."""
    run_nbytes: uint64_t = 0
    chunk: cython.pointer(Chunk)
    status: cython.int
    if foreign.nr == 0 or foreign.nr > arena.nbytes:  # the map alone would not fit
        return EXHAUSTED
    status = run_alloc(arena, chunk_overhead(foreign.nr), owner, offset, cython.address(run_nbytes))
    if status != OK:
        return status
    window(b"D:growth.claimed")
    chunk_format(arena, offset[0], foreign.nr, foreign.base, run_nbytes)
    chunk = cython.cast(cython.pointer(Chunk), arena.base + offset[0])
    write_once(cython.address(chunk.device), foreign.device, b"growth.foreign")
    write_once(cython.address(chunk.has_device), foreign.has_device, b"growth.foreign")
    write_once(cython.address(chunk.cookie), foreign.cookie, b"growth.foreign")
    return publish_or_free(arena, entry, offset[0], run_nbytes, owner)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pool_grow(pool: cython.pointer(PoolRef), nr: uint64_t) -> cython.int:
    """Takes a chunk of at least nr granules from the arena that was given back to it, or adds one that holds as many, or as many
    as the pool has already where the arena has room."""
    arena: cython.pointer(ArenaRef) = pool.arena
    owner: uint32_t = cython.cast(uint32_t, arena.slot[0])
    chunk: cython.pointer(Chunk)
    offset: uint64_t = 0
    total: uint64_t = 0
    want: uint64_t
    i: uint64_t
    status: cython.int
    if owner == 0:
        return NOT_REGISTERED
    if pool.kind == KIND_PAGES or pool.limit or pool.foreign:
        return EXHAUSTED
    for i in range(pool_known(pool)):
        if pool.chunks[i].nr >= nr and chunk_online(pool, i) == OK:
            return OK
        total += chunk_nr(pool, i)
    want = total if total > _FIRST_CHUNK >> pool.shift else _FIRST_CHUNK >> pool.shift
    if want < nr:
        want = nr
    while True:
        status = chunk_add(arena, pool.entry, pool.shift, want, owner, cython.address(offset))
        if status == OK:
            break
        if want == nr:
            return status
        want = want >> 1 if want >> 1 > nr else nr
    window(b"D:growth.published")
    chunk = cython.cast(cython.pointer(Chunk), arena.base + offset)
    # This run alone, not all that are the owner's: pages of other chunks may be on their way (offline.py).
    pages_transfer(
        arena,
        offset >> PAGE_SHIFT,
        read_once(cython.address(chunk.whole_nbytes), b"growth.published") >> PAGE_SHIFT,
        owner,
        OWNER_STRUCT,
    )
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def note_run(runs: cython.pointer(Run), nr: cython.int, offset: uint64_t, nbytes: uint64_t) -> cython.int:
    if nbytes == 0 or offset & (PAGE_BYTES - 1) != 0:
        return nr
    runs[nr].page = offset >> PAGE_SHIFT
    runs[nr].nr = ((nbytes - 1) >> PAGE_SHIFT) + 1
    return nr + 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def list_runs(
    arena: cython.pointer(ArenaRef), entry: cython.pointer(PoolEntry), runs: cython.pointer(Run)
) -> cython.int:
    """The runs of pages of a pool: its table, its share records, its chunks; at most MAX_RUNS."""
    nr: cython.int = 0
    chunk: cython.pointer(Chunk)
    # [A:growth.head] acquire; pairs with [R:chunks.publish].
    offset: uint64_t = load_acquire(cython.address(entry.head), b"A:growth.head")
    nr = note_run(
        runs,
        nr,
        read_once(cython.address(entry.root), b"growth.runs"),
        read_once(cython.address(entry.root_nbytes), b"growth.runs"),
    )
    nr = note_run(
        runs,
        nr,
        read_once(cython.address(entry.shares), b"growth.runs"),
        read_once(cython.address(entry.nr_shares), b"growth.runs") * cython.sizeof(ShareRecord),
    )
    while offset != 0 and nr < MAX_RUNS and inside_chunk(arena, offset):
        chunk = cython.cast(cython.pointer(Chunk), arena.base + offset)
        nr = note_run(
            runs,
            nr,
            read_once(cython.address(chunk.run), b"growth.runs"),
            read_once(cython.address(chunk.run_nbytes), b"growth.runs"),
        )
        offset = read_once(cython.address(chunk.next), b"growth.runs")
        if read_once(cython.address(chunk.run_nbytes), b"growth.runs") == 0:
            break  # only the arena's header has a chunk without pages of its own
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def runs_transfer(
    arena: cython.pointer(ArenaRef), entry: cython.pointer(PoolEntry), from_owner: uint32_t, to_owner: uint32_t
) -> cython.void:
    """Hands every run of a pool that is from_owner's to to_owner; the others stay. For the commit of a growth, for its
    repair, and for the pool's end; may be done again."""
    runs: Run[MAX_RUNS]
    nr: cython.int = list_runs(arena, entry, runs)
    i: cython.int
    for i in range(nr):
        pages_transfer(arena, runs[i].page, runs[i].nr, from_owner, to_owner)
