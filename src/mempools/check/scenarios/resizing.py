"""Scenarios of making a Mempool and of changing its minimum: beside allocations and frees, and two at a time.

The stage and the elements are those of reserving.py.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.resizing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.reserving import (
    SHIFT,
    final_all,
    give_one,
    make,
    set_empty,
    set_reserve,
    take_and_give,
)
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    stage_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import BUSY, MISMATCH, OK, TIMED_OUT
from cython.cimports.mempools.pools.mempoolmake import mempool_room, mempool_set_min
from cython.cimports.mempools.pools.reserve import NR_INLINE, Reserve, reserve_of

register_module(cython.address(this_module_step))

# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def shrink(arg: cython.p_void) -> cython.void:
    """To a minimum of one; what is more is the backend's."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    surplus: uint64_t = 0
    status: cython.int = BUSY
    while status == BUSY:
        status = mempool_set_min(cython.address(actor.pool), cython.NULL, 1, cython.address(surplus), FOREVER)
        actor.found[1] += status == BUSY
    if status != OK:
        engine_fail(b"the minimum cannot be set")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grow(arg: cython.p_void) -> cython.void:
    """To more than the first cells hold, by another number for each."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    surplus: uint64_t = 0
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = mempool_room(cython.address(actor.pool), NR_INLINE + actor.slot[0])
    if status != OK:
        engine_fail(b"there is no room for more cells")
    if (
        mempool_set_min(
            cython.address(actor.pool), cython.NULL, NR_INLINE + actor.slot[0], cython.address(surplus), FOREVER
        )
        != OK
    ):
        engine_fail(b"the minimum cannot be set")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_and_look(arg: cython.p_void) -> cython.void:
    """Makes the pool, or finds it made as it is to be."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    status: cython.int = BUSY
    while status == BUSY:  # somebody else is at it
        status = make(actor, 1, 1)
    if status != OK:
        engine_fail(b"a pool that somebody else has made looks otherwise than it is")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_otherwise(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = make(actor, 1, 0)
    if actor.status != OK and actor.status != MISMATCH:
        engine_fail(b"making a pool ends with an unexpected status")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_and_tell(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = make(actor, 1, 1)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_grown(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    r: cython.pointer(Reserve) = reserve_of(cython.address(stage.actors[0].pool))
    i: uint32_t
    nr: uint64_t
    for i in range(2):
        if nr_owned(cython.address(stage.actors[0].pool), i + 1):
            return b"cells that nobody uses are still somebody's"
    nr = nr_owned(cython.address(stage.actors[0].pool), OWNER_STRUCT)
    if nr != (NR_INLINE << 4) >> SHIFT or read_once(cython.address(r.segments[1]), b"resizing.final") == 0:
        return b"there are more or fewer cells than the table names"
    nr = read_once(cython.address(r.min_nr), b"resizing.final")
    if nr != NR_INLINE + 1 and nr != NR_INLINE + 2:
        return b"the minimum is nobody's"
    return arena_wrong(stage, cython.address(stage.actors[0]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_made(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    r: cython.pointer(Reserve) = reserve_of(cython.address(stage.actors[0].pool))
    if not read_once(cython.address(r.made), b"resizing.final"):
        return b"nobody has made the pool"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_made_once(arg: cython.p_void) -> cython.p_const_char:
    """Of three who want two kinds of pool, those who do not get theirs know it."""
    stage: cython.pointer(Stage) = stage_of(arg)
    r: cython.pointer(Reserve) = reserve_of(cython.address(stage.actors[0].pool))
    i: uint32_t
    for i in range(2):
        if (stage.actors[i].status == OK) != (read_once(cython.address(r.fifo), b"resizing.final") == i):
            return b"a maker takes another's pool for its own"
    return final_made(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_shrink(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 2, 1, 0)
    if stage == cython.NULL:
        return -1
    stage.param = 2
    return play(e, final_all, shrink, give_one, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_shrink_take(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 2, 1, 0)
    if stage == cython.NULL:
        return -1
    stage.param = 1
    return play(e, final_all, shrink, take_and_give, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_grow(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_reserve(e, memory, 1, 0, 0) == cython.NULL:
        return -1
    return play(e, final_grown, grow, grow, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_make(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_empty(e, memory) == cython.NULL:
        return -1
    return play(e, final_made, make_and_look, make_and_look, make_and_look)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_make_otherwise(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_empty(e, memory) == cython.NULL:
        return -1
    return play(e, final_made_once, make_otherwise, make_and_tell, cython.NULL)


register_scene(
    b"mempool.shrink",
    b"the reserve is made smaller while another process gives: no element is lost, none too many is kept",
    b"I5",
    2,
    STAGE_BYTES,
    scene_shrink,
)
register_scene(
    b"mempool.shrink-take",
    b"the reserve is made smaller while another process takes and gives",
    b"I5",
    2,
    STAGE_BYTES,
    scene_shrink_take,
)
register_scene(
    b"mempool.grow",
    b"two make room for more elements: one table is used, the other goes back",
    b"I6",
    2,
    STAGE_BYTES,
    scene_grow,
)
register_scene(
    b"mempool.make",
    b"three make a pool at the same time: each then knows what its elements are",
    b"",
    3,
    STAGE_BYTES,
    scene_make,
)
register_scene(
    b"mempool.make-otherwise",
    b"two make different pools under one name: one has its own, the other is told",
    b"",
    2,
    STAGE_BYTES,
    scene_make_otherwise,
)
