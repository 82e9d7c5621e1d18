"""Scenarios of check(): it runs beside the living and must not call wrong what is only in between.

The pool has one chunk of 7 granules in one word, most of them taken.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.auditing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    STAGE_BYTES,
    Actor,
    Stage,
    me,
    play,
    set_arena,
    set_pool,
    set_stage,
    set_taken,
    stage_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.layout.structs import KIND_GENPOOL
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.search import find_run
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.genpool import genpool_free
from cython.cimports.mempools.pools.mapcheck import map_check


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def check(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    if map_check(cython.address(me(stage).pool), stage.problems, 4):
        engine_fail(b"a check finds a contradiction that is none")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_one(arg: cython.p_void) -> cython.void:
    """Of a word that may be marked full."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if genpool_free(cython.address(actor.pool), actor.address, 512) != OK:
        engine_fail(b"an owner cannot free its block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search(arg: cython.p_void) -> cython.void:
    chunk: cython.pointer(ChunkRef) = cython.address(me(stage_of(arg)).pool.chunks[0])
    find_run(chunk.map, chunk.summary, 0, chunk.nr, 1, 1, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_sound(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if map_check(cython.address(stage.actors[0].pool), stage.problems, 4):
        return b"there is a contradiction in the end"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_beside(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    chunk: cython.pointer(ChunkRef) = cython.address(stage.actors[0].pool.chunks[0])
    index: uint32_t = 0
    if set_arena(stage, 9, 3) != 0 or set_pool(stage, KIND_GENPOOL, 9, 512, 0, 0, cython.address(index)) != 0:
        return -1
    if set_taken(chunk, 0, 6, OWNER_STRUCT) != 0 or set_taken(chunk, 6, 1, 1) != 0:
        return -1
    stage.actors[0].address = chunk.base + 6 * 512
    return play(e, final_sound, free_one, check, search)


register_scene(
    b"mapcheck.beside",
    b"a pool is checked while the last granule of a word is freed and a search marks the word full: nothing is wrong",
    b"",
    3,
    STAGE_BYTES,
    scene_beside,
)
