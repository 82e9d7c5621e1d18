"""Scenarios of the robust lock: mutual exclusion, wake-ups, and holders and waiters that die.

The lock is the first half of words[0]; it protects words[1] and words[2], which are equal whenever it is free.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.locking is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_await_end, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    Stage,
    me,
    play,
    read_block,
    set_stage,
    slot_of,
    stage_of,
    write_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_lock, robust_trylock, robust_unlock
from cython.cimports.mempools.parts.status import OK


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def lock_of(stage: cython.pointer(Stage)) -> cython.pointer(uint32_t):
    return cython.cast(cython.pointer(uint32_t), stage.words)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def word(stage: cython.pointer(Stage), i: uint64_t) -> cython.p_char:
    return cython.cast(cython.p_char, stage.words + i)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def change(stage: cython.pointer(Stage)) -> cython.void:
    """What the lock protects: plain accesses, so that any two of them that may meet are a race."""
    value: uint64_t = read_block(word(stage, 1))
    if read_block(word(stage, 2)) != value:
        engine_fail(b"whoever has the lock sees what another has half done")
    write_block(word(stage, 1), value + 1)
    write_block(word(stage, 2), value + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def locked(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    if robust_lock(lock_of(stage), slot_of(me(stage)), FOREVER) != OK:
        engine_fail(b"the lock was not had, though nothing limits the wait")
    change(stage)
    robust_unlock(lock_of(stage), slot_of(me(stage)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def locked_twice(arg: cython.p_void) -> cython.void:
    locked(arg)
    locked(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tried(arg: cython.p_void) -> cython.void:
    """Only if nobody has it."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if robust_trylock(lock_of(stage), slot_of(me(stage))) == OK:
        me(stage).found[0] = 1
        change(stage)
        robust_unlock(lock_of(stage), slot_of(me(stage)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend(arg: cython.p_void) -> cython.void:
    """Recovery of process 1: what the lock protects, then the lock."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if engine_await_end(0) and robust_holder(lock_of(stage)) == 1:
        write_block(word(stage, 2), read_block(word(stage, 1)))
        robust_unlock(lock_of(stage), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_free(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if robust_holder(lock_of(stage)):
        return b"the lock is still held"
    if read_block(word(stage, 1)) != read_block(word(stage, 2)):
        return b"what the lock protects is half done"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_all(arg: cython.p_void) -> cython.p_const_char:
    """As final_free, and nobody's change was lost: `param` of them wait, the third CPU tries."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if read_block(word(stage, 1)) != stage.param + stage.actors[2].found[0]:
        return b"a change that was made under the lock is lost"
    return final_free(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_three(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_stage(e, memory).param = 3
    e.timeouts = 0
    return play(e, final_all, locked, locked, locked)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_again(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_stage(e, memory).param = 3
    e.timeouts = 0
    return play(e, final_all, locked_twice, locked, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_tried(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_stage(e, memory).param = 2
    e.timeouts = 0
    return play(e, final_all, locked, locked, tried)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_holder_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """Killed between its release and the wake-up, it leaves a waiter asleep: its time runs out."""
    set_stage(e, memory)
    e.may_die = 1
    return play(e, final_free, locked, mend, locked)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_waiter_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """A waiter that is killed after it was woken takes the wake-up with it: the others' time runs out."""
    set_stage(e, memory)
    e.may_die = 1
    return play(e, final_free, locked, mend, locked_twice)


register_scene(
    b"robustlock.three",
    b"three processes change what the lock protects: one at a time, each seeing the last one's; nobody sleeps for ever",
    b"I2",
    3,
    4096,
    scene_three,
)
register_scene(
    b"robustlock.again",
    b"a process locks twice while another waits: no wake-up is lost",
    b"I2",
    2,
    4096,
    scene_again,
)
register_scene(
    b"robustlock.tried",
    b"two processes wait for the lock and a third only tries, so that it may take it from one who was woken",
    b"I2",
    3,
    4096,
    scene_tried,
)
register_scene(
    b"robustlock.holder-dies",
    b"the holder is killed anywhere; recovery mends what it had half done and releases; a waiter goes on",
    b"I2 I28",
    3,
    4096,
    scene_holder_dies,
)
register_scene(
    b"robustlock.waiter-dies",
    b"a waiter is killed, perhaps just after it was woken; the others get the lock, a while later at worst",
    b"I2 I28",
    3,
    4096,
    scene_waiter_dies,
)
