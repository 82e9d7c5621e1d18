"""Scenarios of a store's index in which processes die: who puts, deletes, splits, and who recovers (storing.py has the
living)."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.storedying is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.scenarios.stage import (
    NR_FOUND,
    STAGE_BYTES,
    Actor,
    Stage,
    me,
    play,
    recover_both,
    recover_the_first,
    stage_of,
)
from cython.cimports.mempools.check.scenarios.storestage import (
    LINES,
    RETIRED,
    delete_a_left,
    end_left,
    fill_buckets,
    final_a,
    final_both,
    geometry,
    get,
    get_a,
    get_always,
    give_item,
    lines_of,
    lines_taken,
    put,
    put_a_left,
    set_store,
    split,
    store_wrong,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.hashcommit import index_lock, index_unlock
from cython.cimports.mempools.pools.hashsplit import index_split
from cython.cimports.mempools.pools.hashtable import FIRST_BUCKETS, free_slot, index_nr_buckets, stripe_of

register_module(cython.address(this_module_step))

_SLICE = cython.declare(uint64_t, 20_000_000)


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_line(arg: cython.p_void) -> cython.void:
    """For a full bucket."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    slot: cython.pointer(uint64_t) = cython.NULL
    while index_lock(pool, stripe_of(pool, LINES), _SLICE) != OK:
        pass
    actor.status = free_slot(pool, LINES, cython.address(slot))
    index_unlock(pool, stripe_of(pool, LINES))


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_line_died(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[2].pool)
    slot: cython.pointer(uint64_t) = cython.NULL
    if index_lock(pool, stripe_of(pool, LINES), 0) != OK:
        return b"a stripe's lock is still held"
    if lines_taken(stage) != lines_of(stage, LINES):
        return b"a line is in no chain, and cannot be had"
    if free_slot(pool, LINES, cython.address(slot)) != OK or lines_of(stage, LINES) != 1:
        return b"a line cannot be had after a death"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died(arg: cython.p_void) -> cython.p_const_char:
    """A's old value or its new one, whatever the reader saw."""
    stage: cython.pointer(Stage) = stage_of(arg)
    mark: uint64_t = get(cython.address(stage.actors[2]), 0)
    end_left(stage, 0, stage.actors[1].found[NR_FOUND - 1] != 0)
    if mark == 0:
        return b"a key is missing"
    if mark < stage.actors[2].found[0]:
        return b"a value that was seen is gone"
    if stage.actors[1].found[NR_FOUND - 1] == 0 and mark == 1:
        return b"a value was not replaced, though nobody died"
    return store_wrong(stage, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_delete_died(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    end_left(stage, 2, False)
    end_left(stage, 0, stage.actors[1].found[NR_FOUND - 1] != 0)
    return store_wrong(stage, get(cython.address(stage.actors[2]), 0) != 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died_twice(arg: cython.p_void) -> cython.p_const_char:
    """The old value or the new one."""
    stage: cython.pointer(Stage) = stage_of(arg)
    end_left(stage, 0, stage.actors[1].found[NR_FOUND - 1] != 0 or stage.actors[2].found[NR_FOUND - 1] != 0)
    return final_a(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_split_died(arg: cython.p_void) -> cython.p_const_char:
    """Split or not, nothing has been lost, and the next split ends well."""
    stage: cython.pointer(Stage) = stage_of(arg)
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[2].pool)
    wrong: cython.p_const_char = final_both(arg)
    if wrong == cython.NULL and index_nr_buckets(pool) == FIRST_BUCKETS:
        index_split(pool, geometry())
        wrong = final_both(arg)
    return wrong


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_put_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    e.may_die = 1
    return play(e, final_died, put_a_left, recover_the_first, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_delete_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_delete_died, delete_a_left, recover_the_first, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_writer_waits(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 2, 0, 0, 3) != 0:
        return -1
    e.may_die = 1
    return play(e, final_delete_died, delete_a_left, recover_the_first, put_a_left)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    e.max_steps = 6000  # three sweeps of a pool with 143 classes and 64 stripes
    return play(e, final_died_twice, put_a_left, recover_the_first, recover_both)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    if give_item(stage, 0, 0, 1, 2) != 0:
        return -1
    put(cython.address(stage.actors[0]), 1, 0, RETIRED)
    e.may_die = 1
    return play(e, final_split_died, split, recover_the_first, get_always)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashtable_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    fill_buckets(stage)
    e.may_die = 1
    return play(e, final_line_died, take_line, recover_the_first, cython.NULL)


register_scene(
    b"hashcommit.put-dies",
    b"a writer is killed anywhere and mended, beside a reader: the old value or the new one, and what was seen stays",
    b"I28",
    3,
    STAGE_BYTES,
    scene_hashcommit_put_dies,
)
register_scene(
    b"hashcommit.delete-dies",
    b"a process that deletes a key is killed anywhere and mended, beside a reader",
    b"I28",
    3,
    STAGE_BYTES,
    scene_hashcommit_delete_dies,
)
register_scene(
    b"hashcommit.writer-waits",
    b"a process that deletes a key is killed anywhere, perhaps with the lock that another writer waits for",
    b"I28",
    3,
    STAGE_BYTES,
    scene_hashcommit_writer_waits,
)
register_scene(
    b"hashcommit.dies-twice",
    b"a writer is killed anywhere, and so is its recovery; a third process mends and sweeps both",
    b"I28",
    3,
    STAGE_BYTES,
    scene_hashcommit_dies_twice,
)
register_scene(
    b"hashsplit.dies",
    b"a process that splits a bucket is killed anywhere and mended, beside a reader",
    b"I28",
    3,
    STAGE_BYTES,
    scene_hashsplit_dies,
)
register_scene(
    b"hashtable.dies",
    b"a process that takes a further line for a bucket is killed anywhere and mended: the line is the chain's, or nobody's",
    b"I28",
    2,
    STAGE_BYTES,
    scene_hashtable_dies,
)
