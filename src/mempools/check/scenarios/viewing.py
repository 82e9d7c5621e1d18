"""Scenarios of two small parts: views of memory beside its free, and cells of gauges.

words[0] is the count of views, words[1] says that the memory is freed, words[2] and words[4] are what the two views write to.
The cell is at words[0] likewise. Its numbers fill both halves of a word, so that a torn one shows.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.viewing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
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
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.gaugecell import cell_claim, cell_own, cell_owner, cell_read, cell_set_at
from cython.cimports.mempools.parts.viewcount import VIEWS_FREED, view_begin, view_end, views_end

register_module(cython.address(this_module_step))

_ONE = cython.declare(uint64_t, 0x100000001)
_CLAIMING = cython.declare(uint64_t, 8 * 0x100000001)
_DEAD = cython.declare(uint64_t, 7 * 0x100000001)  # the owner before, and its value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def word(stage: cython.pointer(Stage), i: uint64_t) -> cython.p_char:
    return cython.cast(cython.p_char, stage.words + i)


# ---- views


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def view(arg: cython.p_void) -> cython.void:
    """Plain accesses through a view, and in `free`: any two that may meet are a race."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if not view_begin(stage.words):
        return
    if read_block(word(stage, 1)):
        engine_fail(b"a view of freed memory")
    write_block(word(stage, 1 + slot_of(me(stage))), 1)
    view_end(stage.words)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    if views_end(stage.words) == 0:
        read_block(word(stage, 2))
        read_block(word(stage, 4))
        write_block(word(stage, 1), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_views(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if read_once(stage.words, b"viewing.final") != (VIEWS_FREED if read_block(word(stage, 1)) else 0):
        return b"views are counted that nobody has, or not counted"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_views(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_stage(e, memory)
    return play(e, final_views, view, free, view)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_frees(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_stage(e, memory)
    return play(e, final_views, view, free, free)


# ---- cells


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_twice(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    cell_set_at(stage.words, _ONE, _ONE)
    cell_set_at(stage.words, 2 * _ONE, 2 * _ONE)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    value: uint64_t = 0
    at: uint64_t = 0
    cell_read(stage.words, cython.address(value), cython.address(at))
    if value % _ONE or at % _ONE:
        engine_fail(b"half a number")
    elif value < at:
        engine_fail(b"a time without its value")
    elif value > at + _ONE:
        engine_fail(b"a value with the time of a set before the last")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_cell(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_stage(e, memory)
    return play(e, cython.NULL, set_twice, look, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_over(arg: cython.p_void) -> cython.void:
    """The value that the dead one left goes on in the claimer's, whose own is 1."""
    stage: cython.pointer(Stage) = stage_of(arg)
    number: uint64_t = slot_of(me(stage)) * _ONE
    seen: uint64_t = cell_owner(stage.words)
    value: uint64_t = 0
    at: uint64_t = 0
    if seen != _DEAD or not cell_claim(stage.words, seen, number + _CLAIMING):
        return
    me(stage).found[0] = 1
    cell_read(stage.words, cython.address(value), cython.address(at))
    cell_set_at(stage.words, value + _ONE, 0)
    cell_own(stage.words, number)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_at_owner(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    value: uint64_t = 0
    at: uint64_t = 0
    owner: uint64_t = cell_owner(stage.words)
    cell_read(stage.words, cython.address(value), cython.address(at))
    if owner % _ONE:
        engine_fail(b"half a number")
    elif owner < _DEAD and value != _DEAD + _ONE:
        engine_fail(b"a cell has a new owner, and not yet its value")
    elif value < _DEAD:
        engine_fail(b"what the dead one left is not there")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_taken(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].found[0] + stage.actors[1].found[0] != 1:
        return b"a cell is taken over by one"
    if read_once(stage.words + 1, b"viewing.final") != _DEAD + _ONE:
        return b"the value that the dead one left was lost, or counted twice"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_take_over(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    stage.words[0] = _DEAD
    stage.words[1] = _DEAD
    return play(e, final_taken, take_over, take_over, look_at_owner)


register_scene(
    b"viewcount.views",
    b"two views and a free: the free is refused while one is open, a view of freed memory always",
    b"",
    3,
    4096,
    scene_views,
)
register_scene(
    b"viewcount.frees",
    b"two frees and a view: one of the two frees",
    b"",
    3,
    4096,
    scene_frees,
)
register_scene(
    b"gaugecell.set",
    b"a gauge is set twice beside a reader: a time comes with its value, a value with its time or that before",
    b"",
    2,
    4096,
    scene_cell,
)
register_scene(
    b"gaugecell.take-over",
    b"two processes want a dead one's cell: one has it, and the value goes on in its own",
    b"",
    3,
    4096,
    scene_take_over,
)
