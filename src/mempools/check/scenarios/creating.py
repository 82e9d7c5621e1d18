"""Scenarios of an arena that is made, named and attached.

The constant part of its superblock is there from the start: it is written with plain stores, which nobody can read before
the file has a name. The name is a letter in a mailbox, for the system call that gives it is ordered as a post.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.creating is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_await_end, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    post,
    recover,
    set_file,
    set_stage,
    slot_of,
    stage_of,
    take_post,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.chunks import pool_known, pool_load
from cython.cimports.mempools.layout.pages import pages_format
from cython.cimports.mempools.layout.proctable import slot_set_live
from cython.cimports.mempools.layout.superblock import superblock_publish
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import OK

register_module(cython.address(this_module_step))

_PAGES = cython.declare(uint64_t, 10)  # two that can be had


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def enter(actor: cython.pointer(Actor)) -> cython.void:
    """Loads the map of pages, and registers."""
    if (
        pool_load(cython.address(actor.arena), 0, cython.address(actor.pages)) != OK
        or pool_known(cython.address(actor.pages)) != 1
    ):
        engine_fail(b"an arena that has a name is not whole")
    slot_set_live(cython.address(actor.arena.slots[slot_of(actor)]), 0, 100 + slot_of(actor), 1, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def create(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if pages_format(cython.address(actor.arena)) != OK:
        engine_fail(b"an arena cannot be made")
    superblock_publish(actor.arena.super)
    post(stage_of(arg).words, 1)
    enter(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def attach(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if take_post(stage_of(arg).words) == 0:
        return  # there is no such file yet
    if read_once(cython.address(actor.arena.super.ready), b"creating.ready") == 0:
        engine_fail(b"an arena has a name before it is finished")
    enter(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def attach_and_recover(arg: cython.p_void) -> cython.void:
    """As attach, and sweeps the creator, if it died with the arena made."""
    dead: cython.bint = engine_await_end(0) != 0
    if take_post(stage_of(arg).words):
        attach(arg)
        if dead:
            recover(me(stage_of(arg)), 1)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_whole(arg: cython.p_void) -> cython.p_const_char:
    """If the file got its name: the arena is sound, and its pages are free."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    if read_once(stage.words, b"creating.final") == 0:
        return cython.NULL
    if pool_load(cython.address(actor.arena), 0, cython.address(actor.pages)) != OK:
        return b"an arena that has a name is not whole"
    if nr_owned(cython.address(actor.pages), 0) != 2:
        return b"a page is lost"
    return arena_wrong(stage, actor)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_attach(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_file(stage, _PAGES) != 0:
        return -1
    return play(e, final_whole, create, attach, attach)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_create_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_file(stage, _PAGES) != 0:
        return -1
    e.may_die = 1
    return play(e, final_whole, create, attach, attach_and_recover)


register_scene(
    b"superblock.attach",
    b"an arena is made and named while two processes attach it: it is whole, or not there",
    b"",
    3,
    STAGE_BYTES,
    scene_attach,
)
register_scene(
    b"superblock.create-dies",
    b"a process that makes an arena is killed anywhere while two attach it: it is whole, or not there; its slot is swept",
    b"I28",
    3,
    STAGE_BYTES,
    scene_create_dies,
)
