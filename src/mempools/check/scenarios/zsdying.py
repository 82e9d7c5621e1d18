"""Scenarios of a ZsPool in which processes die: movers, allocators, freers, readers, and those who recover (zsmoving.py has the
living)."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zsdying is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    NR_FOUND,
    STAGE_BYTES,
    Actor,
    Stage,
    me,
    play,
    read_block,
    recover_both,
    recover_dead,
    recover_the_first,
    stage_of,
)
from cython.cimports.mempools.check.scenarios.zsstage import (
    BLOCK,
    MARK,
    OBJECT,
    alloc,
    class_,
    end_reading,
    free_object,
    geometry,
    lock,
    move,
    pin,
    pool_wrong,
    read_object,
    retire_object,
    set_objects,
    set_reader,
    unpin,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import Hint
from cython.cimports.mempools.machine.atomics import this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.genpool import NEAR_FIT, genpool_alloc_algo, genpool_free
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zspage import class_unlock, drop_locked, install_locked, zspage_of
from cython.cimports.mempools.pools.zspin import Pinned

register_module(cython.address(this_module_step))


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = move(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_one(arg: cython.p_void) -> cython.void:
    alloc(me(stage_of(arg)), MARK + 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = free_object(actor, actor.found[OBJECT])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def retire_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = retire_object(actor, actor.found[OBJECT])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pinned: Pinned
    if pin(actor, cython.address(pinned)):
        if read_block(pinned.object) != MARK:
            engine_fail(b"a reader finds the bytes of another object")
        unpin(actor, cython.address(pinned))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_and_begin(arg: cython.p_void) -> cython.void:
    """A zspage ends, its pages are freed; another begins, in pages that this process has."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    g: cython.pointer(Geometry) = geometry(actor)
    c: uint64_t = class_(actor)
    block: uint64_t
    lock(actor, c)
    block = drop_locked(cython.address(actor.pool), g, c, 0, zspage_of(cython.address(actor.pool), g, c, 0), 1)
    class_unlock(cython.address(actor.pool), c)
    genpool_free(cython.address(actor.pool), block, 4096)
    lock(actor, c)
    install_locked(cython.address(actor.pool), g, c, actor.found[BLOCK])
    class_unlock(cython.address(actor.pool), c)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_and_free(arg: cython.p_void) -> cython.void:
    """After the first, which only read, alive or not, anybody can free the object."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    recover_dead(stage_of(arg), 0)
    if free_object(actor, actor.found[OBJECT]) != OK:
        engine_fail(b"a dead reader keeps an object from being freed")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave(arg: cython.p_void) -> cython.void:
    """The process to whom the objects belong: it does one thing, so that it can die before that."""
    stage: cython.pointer(Stage) = stage_of(arg)
    write_once(cython.address(stage.words[0]), 1, b"zsdying.leave")


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def died(stage: cython.pointer(Stage), by: cython.int) -> cython.bint:
    """Has the CPU `by` found the first one dead?"""
    return stage.actors[by].found[NR_FOUND - 1] != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_kept(arg: cython.p_void) -> cython.p_const_char:
    """Both objects are there, once, with their bytes."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    mark: uint64_t = 0
    if not read_object(actor, cython.address(mark)) or mark != MARK:
        return b"an object is lost, or its bytes are"
    return pool_wrong(stage, actor, 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_allocated(arg: cython.p_void) -> cython.p_const_char:
    """What the dead process allocated is gone."""
    stage: cython.pointer(Stage) = stage_of(arg)
    return pool_wrong(stage, cython.address(stage.actors[2]), 2 if died(stage, 1) else 3)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_freed(arg: cython.p_void) -> cython.p_const_char:
    """The object is there with its bytes, or it is gone."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    mark: uint64_t = 0
    there: cython.bint = read_object(actor, cython.address(mark))
    if there and mark != MARK:
        return b"an object that was to be freed has lost its bytes"
    if there and not died(stage, 1) and stage.actors[0].status == OK:
        return b"an object that was freed is there"
    return pool_wrong(stage, actor, 2 if there else 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_other(arg: cython.p_void) -> cython.p_const_char:
    return pool_wrong(stage_of(arg), cython.address(stage_of(arg).actors[2]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_orphaned(arg: cython.p_void) -> cython.p_const_char:
    """The dead process's objects are gone, whoever was reading."""
    stage: cython.pointer(Stage) = stage_of(arg)
    return pool_wrong(stage, cython.address(stage.actors[2]), 0 if died(stage, 1) else 2)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_mover_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_kept, move_it, recover_the_first, read_it)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_allocator_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_allocated, alloc_one, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_freer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_freed, free_it, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_retirer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_reader(stage, 2) != 0:
        return -1
    e.may_die = 1
    return play(e, final_freed, retire_it, recover_the_first, end_reading)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_zspage_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    hint: Hint
    block: cython.pointer(uint64_t)
    if stage == cython.NULL:
        return -1
    hint.chunk = 0
    hint.word = 0
    if (
        free_object(cython.address(stage.actors[0]), stage.actors[0].found[OBJECT]) != OK
        or genpool_alloc_algo(
            cython.address(stage.actors[0].pool),
            cython.address(hint),
            4096,
            NEAR_FIT,
            0,
            cython.address(stage.actors[0].found[BLOCK]),
        )
        != OK
    ):
        return -1
    # Its chain of free slots: the second, then none.
    block = cython.cast(cython.pointer(uint64_t), stage.memory + stage.actors[0].found[BLOCK])
    write_once(cython.address(block[0]), 2 << 1, b"zsdying.chain")
    write_once(cython.address(block[256]), 0, b"zsdying.chain")
    e.may_die = 1
    return play(e, final_other, end_and_begin, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_reader_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_other, read_it, recover_and_free, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_owner_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_orphaned, leave, recover_the_first, read_it)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_recovery_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_kept, move_it, recover_the_first, recover_both)


register_scene(
    b"zs.mover-dies",
    b"whoever moves an object is killed anywhere, while another reads it: it is there once, with its bytes",
    b"I19 I28",
    3,
    STAGE_BYTES,
    scene_mover_dies,
)
register_scene(
    b"zs.allocator-dies",
    b"whoever allocates is killed anywhere: what it allocated is free",
    b"I28",
    2,
    STAGE_BYTES,
    scene_allocator_dies,
)
register_scene(
    b"zs.freer-dies",
    b"whoever frees an object is killed anywhere: it is there, or gone",
    b"I28",
    2,
    STAGE_BYTES,
    scene_freer_dies,
)
register_scene(
    b"zs.retirer-dies",
    b"whoever retires an object that another reads is killed anywhere: it is there, or gone",
    b"I28",
    3,
    STAGE_BYTES,
    scene_retirer_dies,
)
register_scene(
    b"zs.zspage-dies",
    b"whoever ends a zspage and begins another is killed anywhere: no page is lost",
    b"I21 I28",
    2,
    STAGE_BYTES,
    scene_zspage_dies,
)
register_scene(
    b"zs.reader-dies",
    b"a reader is killed anywhere: afterwards the object can be freed",
    b"I28",
    2,
    STAGE_BYTES,
    scene_reader_dies,
)
register_scene(
    b"zs.owner-dies",
    b"the process dies whose object another reads: it is freed by recovery, or by the reader when it has done",
    b"I20 I28",
    3,
    STAGE_BYTES,
    scene_owner_dies,
)
register_scene(
    b"zs.recovery-dies",
    b"whoever moves an object is killed, and its recovery too, at any two points",
    b"I28",
    3,
    STAGE_BYTES,
    scene_recovery_dies,
)
