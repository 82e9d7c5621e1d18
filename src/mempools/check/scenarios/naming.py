"""Scenarios of the directory: pools that are opened, made and destroyed at once, by processes that may die at it.

The arena is empty but for its header. A pool is one chunk of one page; a name is one letter.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.naming is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_cpu, engine_fail
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
    set_stage,
    stage_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.chunks import pool_known, pool_load
from cython.cimports.mempools.layout.directory import (
    PoolConfig,
    directory_add_foreign,
    directory_drop,
    directory_open,
)
from cython.cimports.mempools.layout.growth import ForeignChunk
from cython.cimports.mempools.layout.structs import KIND_GENPOOL, NAME_BYTES, NR_POOLS, STATE_FREE
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import BUSY, MISMATCH, NOT_FOUND, OK, TIMED_OUT

register_module(cython.address(this_module_step))

_LIMIT = cython.declare(uint64_t, 512)


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def open_name(actor: cython.pointer(Actor), letter: uint8_t, shares: uint64_t) -> cython.int:
    """OK with the pool's number in found[0]."""
    name: uint8_t[NAME_BYTES]
    config: PoolConfig
    index: uint32_t = 0
    status: cython.int = TIMED_OUT
    memset(name, 0, NAME_BYTES)
    name[0] = letter
    config.kind = KIND_GENPOOL
    config.shift = 9
    config.limit = _LIMIT
    config.foreign = 0
    config.root_nbytes = 0
    config.nr_shares = shares
    while status == TIMED_OUT:  # the lock's holder was slow, or dead: others recover
        status = directory_open(cython.address(actor.arena), name, cython.address(config), True, cython.address(index))
    actor.found[0] = index
    actor.status = status
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def open_same(arg: cython.p_void) -> cython.void:
    if open_name(me(stage_of(arg)), 112, 0) != OK:
        engine_fail(b"a pool cannot be opened or made")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def open_own(arg: cython.p_void) -> cython.void:
    """Each CPU another name."""
    if open_name(me(stage_of(arg)), 97 + engine_cpu(), 0) != OK:
        engine_fail(b"a pool cannot be opened or made")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_with_record(arg: cython.p_void) -> cython.void:
    """A pool with a share record, so two runs of pages."""
    if open_name(me(stage_of(arg)), 112, 1) != OK:
        engine_fail(b"a pool cannot be opened or made")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_first(arg: cython.p_void) -> cython.void:
    """Without the lock, as a check does."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = pool_load(cython.address(actor.arena), 1, cython.address(actor.pool))
    if actor.status == OK:
        if pool_known(cython.address(actor.pool)) != 1 or actor.pool.shift != 9:
            engine_fail(b"a pool is live before it is whole")
    elif actor.status != NOT_FOUND:
        engine_fail(b"a pool is live before it is whole")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drop_first(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = TIMED_OUT
    while actor.status == TIMED_OUT:
        actor.status = directory_drop(cython.address(actor.arena), 1, False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_foreign(arg: cython.p_void) -> cython.void:
    """16 granules of 4096 bytes somewhere else, from a place on that depends on the CPU."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    chunk: ForeignChunk
    chunk.base = 0x100000 + 0x8000 * cython.cast(uint64_t, engine_cpu())
    chunk.nr = 16
    chunk.device = 0
    chunk.has_device = 0
    chunk.cookie = engine_cpu()
    actor.status = TIMED_OUT
    while actor.status == TIMED_OUT:
        actor.status = directory_add_foreign(cython.address(actor.pool), cython.address(chunk))
    if actor.status != OK and actor.status != MISMATCH:
        engine_fail(b"a chunk of foreign memory cannot be added")


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nr_pools(stage: cython.pointer(Stage)) -> uint64_t:
    """Entries that are not free."""
    i: uint32_t
    nr: uint64_t = 0
    for i in range(1, NR_POOLS):
        nr += read_once(cython.address(stage.actors[0].arena.pools[i].state), b"naming.count") & 0xFF != STATE_FREE
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def directory_wrong(stage: cython.pointer(Stage), nr: uint64_t) -> cython.p_const_char:
    """There are `nr` pools; pages are theirs or free, nobody's own."""
    slot: uint32_t
    if nr_pools(stage) != nr:
        return b"a pool is missing, or there is one too many"
    for slot in range(1, 4):
        if nr_owned(cython.address(stage.actors[0].pages), slot):
            return b"a page is still a process's"
    return arena_wrong(stage, cython.address(stage.actors[0]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_same(arg: cython.p_void) -> cython.p_const_char:
    """One pool, which both have."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].found[0] != stage.actors[1].found[0]:
        return b"two processes that opened one name have two pools"
    return directory_wrong(stage, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_own(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].found[0] == stage.actors[1].found[0]:
        return b"two names are one pool"
    return directory_wrong(stage, 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one(arg: cython.p_void) -> cython.p_const_char:
    return directory_wrong(stage_of(arg), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_dropped(arg: cython.p_void) -> cython.p_const_char:
    """Process 1 destroyed the pool before process 2 opened it and so made another, or found it open."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status != OK and stage.actors[0].status != BUSY:
        return b"a pool cannot be destroyed, and nobody has it open"
    return directory_wrong(stage, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_dropped_once(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"of two threads that destroy a pool, not exactly one succeeded"
    return directory_wrong(stage, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_any(arg: cython.p_void) -> cython.p_const_char:
    """After a death: the pool is there whole, or not at all."""
    return directory_wrong(stage_of(arg), nr_pools(stage_of(arg)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_foreign(arg: cython.p_void) -> cython.p_const_char:
    """Of two chunks that overlap, one is in the pool."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"of two chunks that overlap, not exactly one was added"
    if nr_owned(cython.address(stage.actors[0].pages), OWNER_STRUCT) != 1:
        return b"a chunk that was refused keeps its pages"
    return directory_wrong(stage, 1)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_pages(e: cython.pointer(Engine), memory: cython.p_char, nr_pages: uint64_t) -> cython.pointer(Stage):
    stage: cython.pointer(Stage) = set_stage(e, memory)
    return stage if set_arena(stage, 8 + nr_pages, 3) == 0 else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_open_pool(e: cython.pointer(Engine), memory: cython.p_char, nr_pages: uint64_t) -> cython.pointer(Stage):
    """Process 1 has made a pool, which has number 1."""
    stage: cython.pointer(Stage) = set_pages(e, memory, nr_pages)
    if stage == cython.NULL or open_name(cython.address(stage.actors[0]), 112, 0) != OK:
        return cython.NULL
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_same(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 2) == cython.NULL:
        return -1
    return play(e, final_same, open_same, open_same, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_own(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 2) == cython.NULL:
        return -1
    return play(e, final_own, open_own, open_own, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_load(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 2) == cython.NULL:
        return -1
    return play(e, final_one, make_with_record, load_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_drop_open(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_open_pool(e, memory, 1) == cython.NULL:
        return -1
    return play(e, final_dropped, drop_first, open_same, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_drop_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_open_pool(e, memory, 1)
    if stage == cython.NULL:
        return -1
    stage.actors[1].slot[0] = 1  # a thread of process 1
    return play(e, final_dropped_once, drop_first, drop_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_make_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 2) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_any, make_with_record, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_open_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_one, open_same, recover_the_first, open_same)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_drop_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_open_pool(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_any, drop_first, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_foreign(e: cython.pointer(Engine), memory: cython.p_char, nr_pages: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, nr_pages)
    config: PoolConfig
    name: uint8_t[NAME_BYTES]
    index: uint32_t = 0
    i: uint32_t
    if stage == cython.NULL:
        return -1
    memset(name, 0, NAME_BYTES)
    memset(cython.address(config), 0, cython.sizeof(PoolConfig))
    name[0] = 102
    config.kind = KIND_GENPOOL
    config.shift = 12
    config.foreign = 1
    for i in range(3):
        if (
            directory_open(
                cython.address(stage.actors[i].arena), name, cython.address(config), True, cython.address(index)
            )
            != OK
            or pool_load(cython.address(stage.actors[i].arena), index, cython.address(stage.actors[i].pool)) != OK
        ):
            return -1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_foreign(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_foreign(e, memory, 2) != 0:
        return -1
    return play(e, final_foreign, add_foreign, add_foreign, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_foreign_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_foreign(e, memory, 1) != 0:
        return -1
    e.may_die = 1
    return play(e, final_one, add_foreign, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_make_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 2) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_any, make_with_record, recover_the_first, recover_both)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_drop_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_open_pool(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_any, drop_first, recover_the_first, recover_both)


register_scene(
    b"directory.same",
    b"two processes open one name at once: one of them makes the pool, both have it",
    b"",
    2,
    STAGE_BYTES,
    scene_same,
)
register_scene(
    b"directory.own",
    b"two processes make a pool each: two entries, and no page is in both",
    b"",
    2,
    STAGE_BYTES,
    scene_own,
)
register_scene(
    b"directory.load",
    b"a pool is looked at without the lock while it is made: whole, or not there",
    b"",
    2,
    STAGE_BYTES,
    scene_load,
)
register_scene(
    b"directory.drop-open",
    b"a process destroys a pool while another opens it: the first finds it open, or the second makes another",
    b"",
    2,
    STAGE_BYTES,
    scene_drop_open,
)
register_scene(
    b"directory.drop-twice",
    b"two threads destroy one pool: one of them does, and its pages are freed once",
    b"",
    2,
    STAGE_BYTES,
    scene_drop_twice,
)
register_scene(
    b"directory.make-dies",
    b"a process that makes a pool with two runs of pages is killed anywhere: the pool is there whole, or its pages are free",
    b"I28",
    2,
    STAGE_BYTES,
    scene_make_dies,
)
register_scene(
    b"directory.open-dies",
    b"as make-dies, and another process opens the same name meanwhile: in the end it has a pool",
    b"I28",
    3,
    STAGE_BYTES,
    scene_open_dies,
)
register_scene(
    b"directory.drop-dies",
    b"a process that destroys a pool is killed anywhere: the pool is there whole, or gone with its pages free",
    b"I28",
    2,
    STAGE_BYTES,
    scene_drop_dies,
)
register_scene(
    b"directory.foreign",
    b"two processes add chunks of foreign memory that overlap: one of them does",
    b"",
    2,
    STAGE_BYTES,
    scene_foreign,
)
register_scene(
    b"directory.foreign-dies",
    b"a process that adds a chunk of foreign memory is killed anywhere: its page is the pool's, or free",
    b"I28",
    2,
    STAGE_BYTES,
    scene_foreign_dies,
)
register_scene(
    b"directory.make-dies-twice",
    b"a process that makes a pool is killed anywhere, and so is its recovery; a third process sweeps both",
    b"I28",
    3,
    STAGE_BYTES,
    scene_make_dies_twice,
)
register_scene(
    b"directory.drop-dies-twice",
    b"a process that destroys a pool is killed anywhere, and so is its recovery; a third process sweeps both",
    b"I28",
    3,
    STAGE_BYTES,
    scene_drop_dies_twice,
)
