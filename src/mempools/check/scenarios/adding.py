"""Scenarios of PerCpuCounter: adds that fold beside each other, in a handler, in processes that die; set and limited adds.

The number lies in words[0..31]: one or two units, 128 bytes apart.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.adding is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.check.engine import engine_await_end, engine_fail
from cython.cimports.mempools.check.scenarios.stage import Stage, me, play, set_stage, slot_of, stage_of
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.pools.unitcounter import (
    FOLDED,
    LOCK,
    PART,
    Counter,
    counter_add,
    counter_folder,
    counter_limited_add,
    counter_read,
    counter_set,
    counter_sum,
    counter_sync,
    counter_take_over,
    counter_word,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def number_of(stage: cython.pointer(Stage), counter: cython.pointer(Counter)) -> cython.void:
    counter.first = cython.cast(cython.p_char, stage.words)
    counter.stride = 128
    counter.nr_units = stage.actors[3].found[0]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_on(arg: cython.p_void, unit: uint64_t) -> cython.void:
    """Each one is folded."""
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    number_of(stage, cython.address(counter))
    counter_add(cython.address(counter), unit, 1, 1, slot_of(me(stage)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_first(arg: cython.p_void) -> cython.void:
    add_on(arg, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_second(arg: cython.p_void) -> cython.void:
    add_on(arg, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_and_read(arg: cython.p_void) -> cython.void:
    """With a batch of one an estimate is never short of what one has added oneself: a bit of it."""
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    value: int64_t = 0
    number_of(stage, cython.address(counter))
    counter_add(cython.address(counter), slot_of(me(stage)) - 1, slot_of(me(stage)), 1, slot_of(me(stage)))
    counter_read(cython.address(counter), cython.address(value))
    if not value & slot_of(me(stage)):
        engine_fail(b"an estimate is off by more than its bound")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_over_and_add(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    number_of(stage, cython.address(counter))
    counter_take_over(cython.address(counter), 7, slot_of(me(stage)))
    counter_add(cython.address(counter), 0, 1, 1, slot_of(me(stage)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_in_handler(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).found[0] = 1
    add_on(arg, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_only(arg: cython.p_void) -> cython.void:
    counter: Counter
    number_of(stage_of(arg), cython.address(counter))
    counter_add(cython.address(counter), 1, 1, 0, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_ten(arg: cython.p_void) -> cython.void:
    counter: Counter
    number_of(stage_of(arg), cython.address(counter))
    counter_set(cython.address(counter), 10)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_to_two(arg: cython.p_void) -> cython.void:
    """One more, if it is no more than two then."""
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    number_of(stage, cython.address(counter))
    me(stage).found[0] = counter_limited_add(cython.address(counter), 2, 1, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_over(arg: cython.p_void) -> cython.void:
    """Process 1 has died: what it had begun is finished."""
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    number_of(stage, cython.address(counter))
    if not engine_await_end(0):
        return
    if counter_folder(cython.address(counter)) == 1:
        counter_take_over(cython.address(counter), 1, slot_of(me(stage)))
    else:
        counter_sync(cython.address(counter), slot_of(me(stage)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_folded(arg: cython.p_void) -> cython.p_const_char:
    """All adds are there, and the estimate says so: each was folded, by its adder or by who held the lock."""
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    value: int64_t = 0
    expected: int64_t = stage.param + stage.actors[0].found[0]
    number_of(stage, cython.address(counter))
    if counter_sum(cython.address(counter)) != expected:
        return b"an add was lost"
    if not counter_read(cython.address(counter), cython.address(value)):
        return b"the number is left locked, or not folded"
    if value != expected:
        return b"a part stays unfolded that is a batch, or was folded twice"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_taken_over(arg: cython.p_void) -> cython.p_const_char:
    """The dead one's add is there, or not; a note that another left last is not looked at before the next fold."""
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    value: int64_t = 0
    sum: int64_t
    number_of(stage, cython.address(counter))
    sum = counter_sum(cython.address(counter))
    if sum + 1 < cython.cast(int64_t, stage.param):
        return b"an add of one who lives was lost"
    counter_read(cython.address(counter), cython.address(value))
    if value != sum:
        return b"an estimate is wrong by a batch after a death"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_set(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    sum: int64_t
    number_of(stage, cython.address(counter))
    sum = counter_sum(cython.address(counter))
    if sum < 10 or sum > 12:
        return b"an add beside a set is before it or after it"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_limited(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    counter: Counter
    number_of(stage, cython.address(counter))
    if counter_sum(cython.address(counter)) != 2:
        return b"limited adds have overstepped the limit, or stopped before it"
    if stage.actors[0].found[0] + stage.actors[1].found[0] != 2 - stage.param:
        return b"a limited add says otherwise than it did"
    return cython.NULL


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_number(
    e: cython.pointer(Engine), memory: cython.p_char, nr_units: uint64_t, expected: uint64_t
) -> cython.pointer(Stage):
    stage: cython.pointer(Stage) = set_stage(e, memory)
    stage.param = expected
    stage.actors[3].found[0] = nr_units
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_fold(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_number(e, memory, 2, 2)
    return play(e, final_folded, add_first, add_second, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_read(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_number(e, memory, 2, 3)
    return play(e, final_folded, add_and_read, add_and_read, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_take_over(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """Process 7 has died when three were folded, and not yet in the total."""
    stage: cython.pointer(Stage) = set_number(e, memory, 1, 5)
    counter: Counter
    number_of(stage, cython.address(counter))
    counter_word(cython.address(counter), 0, PART)[0] = 3
    counter_word(cython.address(counter), 0, FOLDED)[0] = 3
    counter_word(cython.address(counter), 0, LOCK)[0] = 7
    return play(e, final_folded, take_over_and_add, take_over_and_add, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_handler(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """A handler on the adder's CPU adds in the middle of it."""
    set_number(e, memory, 2, 2)
    e.handlers[0] = add_in_handler
    return play(e, final_folded, add_first, add_second, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_number(e, memory, 2, 2)
    e.may_die = 1
    return play(e, final_taken_over, add_first, take_over, add_second)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_set(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_number(e, memory, 2, 0)
    return play(e, final_set, set_ten, add_only, add_only)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_limited(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """From one on, by two who want one more each."""
    stage: cython.pointer(Stage) = set_number(e, memory, 2, 1)
    counter: Counter
    number_of(stage, cython.address(counter))
    counter_word(cython.address(counter), 1, PART)[0] = 1
    return play(e, final_limited, add_to_two, add_to_two, cython.NULL)


register_scene(
    b"unitcounter.fold",
    b"two adds on two units, each to be folded: nothing is lost, and nothing stays unfolded",
    b"I12 I29",
    2,
    4096,
    scene_fold,
)
register_scene(
    b"unitcounter.read",
    b"two add and then estimate: each finds its own add, folded by itself or by the other",
    b"I29",
    2,
    4096,
    scene_read,
)
register_scene(
    b"unitcounter.take-over",
    b"two find that a dead process had begun to fold, and go on with adds: one of them finishes it",
    b"I28 I29",
    2,
    4096,
    scene_take_over,
)
register_scene(
    b"unitcounter.handler",
    b"an add is interrupted anywhere by a handler on the same CPU that adds, beside another add",
    b"I12",
    2,
    4096,
    scene_handler,
)
register_scene(
    b"unitcounter.dies",
    b"an adder is killed anywhere beside another; who folds next takes over",
    b"I28 I29",
    3,
    4096,
    scene_dies,
)
register_scene(b"unitcounter.set", b"the number is set beside two adds", b"I29", 3, 4096, scene_set)
register_scene(
    b"unitcounter.limited",
    b"two limited adds, and room for one",
    b"I29",
    2,
    4096,
    scene_limited,
)
