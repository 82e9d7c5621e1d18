"""Scenarios of chunks: published while others look, taken up by the threads of a process, added by processes that die.

The pool is made empty, with room for one or two chunks of a page each in the arena, whose free pages are full of rubbish.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.growing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    recover,
    recover_both,
    recover_the_first,
    set_arena,
    set_pool,
    set_stage,
    set_taken,
    stage_of,
    use_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.chunks import pool_known, pool_update
from cython.cimports.mempools.layout.growth import chunk_add, pool_grow
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import KIND_GENPOOL, MAX_CHUNKS, Chunk
from cython.cimports.mempools.machine.atomics import copy, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_META
from cython.cimports.mempools.parts.status import BUSY, EXHAUSTED, NOT_FOUND, OK, TABLE_FULL
from cython.cimports.mempools.pools.genbulk import genpool_alloc_bulk
from cython.cimports.mempools.pools.genpool import genpool_alloc, genpool_chunk, genpool_free

register_module(cython.address(this_module_step))

_GRANULE = cython.declare(uint64_t, 512)
_HEADER_PAGES = cython.declare(uint64_t, 8)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_empty_pool(e: cython.pointer(Engine), memory: cython.p_char, nr_pages: uint64_t) -> cython.pointer(Stage):
    """A pool without a chunk, and room for nr_pages chunks of a page each: no two free pages are neighbours."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    index: uint32_t = 0
    i: uint64_t
    if set_arena(stage, _HEADER_PAGES + 2 * nr_pages - 1, 3) != 0:
        return cython.NULL
    for i in range(1, nr_pages):
        if set_taken(cython.address(stage.actors[0].pages.chunks[0]), _HEADER_PAGES + 2 * i - 1, 1, OWNER_META) != 0:
            return cython.NULL
    if set_pool(stage, KIND_GENPOOL, 9, 0, 0, 0, cython.address(index)) != 0:
        return cython.NULL
    return stage


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grow(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = pool_grow(cython.address(actor.pool), 1)
    if actor.status != OK and actor.status != TABLE_FULL:
        engine_fail(b"a pool does not grow, though there is room")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def update_and_take(arg: cython.p_void) -> cython.void:
    """Another process, which may see the new chunk."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    address: uint64_t = 0
    status: cython.int = pool_update(cython.address(actor.pool))
    if status == NOT_FOUND:
        return
    if status != OK:
        engine_fail(b"a published chunk is not whole")
    if (
        genpool_alloc(cython.address(actor.pool), cython.address(actor.hint), _GRANULE, cython.address(address)) != OK
        or address < actor.pool.chunks[0].base
    ):
        engine_fail(b"a published chunk has no room")
    use_block(actor.arena.base + address, 2)
    if genpool_free(cython.address(actor.pool), address, _GRANULE) != OK:
        engine_fail(b"an owner cannot free its block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_and_free(arg: cython.p_void) -> cython.void:
    """Whoever finds the pool full asks for a chunk; who finds the arena full too looks for the other's."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    address: uint64_t = 0
    actor.status = genpool_alloc(
        cython.address(actor.pool), cython.address(actor.hint), _GRANULE, cython.address(address)
    )
    if actor.status == OK:
        use_block(actor.arena.base + address, actor.slot[0])
        if genpool_free(cython.address(actor.pool), address, _GRANULE) != OK:
            engine_fail(b"an owner cannot free its block")
    elif actor.status != EXHAUSTED:
        engine_fail(b"an allocation ends with an unexpected status")


# ---- threads of one process: they share process 1's reference


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_at(pool: cython.pointer(PoolRef), chunk: cython.pointer(ChunkRef)) -> cython.void:
    """A chunk that is counted has been copied whole: the plain reads of those who use it, declared."""
    seen: ChunkRef
    copy(cython.address(seen), chunk, cython.sizeof(ChunkRef), b"growing.look_at")
    if seen.nr == 0 or seen.base == 0:
        engine_fail(b"a chunk is counted before it has been copied")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def thread_finds(arg: cython.p_void) -> cython.void:
    pool: cython.pointer(PoolRef) = cython.address(stage_of(arg).actors[0].pool)
    chunk: cython.pointer(ChunkRef) = genpool_chunk(pool, stage_of(arg).param, 1)
    if chunk != cython.NULL:  # another thread may be at it
        look_at(pool, chunk)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def thread_updates(arg: cython.p_void) -> cython.void:
    pool: cython.pointer(PoolRef) = cython.address(stage_of(arg).actors[0].pool)
    status: cython.int = pool_update(pool)
    if status != OK and status != NOT_FOUND and status != BUSY:
        engine_fail(b"a published chunk is not whole")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def thread_counts(arg: cython.p_void) -> cython.void:
    pool: cython.pointer(PoolRef) = cython.address(stage_of(arg).actors[0].pool)
    known: uint64_t = pool_known(pool)
    if known:
        look_at(pool, cython.address(pool.chunks[known - 1]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def thread_bulk(arg: cython.p_void) -> cython.void:
    """Takes a block from the chunk that it knows, if it knows one."""
    stage: cython.pointer(Stage) = stage_of(arg)
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[0].pool)
    address: uint64_t = 0
    nr: uint64_t = 1
    if (
        genpool_alloc_bulk(pool, cython.address(me(stage).hint), _GRANULE, cython.address(address), cython.address(nr))
        == OK
    ):
        look_at(pool, cython.address(pool.chunks[0]))
        if genpool_free(pool, address, _GRANULE) != OK:
            engine_fail(b"an owner cannot free its block")


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def chunk_list_wrong(actor: cython.pointer(Actor)) -> cython.p_const_char:
    """Each chunk says how many are older."""
    offset: uint64_t = read_once(cython.address(actor.pool.entry.head), b"growing.list")
    chunk: cython.pointer(Chunk)
    depth: uint64_t = MAX_CHUNKS
    while offset:
        chunk = cython.cast(cython.pointer(Chunk), actor.arena.base + offset)
        if depth != MAX_CHUNKS and read_once(cython.address(chunk.depth), b"growing.list") != depth - 1:
            return b"a chunk does not say how many are older"
        depth = read_once(cython.address(chunk.depth), b"growing.list")
        offset = read_once(cython.address(chunk.next), b"growing.list")
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_sound(arg: cython.p_void) -> cython.p_const_char:
    """All blocks and pages are where they belong, and no page is a process's."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    slot: uint32_t
    wrong: cython.p_const_char
    for slot in range(1, 4):
        if nr_owned(cython.address(actor.pages), slot):
            return b"a page is still a process's"
        if nr_owned(cython.address(actor.pool), slot):
            return b"a block is still a process's"
    wrong = chunk_list_wrong(actor)
    return wrong if wrong != cython.NULL else arena_wrong(stage, actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_both(arg: cython.p_void) -> cython.p_const_char:
    """Both added a chunk."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if nr_owned(cython.address(stage.actors[0].pages), 0):
        return b"a page is free that a chunk has"
    return final_sound(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one(arg: cython.p_void) -> cython.p_const_char:
    """There was place for one more chunk."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"not exactly one of two got the last place in the list of chunks"
    if nr_owned(cython.address(stage.actors[0].pages), 0) != 1:
        return b"who found no place in the list of chunks did not give back its page"
    return final_sound(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_any(arg: cython.p_void) -> cython.p_const_char:
    """Who found the pool and the arena full did so for another's sake."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status != OK and stage.actors[1].status != OK:
        return b"both allocations failed, though there was room for one"
    return final_sound(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_known(arg: cython.p_void) -> cython.p_const_char:
    """What the process knows of its chunks: each once."""
    stage: cython.pointer(Stage) = stage_of(arg)
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[0].pool)
    if pool_known(pool) > 2 or (pool_known(pool) == 2 and pool.chunks[0].offset == pool.chunks[1].offset):
        return b"a process counts a chunk twice"
    return final_sound(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_seen(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_empty_pool(e, memory, 1) == cython.NULL:
        return -1
    return play(e, final_sound, grow, update_and_take, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_both(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_empty_pool(e, memory, 2) == cython.NULL:
        return -1
    return play(e, final_both, grow, grow, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_last_place(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_empty_pool(e, memory, 3)
    chunk: cython.pointer(Chunk)
    if stage == cython.NULL or pool_grow(cython.address(stage.actors[2].pool), 1) != OK:
        return -1
    chunk = cython.cast(
        cython.pointer(Chunk),
        memory + read_once(cython.address(stage.actors[2].pool.entry.head), b"growing.set"),
    )
    write_once(cython.address(chunk.depth), MAX_CHUNKS - 2, b"growing.set")
    return play(e, final_one, grow, grow, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_last_page(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_empty_pool(e, memory, 1) == cython.NULL:
        return -1
    return play(e, final_any, alloc_and_free, alloc_and_free, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_empty_pool(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_sound, grow, recover_the_first, update_and_take)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def idle(arg: cython.p_void) -> cython.void:
    """Of the dead."""


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_who_was_dead(arg: cython.p_void) -> cython.void:
    recover(me(stage_of(arg)), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dead_beside(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """Process 1 has published a chunk, and not handed over its pages."""
    stage: cython.pointer(Stage) = set_empty_pool(e, memory, 2)
    actor: cython.pointer(Actor)
    offset: uint64_t = 0
    if stage == cython.NULL:
        return -1
    actor = cython.address(stage.actors[0])
    if chunk_add(cython.address(actor.arena), actor.pool.entry, 9, 1, 1, cython.address(offset)) != OK:
        return -1
    return play(e, final_sound, idle, recover_who_was_dead, grow)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_threads(e: cython.pointer(Engine), memory: cython.p_char, nr: uint64_t) -> cython.int:
    """Process 1 does not know yet the chunks that process 3 has added."""
    stage: cython.pointer(Stage) = set_empty_pool(e, memory, nr)
    i: uint64_t
    if stage == cython.NULL:
        return -1
    for i in range(nr):
        if pool_grow(cython.address(stage.actors[2].pool), 1) != OK:
            return -1
    if pool_update(cython.address(stage.actors[2].pool)) != OK:
        return -1
    stage.param = stage.actors[2].pool.chunks[nr - 1].base
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_threads(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_threads(e, memory, 2) != 0:
        return -1
    return play(e, final_known, thread_finds, thread_updates, thread_counts)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_threads_bulk(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_threads(e, memory, 1) != 0:
        return -1
    return play(e, final_known, thread_updates, thread_bulk, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_empty_pool(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_sound, grow, recover_the_first, recover_both)


register_scene(
    b"chunks.seen",
    b"a chunk is added in pages full of rubbish; another process sees it whole or not at all, and allocates in it",
    b"I17",
    2,
    STAGE_BYTES,
    scene_seen,
)
register_scene(
    b"chunks.both",
    b"two processes add a chunk at once: both are in the list, each says how many are older",
    b"I17",
    2,
    STAGE_BYTES,
    scene_both,
)
register_scene(
    b"chunks.last-place",
    b"two processes add a chunk and the list has one place left: who does not get it gives its pages back",
    b"I17",
    2,
    STAGE_BYTES,
    scene_last_place,
)
register_scene(
    b"chunks.threads",
    b"threads of one process take up chunks that another added: each is copied once, and whole before it is counted",
    b"I17",
    3,
    STAGE_BYTES,
    scene_threads,
)
register_scene(
    b"chunks.threads-bulk",
    b"a thread takes up a chunk while another allocates many blocks: from a chunk that has been copied whole, or none",
    b"I17",
    2,
    STAGE_BYTES,
    scene_threads_bulk,
)
register_scene(
    b"growth.last-page",
    b"two processes find the pool empty and the arena has one page: one gets it, the other takes from its chunk or fails",
    b"I17",
    2,
    STAGE_BYTES,
    scene_last_page,
)
register_scene(
    b"growth.dies",
    b"a process that adds a chunk is killed anywhere: its pages are free again, or the pool's",
    b"I17 I28",
    3,
    STAGE_BYTES,
    scene_dies,
)
register_scene(
    b"growth.dead-beside",
    b"a process has died that had added a chunk, and is recovered while another adds one: no pages are lost",
    b"I17 I28",
    3,
    STAGE_BYTES,
    scene_dead_beside,
)
register_scene(
    b"growth.dies-twice",
    b"a process that adds a chunk is killed anywhere, and so is its recovery; a third process sweeps both",
    b"I28",
    3,
    STAGE_BYTES,
    scene_dies_twice,
)
