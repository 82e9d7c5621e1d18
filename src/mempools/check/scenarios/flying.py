"""Scenarios of the table of flights: processes that ask for one value, computers that die or fail, circles of waits.

What is computed lies in the first mailbox, written and read with plain accesses by whoever has the flight: if two computed at
the same time, or one did not see what the last one stored, that would be a race.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.flying is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    STAGE_BYTES,
    Stage,
    arena_wrong,
    me,
    play,
    read_block,
    recover_both,
    recover_the_first,
    set_arena,
    set_pool,
    set_stage,
    stage_of,
    write_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.structs import KIND_FLIGHTS
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, INVALID, OK, TIMED_OUT
from cython.cimports.mempools.pools.flights import (
    FLIGHTS_SHIFT,
    flights_check,
    flights_claim,
    flights_finish,
    flights_root_nbytes,
    flights_wait,
)

register_module(cython.address(this_module_step))

_A = cython.declare(uint64_t, 0x1111111111111111)
_B = cython.declare(uint64_t, 0x2222222222222222)
_MARK = cython.declare(uint64_t, 0x6161616161616161)
_COMPUTED = cython.declare(cython.int, 0)  # of Actor.found: how often; how many circles were refused
_REFUSED = cython.declare(cython.int, 1)


# ---- what bodies are made of: what computing.py does


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim(
    stage: cython.pointer(Stage), hash: uint64_t, outer: uint64_t, ticket: cython.pointer(uint64_t)
) -> cython.int:
    """Until the flight is the caller's, or the wait is refused."""
    status: cython.int
    while True:
        status = flights_claim(cython.address(me(stage).pool), hash, outer, FOREVER, ticket)
        if status != BUSY:
            if status != OK and status != INVALID:
                engine_fail(b"a flight cannot be claimed")
            return status
        status = flights_wait(cython.address(me(stage).pool), ticket[0], FOREVER)
        if status != OK and status != TIMED_OUT:
            engine_fail(b"a flight cannot be waited for")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish(stage: cython.pointer(Stage), ticket: uint64_t) -> cython.void:
    if flights_finish(cython.address(me(stage).pool), ticket, FOREVER) != OK:
        engine_fail(b"a flight that a process has claimed is not its own")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def value_of(stage: cython.pointer(Stage)) -> cython.p_char:
    return cython.cast(cython.p_char, stage.words)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_or_compute(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    ticket: uint64_t = 0
    if claim(stage, _A, 0, cython.address(ticket)) != OK:
        engine_fail(b"a wait is refused, and there is no circle")
        return
    if read_block(value_of(stage)) != _MARK:
        write_block(value_of(stage), _MARK)
        me(stage).found[_COMPUTED] += 1
    finish(stage, ticket)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fail_to_compute(arg: cython.p_void) -> cython.void:
    """compute() raises."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ticket: uint64_t = 0
    claim(stage, _A, 0, cython.address(ticket))
    read_block(value_of(stage))
    finish(stage, ticket)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def need(stage: cython.pointer(Stage), hash: uint64_t) -> cython.void:
    """A computation under way asks for another value."""
    ticket: uint64_t = 0
    if claim(stage, hash, me(stage).address, cython.address(ticket)) == OK:
        finish(stage, ticket)
    else:
        me(stage).found[_REFUSED] = 1
    finish(stage, me(stage).address)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def need_a(arg: cython.p_void) -> cython.void:
    need(stage_of(arg), _A)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def need_b(arg: cython.p_void) -> cython.void:
    need(stage_of(arg), _B)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def compute(arg: cython.p_void) -> cython.void:
    """What was claimed before."""
    stage: cython.pointer(Stage) = stage_of(arg)
    write_block(value_of(stage), _MARK)
    finish(stage, me(stage).address)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_and_ask(arg: cython.p_void) -> cython.void:
    recover_the_first(arg)
    get_or_compute(arg)


# ---- how it must end


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_empty(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    nr: uint64_t = 0
    wrong: uint64_t = 0
    # CPU 2's process lives to the end in every scene.
    if flights_check(cython.address(stage.actors[2].pool), 0, cython.address(nr), cython.address(wrong)) != OK:
        return b"the table's lock is still held"
    if nr:
        return b"a flight has not ended"
    if wrong:
        return b"the table contradicts itself"
    return arena_wrong(stage, cython.address(stage.actors[2]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nr_found(stage: cython.pointer(Stage), what: cython.int) -> uint64_t:
    return stage.actors[0].found[what] + stage.actors[1].found[what] + stage.actors[2].found[what]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_once(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if nr_found(stage, _COMPUTED) != 1:
        return b"the value was not computed exactly once"
    return final_empty(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_there(arg: cython.p_void) -> cython.p_const_char:
    if read_block(value_of(stage_of(arg))) != _MARK:
        return b"the value is not there"
    return final_empty(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_circle(arg: cython.p_void) -> cython.p_const_char:
    if nr_found(stage_of(arg), _REFUSED) > 1:
        return b"both waits were refused, though one ended the circle"
    return final_empty(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_refused(arg: cython.p_void) -> cython.p_const_char:
    if nr_found(stage_of(arg), _REFUSED) != 1:
        return b"a computation was not told that it would wait for itself"
    return final_empty(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_table(e: cython.pointer(Engine), memory: cython.p_char) -> cython.int:
    """A table of two flights."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    index: uint32_t = 0
    if set_arena(stage, 12, 3) != 0:
        return -1
    return set_pool(stage, KIND_FLIGHTS, FLIGHTS_SHIFT, 0, 0, flights_root_nbytes(2), cython.address(index))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_once(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory) != 0:
        return -1
    e.timeouts = 0
    return play(e, final_once, get_or_compute, get_or_compute, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_fails(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory) != 0:
        return -1
    e.timeouts = 0
    return play(e, final_once, fail_to_compute, get_or_compute, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_claimed(stage: cython.pointer(Stage), actor: uint32_t, hash: uint64_t) -> cython.int:
    """A computation that is under way from the start."""
    return flights_claim(
        cython.address(stage.actors[actor].pool), hash, 0, 0, cython.address(stage.actors[actor].address)
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_circle(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if (
        set_table(e, memory) != 0
        or set_claimed(stage_of(e.arg), 0, _A) != OK
        or set_claimed(stage_of(e.arg), 1, _B) != OK
    ):
        return -1
    e.timeouts = 0
    return play(e, final_circle, need_b, need_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_itself(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory) != 0 or set_claimed(stage_of(e.arg), 0, _A) != OK:
        return -1
    e.timeouts = 0
    return play(e, final_refused, need_a, get_or_compute, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_claimer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory) != 0:
        return -1
    e.may_die = 1
    return play(e, final_there, get_or_compute, recover_and_ask, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_computer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory) != 0 or set_claimed(stage_of(e.arg), 0, _A) != OK:
        return -1
    e.may_die = 1
    return play(e, final_there, compute, recover_the_first, get_or_compute)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_mend_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory) != 0:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_empty, get_or_compute, recover_the_first, recover_both)


register_scene(
    b"flights.once",
    b"two processes ask for a value that is not there: one computes it, the other waits and sees it, however it is woken",
    b"I2",
    2,
    STAGE_BYTES,
    scene_once,
)
register_scene(
    b"flights.fails",
    b"a computation fails while another process waits for it: that one computes",
    b"I2",
    2,
    STAGE_BYTES,
    scene_fails,
)
register_scene(
    b"flights.circle",
    b"two processes compute two values, and each asks for the other: one at most is told, and nobody sleeps for ever",
    b"I2",
    2,
    STAGE_BYTES,
    scene_circle,
)
register_scene(
    b"flights.itself",
    b"a computation asks for its own value, while another process waits for that: the first is told, the other computes",
    b"I2",
    2,
    STAGE_BYTES,
    scene_itself,
)
register_scene(
    b"flights.claimer-dies",
    b"a process is killed anywhere from the claim of a flight to its end: another one computes after its recovery",
    b"I2 I28",
    2,
    STAGE_BYTES,
    scene_claimer_dies,
)
register_scene(
    b"flights.computer-dies",
    b"a process is killed anywhere from the value to the end of its flight, while another waits: that one computes or sees it",
    b"I2 I28",
    3,
    STAGE_BYTES,
    scene_computer_dies,
)
register_scene(
    b"flights.mend-dies",
    b"the computing process is killed, and the one that recovers it: the second recovery ends the flight",
    b"I28",
    3,
    STAGE_BYTES,
    scene_mend_dies,
)
