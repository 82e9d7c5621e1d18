"""Scenarios of chunks whose last granules go offline and come back: beside who allocates from the chunk, beside who takes pages
of the arena, beside each other, and when who does it dies.

The arena has the pool's chunk and no other page: a page with the map, and two granules of a page each.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.offlining is compiled code: run `make build` in a checkout, or install the wheel"
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
    recover_both,
    recover_the_first,
    set_arena,
    set_pool,
    set_stage,
    slot_of,
    stage_of,
    use_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.chunks import pool_update
from cython.cimports.mempools.layout.growth import pool_grow
from cython.cimports.mempools.layout.offline import chunk_nr, chunk_offline, chunk_online, chunk_state
from cython.cimports.mempools.layout.pages import pages_alloc, pages_free
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.layout.structs import CHUNK_OFFLINE, CHUNK_ONLINE, KIND_GENPOOL, PAGE_BYTES, PAGE_SHIFT
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import popcount64
from cython.cimports.mempools.parts.ownermap import claim_singles, release_singles
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.genpool import genpool_chunk, genpool_free, genpool_take

register_module(cython.address(this_module_step))

_HEADER_PAGES = cython.declare(uint64_t, 8)
_NR = cython.declare(uint64_t, 2)  # granules


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_chunk(e: cython.pointer(Engine), memory: cython.p_char, spare: uint64_t) -> cython.pointer(Stage):
    """With `spare` pages of the arena free: a word of the page map that is full is not made otherwise without a full barrier."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    index: uint32_t = 0
    i: uint64_t
    if set_arena(stage, _HEADER_PAGES + 1 + _NR + spare, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_GENPOOL, PAGE_SHIFT, 0, 0, 0, cython.address(index)) != 0:
        return cython.NULL
    if pool_grow(cython.address(stage.actors[2].pool), _NR) != OK:
        return cython.NULL
    stage.param = spare
    for i in range(3):
        if pool_update(cython.address(stage.actors[i].pool)) != OK or stage.actors[i].pool.chunks[0].nr != _NR:
            return cython.NULL
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_away(actor: cython.pointer(Actor), keep: uint64_t) -> cython.void:
    """Takes what is free of the chunk's last granules; all of them go offline, or what was taken is free again."""
    chunk: cython.pointer(ChunkRef) = cython.address(actor.pool.chunks[0])
    state: uint64_t = chunk_state(cython.address(actor.pool), 0)
    online: uint64_t = chunk_nr(cython.address(actor.pool), 0)
    lanes: uint64_t = claim_singles(chunk.map, 0, 8, slot_of(actor))
    others: uint64_t = lanes & ((1 << keep) - 1)
    if others:
        release_singles(chunk.map, chunk.summary, chunk.nr_words, 0, others, slot_of(actor))
        lanes ^= others
    if lanes and popcount64(lanes) == online - keep and chunk_offline(cython.address(actor.pool), 0, state, keep) == OK:
        return
    if lanes:
        release_singles(chunk.map, chunk.summary, chunk.nr_words, 0, lanes, slot_of(actor))


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def go_offline(arg: cython.p_void) -> cython.void:
    put_away(me(stage_of(arg)), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def go_half_offline(arg: cython.p_void) -> cython.void:
    put_away(me(stage_of(arg)), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def go_online(arg: cython.p_void) -> cython.void:
    chunk_online(cython.address(me(stage_of(arg)).pool), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_one(arg: cython.p_void) -> cython.void:
    """A granule of the chunk, if it has one to give."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    address: uint64_t = 0
    if genpool_take(cython.address(actor.pool), PAGE_BYTES, True, cython.address(address)) != OK:
        return
    use_block(actor.arena.base + address, slot_of(actor))
    if genpool_chunk(cython.address(actor.pool), address, PAGE_BYTES) == cython.NULL:
        engine_fail(b"a block lies in a chunk that says it is offline")
    if genpool_free(cython.address(actor.pool), address, PAGE_BYTES) != OK:
        engine_fail(b"an owner cannot free its block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def come_and_alloc(arg: cython.p_void) -> cython.void:
    go_online(arg)
    alloc_one(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_page(arg: cython.p_void) -> cython.void:
    """A page of the arena, for something else."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    page: uint64_t = 0
    if pages_alloc(cython.address(actor.arena), 1, slot_of(actor), cython.address(page)) != OK:
        return
    use_block(actor.arena.base + (page << PAGE_SHIFT), slot_of(actor))
    if pages_free(cython.address(actor.arena), page, 1, slot_of(actor)) != OK:
        engine_fail(b"an owner cannot free its page")


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_sound(arg: cython.p_void) -> cython.p_const_char:
    """All blocks and pages are where they belong: the chunk's pages are its own or free, and its granules say so."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    slot: uint32_t
    state: uint64_t = chunk_state(cython.address(actor.pool), 0)
    here: uint64_t = chunk_nr(cython.address(actor.pool), 0)
    for slot in range(1, 4):
        if nr_owned(cython.address(actor.pages), slot):
            return b"a page is still a process's"
        if nr_owned(cython.address(actor.pool), slot):
            return b"a block is still a process's"
    if state & 0xFF != CHUNK_ONLINE and state & 0xFF != CHUNK_OFFLINE:
        return b"a chunk is still on its way"
    if nr_owned(cython.address(actor.pool), 0) != here:
        return b"granules are lost, or offline ones free"
    if nr_owned(cython.address(actor.pages), 0) != _NR - here + stage.param:
        return b"pages of a chunk are lost, or somebody else's too"
    return arena_wrong(stage, actor)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_offline(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 0) == cython.NULL:
        return -1
    return play(e, final_sound, go_offline, alloc_one, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_taken(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 0) == cython.NULL:
        return -1
    return play(e, final_sound, go_half_offline, alloc_one, take_page)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_away(e: cython.pointer(Engine), memory: cython.p_char, keep: uint64_t) -> cython.int:
    """The chunk's last granules are offline."""
    stage: cython.pointer(Stage) = set_chunk(e, memory, 0)
    if stage == cython.NULL:
        return -1
    put_away(cython.address(stage.actors[2]), keep)
    return 0 if chunk_nr(cython.address(stage.actors[2].pool), 0) == keep else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_online(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_away(e, memory, 0) != 0:
        return -1
    return play(e, final_sound, come_and_alloc, come_and_alloc, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_page_first(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_away(e, memory, 1) != 0:
        return -1
    return play(e, final_sound, go_online, take_page, alloc_one)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_to_and_fro(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_away(e, memory, 1) != 0:
        return -1
    return play(e, final_sound, go_online, go_half_offline, go_online)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_further(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_away(e, memory, 1) != 0:
        return -1
    return play(e, final_sound, go_offline, go_online, alloc_one)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_by_two(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 1) == cython.NULL:
        return -1
    return play(e, final_sound, go_half_offline, go_offline, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies_leaving(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 0) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_sound, go_half_offline, recover_the_first, take_page)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies_coming(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_away(e, memory, 0) != 0:
        return -1
    e.may_die = 1
    return play(e, final_sound, go_online, recover_the_first, alloc_one)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 0) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_sound, go_half_offline, recover_the_first, recover_both)


register_scene(
    b"offline.alloc",
    b"a chunk goes offline while another allocates from it: all of its granules, or nothing",
    b"I17",
    2,
    STAGE_BYTES,
    scene_offline,
)
register_scene(
    b"offline.page",
    b"half of a chunk goes offline while another allocates, and a third takes a page of the arena: no page has two owners",
    b"I17",
    3,
    STAGE_BYTES,
    scene_taken,
)
register_scene(
    b"offline.two",
    b"two processes bring an offline chunk back, and allocate from it: one of them does it, both may have its granules",
    b"I17",
    2,
    STAGE_BYTES,
    scene_online,
)
register_scene(
    b"offline.page-first",
    b"granules come back while another has one of their pages, or takes it: all of them come, or none",
    b"I17",
    3,
    STAGE_BYTES,
    scene_page_first,
)
register_scene(
    b"offline.to-and-fro",
    b"two bring granules back, a third takes them away again: one after the other",
    b"I17",
    3,
    STAGE_BYTES,
    scene_to_and_fro,
)
register_scene(
    b"offline.further",
    b"more granules of a chunk go offline while others come back",
    b"I17",
    3,
    STAGE_BYTES,
    scene_further,
)
register_scene(
    b"offline.by-two",
    b"one takes half of a chunk offline, another all of it: the chunk says in the end how many pages it has",
    b"I17",
    2,
    STAGE_BYTES,
    scene_by_two,
)
register_scene(
    b"offline.dies-leaving",
    b"who takes granules offline is killed anywhere: recovery finishes it",
    b"I17 I28",
    3,
    STAGE_BYTES,
    scene_dies_leaving,
)
register_scene(
    b"offline.dies-coming",
    b"who brings granules back is killed anywhere: they are there, or offline",
    b"I17 I28",
    3,
    STAGE_BYTES,
    scene_dies_coming,
)
register_scene(
    b"offline.dies-twice",
    b"who takes granules offline is killed anywhere, and so is its recovery; a third process finishes both",
    b"I28",
    3,
    STAGE_BYTES,
    scene_dies_twice,
)
