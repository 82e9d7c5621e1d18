"""Scenarios of a ZsPool's deferred frees: beside whatever else may be done with the object, and with deaths."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zsdeferring is compiled code: run `make build` in a checkout, or install the wheel"
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
    recover_the_first,
    slot_of,
    stage_of,
)
from cython.cimports.mempools.check.scenarios.zsstage import (
    MARK,
    NEXT,
    OBJECT,
    OTHER,
    alloc,
    defer_object,
    drain,
    end_reading,
    geometry,
    move,
    new_object,
    pin,
    pool_wrong,
    retire_object,
    set_objects,
    set_queue,
    set_reader,
    unpin,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import OK, STALE, TIMED_OUT
from cython.cimports.mempools.pools.zsalloc import zs_end, zs_keep
from cython.cimports.mempools.pools.zsdefer import nr_deferred
from cython.cimports.mempools.pools.zsgive import zs_give
from cython.cimports.mempools.pools.zspin import Pinned, is_doomed, zs_pin
from cython.cimports.mempools.pools.zstable import cell_owner, index_of, zs_cell, zs_root

register_module(cython.address(this_module_step))

_A_WHILE = cython.declare(uint64_t, 20_000_000)

# The queue that scenarios are about is that of actor 0, process 1. Actor.found: [0] how many objects a drain has ended, [1]
# whether a reader was served.


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_as_users(actor: cython.pointer(Actor)) -> cython.int:
    """zs_end, not the last reader's zs_free."""
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = zs_end(cython.address(actor.pool), geometry(actor), actor.found[OBJECT], _A_WHILE)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def defer_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = defer_object(actor, actor.found[OBJECT])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def defer_in_one_process(arg: cython.p_void) -> cython.void:
    """A thread of process 1, on whatever CPU."""
    stage: cython.pointer(Stage) = stage_of(arg)
    me(stage).status = defer_object(cython.address(stage.actors[0]), stage.actors[0].found[OBJECT])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def defer_and_drain(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = defer_object(actor, actor.found[OBJECT])
    actor.found[0] = drain(actor, slot_of(actor))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def defer_and_reuse(arg: cython.p_void) -> cython.void:
    """The place is given to another as soon as it is free."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if defer_object(actor, actor.found[OBJECT]) != OK:
        engine_fail(b"an object that is there cannot be deferred")
    drain(actor, slot_of(actor))
    alloc(actor, MARK + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def defer_other_in_one_process(arg: cython.p_void) -> cython.void:
    """A thread of process 1, on whatever CPU."""
    stage: cython.pointer(Stage) = stage_of(arg)
    me(stage).status = defer_object(cython.address(stage.actors[0]), stage.actors[0].found[OTHER])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_and_drain(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = free_as_users(actor)
    drain(actor, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_old(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pinned: Pinned
    if zs_pin(cython.address(actor.pool), geometry(actor), actor.found[NEXT], cython.address(pinned)) != STALE:
        engine_fail(b"a handle names another's object")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drain_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.found[0] = drain(actor, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drain_second(arg: cython.p_void) -> cython.void:
    """The queue of process 2."""
    drain(me(stage_of(arg)), 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = free_as_users(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def retire_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = retire_object(actor, actor.found[OBJECT])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def keep_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = zs_keep(cython.address(actor.pool), geometry(actor), actor.found[OBJECT], _A_WHILE)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    move(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = zs_give(cython.address(actor.pool), actor.found[OBJECT], OWNER_STRUCT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_it_by(actor: cython.pointer(Actor)) -> cython.void:
    """As the objects of L4 do: an object that has ended is not read any more."""
    pinned: Pinned
    if not pin(actor, cython.address(pinned)):
        return
    if not is_doomed(cython.address(actor.pool), pinned.handle):
        actor.found[1] += 1
        if read_block(pinned.object) != MARK:
            engine_fail(b"a reader finds the bytes of another object")
    unpin(actor, cython.address(pinned))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_it(arg: cython.p_void) -> cython.void:
    read_it_by(me(stage_of(arg)))


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drained_wrong(stage: cython.pointer(Stage), objects: uint64_t) -> cython.p_const_char:
    """After a last drain: nothing is left in a queue, and there are that many objects."""
    i: cython.int
    for i in range(3):
        drain(cython.address(stage.actors[2]), i + 1)
    if nr_deferred(cython.address(stage.actors[2].pool)):
        return b"an object stays deferred"
    return pool_wrong(stage, cython.address(stage.actors[2]), objects)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one(arg: cython.p_void) -> cython.p_const_char:
    return drained_wrong(stage_of(arg), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_old_handle(stage: cython.pointer(Stage)) -> cython.int:
    """OBJECT is another in the same cell; NEXT is the handle that named the first."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    old: uint64_t = actor.found[OBJECT]
    handle: uint64_t
    i: cython.int
    if free_as_users(actor) != OK:
        return -1
    handle = new_object(actor, OWNER_STRUCT, MARK)
    if index_of(handle) != index_of(old):
        return -1
    for i in range(3):
        stage.actors[i].found[OBJECT] = handle
        stage.actors[i].found[NEXT] = old
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_none(arg: cython.p_void) -> cython.p_const_char:
    return drained_wrong(stage_of(arg), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_two(arg: cython.p_void) -> cython.p_const_char:
    return drained_wrong(stage_of(arg), 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_read_out(arg: cython.p_void) -> cython.p_const_char:
    """Without another drain: the drain or the last reader has freed it."""
    return pool_wrong(stage_of(arg), cython.address(stage_of(arg).actors[2]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_deferred(arg: cython.p_void) -> cython.p_const_char:
    """CPU 1 defers."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[1].status != OK:
        return b"an object that is there cannot be deferred"
    return final_one(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_once(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status + stage.actors[1].status != OK + STALE:
        return b"of two who end an object not exactly one succeeded"
    return final_one(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_once_of_three(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status + stage.actors[1].status + stage.actors[2].status != OK + 2 * STALE:
        return b"of three who end an object not exactly one succeeded"
    return final_one(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_kept(arg: cython.p_void) -> cython.p_const_char:
    """CPU 0 defers, CPU 1 keeps."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status != OK or (stage.actors[1].status != OK and stage.actors[1].status != STALE):
        return b"an object that is there cannot be deferred, or kept"
    return final_one(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_both_ended(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].found[0] + stage.actors[1].found[0] != 2:
        return b"two drains have not ended each object once"
    return drained_wrong(stage, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_given(arg: cython.p_void) -> cython.p_const_char:
    """CPU 1 gives."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = read_once(
        zs_cell(cython.address(stage.actors[2].pool), index_of(stage.actors[2].found[OBJECT])), b"zsdeferring.owner"
    )
    if stage.actors[1].status != OK or cell_owner(word) != OWNER_STRUCT:
        return b"an object that was given is still whose it was"
    return final_two(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died(arg: cython.p_void) -> cython.p_const_char:
    """The object is there with its bytes, or it is gone. CPU 1 recovers."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    there: uint64_t = actor.found[1]
    read_it_by(actor)
    there = actor.found[1] - there
    if there and stage.actors[1].found[NR_FOUND - 1] == 0:
        return b"an object that was deferred is there"
    return drained_wrong(stage, 1 + there)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def forget_high(stage: cython.pointer(Stage)) -> cython.int:
    """As if no entry of the queue had ever been used."""
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[0].pool)
    queue: uint64_t = read_once(cython.address(zs_root(pool).queues[1]), b"zsdeferring.queue")
    write_once(cython.cast(cython.pointer(uint64_t), pool.arena.base + queue), 0, b"zsdeferring.queue")
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_read(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0:
        return -1
    return play(e, final_two, defer_and_reuse, read_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_last_reader(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0 or set_reader(stage, 1) != 0:
        return -1
    return play(e, final_read_out, defer_and_drain, end_reading, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 1) != 0:
        return -1
    return play(e, final_deferred, move_it, defer_and_drain, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_free(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0:
        return -1
    return play(e, final_once, defer_and_drain, free_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_retire(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0 or set_reader(stage, 2) != 0:
        return -1
    return play(e, final_once, defer_it, retire_it, end_reading)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_keep(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, 3)
    if stage == cython.NULL or set_queue(stage, 0) != 0:
        return -1
    return play(e, final_kept, defer_it, keep_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_defer(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0 or set_queue(stage, 2) != 0:
        return -1
    return play(e, final_once_of_three, defer_in_one_process, defer_in_one_process, defer_it)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_drain(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0:
        return -1
    return play(e, final_deferred, drain_it, defer_in_one_process, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_drain_drain(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if (
        stage == cython.NULL
        or set_queue(stage, 0) != 0
        or defer_object(cython.address(stage.actors[0]), stage.actors[0].found[OBJECT]) != OK
        or defer_object(cython.address(stage.actors[0]), stage.actors[0].found[OTHER]) != OK
    ):
        return -1
    return play(e, final_both_ended, drain_it, drain_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_give_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, 3)
    if stage == cython.NULL:
        return -1
    return play(e, final_given, move_it, give_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_stale_read_retire(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_old_handle(stage) != 0:
        return -1
    return play(e, final_read_out, retire_it, read_old, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_stale_read_drain(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if (
        stage == cython.NULL
        or set_queue(stage, 0) != 0
        or set_old_handle(stage) != 0
        or defer_object(cython.address(stage.actors[0]), stage.actors[0].found[OBJECT]) != OK
    ):
        return -1
    return play(e, final_one, drain_it, read_old, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_deferrer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0 or set_reader(stage, 2) != 0:
        return -1
    e.may_die = 1
    return play(e, final_died, defer_and_drain, recover_the_first, end_reading)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_dies_drained(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0:
        return -1
    e.may_die = 1
    return play(e, final_died, defer_it, recover_the_first, drain_it)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_drainer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if (
        stage == cython.NULL
        or set_queue(stage, 1) != 0
        or defer_object(cython.address(stage.actors[1]), stage.actors[1].found[OBJECT]) != OK
    ):
        return -1
    e.may_die = 1
    return play(e, final_one, drain_second, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_recovery_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_died, defer_and_drain, recover_the_first, recover_both)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_two(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0 or forget_high(stage) != 0:
        return -1
    return play(e, final_none, defer_in_one_process, defer_other_in_one_process, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_undo(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 0) != 0:
        return -1
    return play(e, final_none, defer_in_one_process, defer_other_in_one_process, free_and_drain)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_defer_mover_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_queue(stage, 2) != 0:
        return -1
    e.may_die = 1
    return play(e, final_one, move_it, recover_the_first, defer_it)


register_scene(
    b"zs.defer-read",
    b"an object is deferred and its place given to another, while somebody reads it: its own bytes, or none",
    b"I20 I23",
    2,
    STAGE_BYTES,
    scene_defer_read,
)
register_scene(
    b"zs.defer-last-reader",
    b"an object is deferred while somebody reads it: it is freed by the drain, or by the reader",
    b"I20 I23",
    2,
    STAGE_BYTES,
    scene_defer_last_reader,
)
register_scene(
    b"zs.defer-move",
    b"an object is deferred while it is moved: it is gone, and its place is free",
    b"I19",
    2,
    STAGE_BYTES,
    scene_defer_move,
)
register_scene(
    b"zs.defer-free",
    b"one defers an object, one frees it: one of them is told that it is gone",
    b"I23",
    2,
    STAGE_BYTES,
    scene_defer_free,
)
register_scene(
    b"zs.defer-retire",
    b"one defers an object that a third reads, one retires it: one of them is told that it is gone",
    b"I23",
    3,
    STAGE_BYTES,
    scene_defer_retire,
)
register_scene(
    b"zs.defer-keep",
    b"one defers an object, one keeps it: it ends",
    b"I23",
    2,
    STAGE_BYTES,
    scene_defer_keep,
)
register_scene(
    b"zs.defer-defer",
    b"two threads of a process and another process defer an object: one of them succeeds",
    b"I23",
    3,
    STAGE_BYTES,
    scene_defer_defer,
)
register_scene(
    b"zs.defer-drain",
    b"a queue is drained while an object is deferred: the drain frees it, or leaves it to the next",
    b"I23",
    2,
    STAGE_BYTES,
    scene_defer_drain,
)
register_scene(
    b"zs.drain-drain",
    b"two drain a queue: each object is freed once",
    b"I23",
    2,
    STAGE_BYTES,
    scene_drain_drain,
)
register_scene(
    b"zs.give-move",
    b"an object is given to another owner while it is moved: it is the other's",
    b"",
    2,
    STAGE_BYTES,
    scene_give_move,
)
register_scene(
    b"zs.stale-read-retire",
    b"an object is retired while somebody tries to read what was in its cell before: it is freed",
    b"I20 I23",
    2,
    STAGE_BYTES,
    scene_stale_read_retire,
)
register_scene(
    b"zs.stale-read-drain",
    b"the same of an object that was deferred, while its queue is drained",
    b"I20 I23",
    2,
    STAGE_BYTES,
    scene_stale_read_drain,
)
register_scene(
    b"zs.deferrer-dies",
    b"whoever defers an object that another reads is killed anywhere: it is there, or gone",
    b"I28",
    3,
    STAGE_BYTES,
    scene_deferrer_dies,
)
register_scene(
    b"zs.defer-dies-drained",
    b"whoever defers an object is killed anywhere, and another drains its queue while it is recovered: it is there, or gone",
    b"I28",
    3,
    STAGE_BYTES,
    scene_defer_dies_drained,
)
register_scene(
    b"zs.drainer-dies",
    b"whoever drains the queue of another process is killed anywhere: what was in it is freed",
    b"I28",
    2,
    STAGE_BYTES,
    scene_drainer_dies,
)
register_scene(
    b"zs.defer-recovery-dies",
    b"whoever defers an object is killed, and its recovery too, at any two points",
    b"I28",
    3,
    STAGE_BYTES,
    scene_defer_recovery_dies,
)
register_scene(
    b"zs.defer-two",
    b"two threads of a process defer an object each, the first that it ever defers: both end",
    b"I23",
    2,
    STAGE_BYTES,
    scene_defer_two,
)
register_scene(
    b"zs.defer-undo",
    b"two threads defer an object each, while another process frees one of them and drains their queue: both end",
    b"I23",
    3,
    STAGE_BYTES,
    scene_defer_undo,
)
register_scene(
    b"zs.defer-mover-dies",
    b"whoever moves an object is killed anywhere, while another defers it: it ends",
    b"I28",
    3,
    STAGE_BYTES,
    scene_defer_mover_dies,
)
