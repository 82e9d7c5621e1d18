"""Scenarios of a Mempool's reserve: depletion, lost wake-ups, no minimum, bulk (queueing.py has those who wait from the start).

The elements are numbers, so that nothing but the reserve decides what becomes of them. Time does not run out: whoever is not
woken sleeps for ever, and the checker says so. What threads of one process do, all of them do as process 1.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.reserving is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    STAGE_BYTES,
    Actor,
    Stage,
    me,
    play,
    set_arena,
    set_pool,
    set_stage,
    stage_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.structs import KIND_MEMPOOL
from cython.cimports.mempools.machine.atomics import read_once, read_once32, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import EXHAUSTED, OK
from cython.cimports.mempools.pools.mempool import (
    TAKE_QUEUES,
    mempool_give,
    mempool_take,
)
from cython.cimports.mempools.pools.mempoolmake import MempoolConfig, mempool_make, mempool_set_min
from cython.cimports.mempools.pools.reserve import (
    NO_TICKET,
    Reserve,
    reserve_of,
    waiter_sleep,
)

register_module(cython.address(this_module_step))


# What an actor finds: [0] elements that it took, [1] that its pool did not want back, [2] how often it ran a step of its own;
# [3] and [4]: the elements.


# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_empty(e: cython.pointer(Engine), memory: cython.p_char) -> cython.pointer(Stage):
    """A pool that has not been made yet."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    index: uint32_t = 0
    e.timeouts = 0
    if set_arena(stage, 18, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_MEMPOOL, SHIFT, 4096, 0, cython.sizeof(Reserve), cython.address(index)) != 0:
        return cython.NULL
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make(actor: cython.pointer(Actor), min_nr: uint64_t, fifo: uint64_t) -> cython.int:
    config: MempoolConfig
    config.nbytes = 0
    config.min_nr = min_nr
    config.backend = 0
    config.fifo = fifo
    config.poison = 0
    return mempool_make(cython.address(actor.pool), cython.NULL, cython.address(config))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_reserve(
    e: cython.pointer(Engine), memory: cython.p_char, min_nr: uint64_t, curr_nr: uint64_t, fifo: uint64_t
) -> cython.pointer(Stage):
    """A pool whose reserve is to have min_nr elements and has curr_nr."""
    stage: cython.pointer(Stage) = set_empty(e, memory)
    actor: cython.pointer(Actor)
    taken: uint64_t = 0
    word: uint64_t
    if stage == cython.NULL:
        return cython.NULL
    actor = cython.address(stage.actors[0])
    if make(actor, min_nr, fifo) != OK:
        return cython.NULL
    if mempool_set_min(cython.address(actor.pool), cython.NULL, min_nr, cython.address(taken), 0) != OK:
        return cython.NULL
    for word in range(1, curr_nr + 1):
        if (
            mempool_give(cython.address(actor.pool), cython.NULL, cython.address(word), 1, cython.address(taken), 0)
            != OK
        ):
            return cython.NULL
    stage.param = min_nr
    return stage if curr(stage) == curr_nr else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def curr(stage: cython.pointer(Stage)) -> uint64_t:
    return read_once(cython.address(reserve_of(cython.address(stage.actors[0].pool)).curr_nr), b"reserving.curr")


