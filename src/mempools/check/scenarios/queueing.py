"""Scenarios of those who wait in a Mempool's queue from the start: threads and tasks that are woken, cancelled, overtaken.

The stage and the elements are those of reserving.py.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.queueing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.reserving import (
    curr,
    final_all,
    final_queue,
    give,
    give_one,
    set_reserve,
    take,
    wait,
)
from cython.cimports.mempools.check.scenarios.stage import FOREVER, STAGE_BYTES, Actor, Stage, me, play, stage_of
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.parts.status import EXHAUSTED, OK
from cython.cimports.mempools.pools.mempool import TAKE_QUEUES, mempool_leave, mempool_take
from cython.cimports.mempools.pools.reserve import (
    NO_TICKET,
    WAITER_ASYNC,
    WAITER_WOKEN,
    calls_seen,
    calls_sleep,
    waiter_sleep,
    waiter_state,
)

# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_waiter(stage: cython.pointer(Stage), i: uint32_t, nr: uint64_t, flags: uint64_t) -> cython.int:
    """Actor i waits for nr elements, more than there are; its ticket is in `address`."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[i])
    actor.address = NO_TICKET
    flags |= TAKE_QUEUES
    if (
        mempool_take(
            cython.address(actor.pool),
            cython.NULL,
            nr,
            cython.address(actor.found[3]),
            cython.address(actor.address),
            flags,
            0,
        )
        != EXHAUSTED
    ):
        return -1
    return 0 if actor.address != NO_TICKET else -1


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wait_on(arg: cython.p_void) -> cython.void:
    """A waiter that is in the queue already, and sleeps."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    waiter_sleep(cython.address(actor.pool), actor.address, FOREVER)
    wait(actor, 1, cython.address(actor.address))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wait_on_and_give(arg: cython.p_void) -> cython.void:
    wait_on(arg)
    give(me(stage_of(arg)), cython.address(me(stage_of(arg)).found[3]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cancel(arg: cython.p_void) -> cython.void:
    """A waiter that is in the queue, has perhaps been woken, and goes without its element."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.found[2] = waiter_state(cython.address(actor.pool), actor.address) == WAITER_WOKEN
    if mempool_leave(cython.address(actor.pool), actor.address, FOREVER) != OK:
        engine_fail(b"a waiter cannot leave")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def listen(arg: cython.p_void) -> cython.void:
    """The thread of a process whose task waits: it sees the task woken, or sleeps until somebody calls."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    seen: uint32_t = calls_seen(cython.address(actor.pool))
    while waiter_state(cython.address(actor.pool), actor.address) != WAITER_WOKEN:
        calls_sleep(cython.address(actor.pool), seen, FOREVER)
        seen = calls_seen(cython.address(actor.pool))
    wait(actor, 1, cython.address(actor.address))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def listen_for_two(arg: cython.p_void) -> cython.void:
    """As listen, for two tasks; `found[5]` is the other's ticket."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    seen: uint32_t = calls_seen(cython.address(actor.pool))
    while (
        waiter_state(cython.address(actor.pool), actor.address) != WAITER_WOKEN
        or waiter_state(cython.address(actor.pool), actor.found[5]) != WAITER_WOKEN
    ):
        calls_sleep(cython.address(actor.pool), seen, FOREVER)
        seen = calls_seen(cython.address(actor.pool))
    wait(actor, 1, cython.address(actor.address))
    wait(actor, 1, cython.address(actor.found[5]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_once(arg: cython.p_void) -> cython.void:
    """A newcomer that does not wait."""
    take(me(stage_of(arg)), 1)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_held(arg: cython.p_void) -> cython.p_const_char:
    """The third got what it waited for; the others have nothing."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].found[0] + stage.actors[1].found[0]:
        return b"somebody overtook the one who waited"
    if curr(stage) + stage.actors[2].found[0] != stage.param:
        return b"an element is lost, or there is one too many"
    return final_queue(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_held_second(arg: cython.p_void) -> cython.p_const_char:
    """The second got what it waited for."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if curr(stage) + stage.actors[1].found[0] != stage.param:
        return b"an element is lost, or there is one too many"
    return final_queue(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_wake_two(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 1, 0, 0)
    if stage == cython.NULL:
        return -1
    if set_waiter(stage, 0, 1, 0) != 0 or set_waiter(stage, 2, 1, 0) != 0:
        return -1
    return play(e, final_all, wait_on_and_give, give_one, wait_on_and_give)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_wake_fifo(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 1, 0, 1)
    if stage == cython.NULL:
        return -1
    if set_waiter(stage, 0, 1, 0) != 0 or set_waiter(stage, 2, 1, 0) != 0:
        return -1
    return play(e, final_all, wait_on_and_give, give_one, wait_on_and_give)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_cancel(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 1, 0, 0)
    if stage == cython.NULL:
        return -1
    if set_waiter(stage, 1, 1, 0) != 0 or set_waiter(stage, 2, 1, 0) != 0:
        return -1
    return play(e, final_held, give_one, cancel, wait_on)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_cancel_fifo(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 2, 1, 1)
    if stage == cython.NULL:
        return -1
    if set_waiter(stage, 1, 2, 0) != 0 or set_waiter(stage, 2, 1, 0) != 0:
        return -1
    return play(e, final_held, give_one, cancel, wait_on)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_fifo(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 1, 0, 1)
    if stage == cython.NULL:
        return -1
    if set_waiter(stage, 2, 1, 0) != 0:
        return -1
    return play(e, final_held, give_one, take_once, wait_on)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_task(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 1, 0, 0)
    if stage == cython.NULL:
        return -1
    if set_waiter(stage, 1, 1, WAITER_ASYNC) != 0:
        return -1
    return play(e, final_held_second, give_one, listen, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_tasks(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 2, 0, 0)
    if stage == cython.NULL or set_waiter(stage, 1, 1, WAITER_ASYNC) != 0:
        return -1
    stage.actors[1].found[5] = stage.actors[1].address
    if set_waiter(stage, 1, 1, WAITER_ASYNC) != 0:
        return -1
    return play(e, final_held_second, give_one, listen_for_two, give_one)


register_scene(
    b"mempool.wake-two",
    b"two sleep, a third gives the only element back: both have had it in the end",
    b"I2",
    3,
    STAGE_BYTES,
    scene_wake_two,
)
register_scene(
    b"mempool.wake-fifo",
    b"as mempool.wake-two, in the order of their coming",
    b"I2",
    3,
    STAGE_BYTES,
    scene_wake_fifo,
)
register_scene(
    b"mempool.cancel",
    b"a waiter goes, perhaps after it has been woken: the next one gets the element",
    b"I30",
    3,
    STAGE_BYTES,
    scene_cancel,
)
register_scene(
    b"mempool.cancel-fifo",
    b"the oldest waiter, for whom there is too little, goes: the next one, who had enough all the time, is woken",
    b"I30",
    3,
    STAGE_BYTES,
    scene_cancel_fifo,
)
register_scene(
    b"mempool.fifo",
    b"a newcomer does not overtake one who waits",
    b"",
    3,
    STAGE_BYTES,
    scene_fifo,
)
register_scene(
    b"mempool.task",
    b"a thread listens for a task that waits: it hears of the element that another process gives back",
    b"I2",
    2,
    STAGE_BYTES,
    scene_task,
)
register_scene(
    b"mempool.tasks",
    b"a thread listens for two tasks, whose elements two processes give back: it hears of both",
    b"I2",
    3,
    STAGE_BYTES,
    scene_tasks,
)
