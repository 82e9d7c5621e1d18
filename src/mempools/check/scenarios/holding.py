"""Scenarios of share records themselves: taken by two at once, and with holds in a later word of their lanes."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.holding is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.sharing import (
    drop,
    final_free,
    final_not_shared,
    just_drop,
    redeem,
    set_last_holder,
    set_pool_of,
    set_second,
    share_own,
)
from cython.cimports.mempools.check.scenarios.stage import STAGE_BYTES, Actor, Stage, me, play, stage_of
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.shares import Share, share_drop, share_ticket

_IN_WORD = cython.declare(uint64_t, 7)  # lanes


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fill_word_and_send(arg: cython.p_void) -> cython.void:
    """Joins until the first word of lanes is full, makes a ticket, in the second, and drops its holds. It gives up where the
    record ends: other scenarios are about that."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    holds: Share[7]
    nr: uint64_t = 0
    i: uint64_t
    while nr < _IN_WORD:
        if redeem(actor) != OK:
            break
        holds[nr] = actor.held
        nr += 1
    if nr and share_ticket(cython.address(actor.pool), cython.address(holds[0]), cython.address(actor.held)) == OK:
        actor.found[0] = 1
    for i in range(nr):
        if share_drop(cython.address(actor.pool), cython.address(holds[i]), False) != OK:
            engine_fail(b"a holder cannot drop its hold")


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one_shared(arg: cython.p_void) -> cython.p_const_char:
    """The record is one block's."""
    stage: cython.pointer(Stage) = stage_of(arg)
    wrong: cython.p_const_char
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"of two that share a block, and there is one record, not exactly one does"
    wrong = final_not_shared(cython.address(stage.actors[0]))
    if wrong == cython.NULL:
        wrong = final_not_shared(cython.address(stage.actors[1]))
    return wrong if wrong != cython.NULL else final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_sent(arg: cython.p_void) -> cython.p_const_char:
    """The ticket is worth a hold."""
    actor: cython.pointer(Actor) = cython.address(stage_of(arg).actors[1])
    if actor.found[0]:
        actor.ticket = actor.held
        if redeem(actor) != OK:
            return b"a ticket of a living process was worth nothing"
        drop(actor)
    return final_free(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_create_both(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 2)
    if stage == cython.NULL or set_second(stage) != 0:
        return -1
    return play(e, final_one_shared, share_own, share_own, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_later_word(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_last_holder(stage, 1) != 0:
        return -1
    return play(e, final_sent, just_drop, fill_word_and_send, cython.NULL)


register_scene(
    b"shares.create-both",
    b"two processes share a block each, and there is one record: one of them gets it",
    b"",
    2,
    STAGE_BYTES,
    scene_create_both,
)
register_scene(
    b"shares.later-word",
    b"a process joins until a word of lanes is full, sends a ticket and drops, while the last holder drops: the ticket counts",
    b"",
    2,
    STAGE_BYTES,
    scene_later_word,
)