# ---- what bodies are made of


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take(actor: cython.pointer(Actor), nr: uint64_t) -> cython.bint:
    """What is there, without waiting."""
    waiter: uint64_t = NO_TICKET
    if (
        mempool_take(
            cython.address(actor.pool),
            cython.NULL,
            nr,
            cython.address(actor.found[3]),
            cython.address(waiter),
            0,
            FOREVER,
        )
        != OK
    ):
        return False
    actor.found[0] += nr
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wait(actor: cython.pointer(Actor), nr: uint64_t, waiter: cython.pointer(uint64_t)) -> cython.void:
    """What the objects do whose caller may wait; the backend has nothing."""
    status: cython.int
    while True:
        status = mempool_take(
            cython.address(actor.pool),
            cython.NULL,
            nr,
            cython.address(actor.found[3]),
            waiter,
            TAKE_QUEUES,
            FOREVER,
        )
        if status == OK:
            actor.found[0] += nr
            return
        if status != EXHAUSTED:
            engine_fail(b"a waiter cannot wait")
        waiter_sleep(cython.address(actor.pool), waiter[0], FOREVER)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give(actor: cython.pointer(Actor), words: cython.pointer(uint64_t), nr: uint64_t) -> cython.void:
    """Back to the pool; what it does not want is the backend's."""
    taken: uint64_t = 0
    if mempool_give(cython.address(actor.pool), cython.NULL, words, nr, cython.address(taken), FOREVER) != OK:
        engine_fail(b"an element cannot be given back")
    actor.found[1] += nr - taken


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_and_post(arg: cython.p_void) -> cython.void:
    """A thread takes the last element and tells another, with nothing but a store."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    if take(actor, 1):
        write_once(cython.address(stage.words[0]), actor.found[3], b"reserving.mail")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_what_comes(arg: cython.p_void) -> cython.void:
    """Another thread gives back what it is told of."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    word: uint64_t = read_once(cython.address(stage.words[0]), b"reserving.mail")
    actor.slot[0] = 1
    if word:
        actor.found[2] = 1
        give(actor, cython.address(word), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_and_give(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if take(actor, 1):
        give(actor, cython.address(actor.found[3]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wait_and_give(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    waiter: uint64_t = NO_TICKET
    wait(actor, 1, cython.address(waiter))
    give(actor, cython.address(actor.found[3]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wait_for_two(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    waiter: uint64_t = NO_TICKET
    wait(actor, 2, cython.address(waiter))
    give(actor, cython.address(actor.found[3]), 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_one(arg: cython.p_void) -> cython.void:
    """Of an element that this process has had from the start."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    word: uint64_t = 10
    give(actor, cython.address(word), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_two(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    words: uint64_t[2]
    words[0] = 10
    words[1] = 11
    give(actor, cython.address(words[0]), 1)
    give(actor, cython.address(words[1]), 1)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_conserved(arg: cython.p_void) -> cython.p_const_char:
    """Of a pool of one element that may be under way from one thread to the other."""
    stage: cython.pointer(Stage) = stage_of(arg)
    outstanding: uint64_t = stage.actors[0].found[0] - stage.actors[1].found[2]
    if curr(stage) + outstanding < 1:
        return b"the reserve is smaller for good: nobody has the element that it lacks"
    return final_queue(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_queue(arg: cython.p_void) -> cython.p_const_char:
    """Nobody waits, nothing is promised, and the reserve has no more than it is to have."""
    r: cython.pointer(Reserve) = reserve_of(cython.address(stage_of(arg).actors[0].pool))
    min_nr: uint64_t = read_once(cython.address(r.min_nr), b"reserving.final")
    if read_once(cython.address(r.curr_nr), b"reserving.final") > (min_nr if min_nr else 1):
        return b"the reserve has more than it is to have"
    if read_once(cython.address(r.waiting[0]), b"reserving.final"):
        return b"somebody is still in the queue"
    if read_once(cython.address(r.granted), b"reserving.final"):
        return b"elements are promised to nobody"
    if read_once32(cython.address(r.lock), b"reserving.final"):
        return b"the reserve is still locked"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_all(arg: cython.p_void) -> cython.p_const_char:
    """Everybody gave back what it took: `param` elements and those that the backend got are all that there were."""
    stage: cython.pointer(Stage) = stage_of(arg)
    i: uint32_t
    nr: uint64_t = curr(stage)
    for i in range(3):
        nr += stage.actors[i].found[1]
    if nr != stage.param:
        return b"an element is lost, or there is one too many"
    if curr(stage) == 0:
        return b"all elements went to the backend and the reserve has none"
    return final_queue(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_depletion(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_reserve(e, memory, 1, 1, 0) == cython.NULL:
        return -1
    return play(e, final_conserved, take_and_post, give_what_comes, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_depletion_three(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_reserve(e, memory, 1, 1, 0) == cython.NULL:
        return -1
    return play(e, final_conserved, take_and_post, give_what_comes, take_and_give)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_wake(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_reserve(e, memory, 1, 0, 0) == cython.NULL:
        return -1
    return play(e, final_all, wait_and_give, give_one, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_zero(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_reserve(e, memory, 0, 0, 0)
    if stage == cython.NULL:
        return -1
    stage.param = 2
    return play(e, final_all, wait_and_give, give_two, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_bulk(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_reserve(e, memory, 3, 3, 0) == cython.NULL:
        return -1
    return play(e, final_all, wait_for_two, wait_for_two, cython.NULL)


register_scene(
    b"mempool.depletion",
    b"two threads of a process: one takes the last element and tells the other with a plain store; the other gives "
    b"it back: the reserve is full again or the element is still under way",
    b"I1",
    2,
    STAGE_BYTES,
    scene_depletion,
)
register_scene(
    b"mempool.depletion-three",
    b"as mempool.depletion, while another process takes and gives",
    b"I1",
    3,
    STAGE_BYTES,
    scene_depletion_three,
)
register_scene(
    b"mempool.wake",
    b"one comes for the only element while another gives it back: it has had it in the end",
    b"I2",
    2,
    STAGE_BYTES,
    scene_wake,
)
register_scene(
    b"mempool.zero",
    b"a pool without a minimum keeps one element, and whoever waits for it is woken",
    b"I3",
    2,
    STAGE_BYTES,
    scene_zero,
)
register_scene(
    b"mempool.bulk",
    b"two who take two of three at once: nobody waits for what another holds while it waits",
    b"I4",
    2,
    STAGE_BYTES,
    scene_bulk,
)
