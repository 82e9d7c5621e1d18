"""Scenarios of a store's entry that is replaced if it is still what the caller has read (index_replace): beside a put, a
deletion, a split and compaction, and when the caller dies. What comes in is made of what was read, as by recompression."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.storereplacing is compiled code: run `make build` in a checkout, or install the wheel"
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
    recover_the_first,
    stage_of,
)
from cython.cimports.mempools.check.scenarios.storestage import (
    ITEM,
    LEFT,
    RETIRED,
    delete_a_left,
    end_item,
    end_left,
    geometry,
    get,
    get_a,
    give_item,
    let_go,
    move_a,
    own_item,
    put_a_left,
    set_store,
    split,
    store_wrong,
    take_key,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import copy, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import NOT_FOUND, OK, STALE, TIMED_OUT
from cython.cimports.mempools.pools.hashcommit import index_replace
from cython.cimports.mempools.pools.hashentry import ENTRY_BYTES, Found, Item, Key, entry_close, entry_walk
from cython.cimports.mempools.pools.hashindex import index_find
from cython.cimports.mempools.pools.hashtable import FIRST_BUCKETS
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin

register_module(cython.address(this_module_step))

_SLICE = cython.declare(uint64_t, 20_000_000)
_KEY = cython.declare(uint64_t, 16)  # bytes
_MADE = cython.declare(uint64_t, 0x10)  # in the mark of what is made of another value


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fill(actor: cython.pointer(Actor), words: cython.pointer(uint64_t)) -> cython.void:
    pinned: Pinned
    if zs_pin(cython.address(actor.pool), geometry(), actor.found[ITEM], cython.address(pinned)) != OK:
        engine_fail(b"an entry of a process's own cannot be pinned")
        return
    copy(pinned.object + ENTRY_BYTES + _KEY, words, 16, b"storereplacing.fill")
    zs_unpin(cython.address(actor.pool), cython.address(pinned))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def replace(actor: cython.pointer(Actor), how: cython.int) -> cython.int:
    """Key A's value gets the mark _MADE beside its own: OK, NOT_FOUND, STALE."""
    key: Key
    found: Found
    old: Item
    item: Item
    words: uint64_t[2]
    status: cython.int
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    own_item(actor, 0, cython.address(item))
    take_key(actor, cython.address(key), 0)
    status = index_find(pool, geometry(), cython.address(key), cython.address(found))
    if status == OK:
        status = entry_walk(
            pool, geometry(), cython.address(found), _KEY, 16, cython.cast(cython.p_char, words), cython.NULL
        )
        words[0] |= _MADE
        words[1] |= _MADE
        fill(actor, words)
        status = TIMED_OUT
        while status == TIMED_OUT:
            status = index_replace(
                pool,
                geometry(),
                cython.address(key),
                cython.address(item),
                found.word,
                _SLICE,
                cython.address(old),
            )
        entry_close(pool, geometry(), cython.address(found))
    if status == OK:
        let_go(actor, cython.address(old), how)
    elif status == NOT_FOUND or status == STALE:
        end_item(actor, cython.address(item))
    else:
        engine_fail(b"who replaces a value finds the index damaged")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def replace_a(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = replace(me(stage_of(arg)), RETIRED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def replace_a_left(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = replace(me(stage_of(arg)), LEFT)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_put(arg: cython.p_void) -> cython.p_const_char:
    """What was put stays, in its own form or the other."""
    stage: cython.pointer(Stage) = stage_of(arg)
    mark: uint64_t = get(cython.address(stage.actors[2]), 0)
    end_left(stage, 1, False)
    if mark & 0xF != 3:
        return b"a value that was put is gone: somebody has replaced it by what was made of an older one"
    if stage.actors[0].status != OK and stage.actors[0].status != STALE:
        return b"a key is missing"
    if mark & _MADE and stage.actors[0].status != OK:
        return b"a value was replaced, and who did it does not know"
    return store_wrong(stage, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_deleted(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    end_left(stage, 1, False)
    if get(cython.address(stage.actors[2]), 0) != 0:
        return b"a key that was deleted is there again: somebody has replaced its value"
    return store_wrong(stage, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_made(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status != OK or get(cython.address(stage.actors[2]), 0) != 1 | _MADE:
        return b"a value was not replaced, though it did not change"
    return store_wrong(stage, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died(arg: cython.p_void) -> cython.p_const_char:
    """The value, in the one form or the other; what was seen stays."""
    stage: cython.pointer(Stage) = stage_of(arg)
    mark: uint64_t = get(cython.address(stage.actors[2]), 0)
    end_left(stage, 0, stage.actors[1].found[NR_FOUND - 1] != 0)
    if mark & 0xF != 1:
        return b"a value is gone"
    if mark < stage.actors[2].found[0]:
        return b"a value that was seen is gone"
    return store_wrong(stage, 1)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_replace_put(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 1, 0, 0, 3) != 0:
        return -1
    return play(e, final_put, replace_a, put_a_left, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_replace_delete(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    return play(e, final_deleted, replace_a, delete_a_left, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_replace_split(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    return play(e, final_made, replace_a, split, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_replace_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 1
    return play(e, final_made, replace_a, move_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_replace_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    e.may_die = 1
    return play(e, final_died, replace_a_left, recover_the_first, get_a)


register_scene(
    b"hashcommit.replace-put",
    b"a value is replaced by what was made of it, beside a put: what was put stays",
    b"",
    2,
    STAGE_BYTES,
    scene_replace_put,
)
register_scene(
    b"hashcommit.replace-delete",
    b"a value is replaced by what was made of it, beside a deletion: the key is gone",
    b"",
    2,
    STAGE_BYTES,
    scene_replace_delete,
)
register_scene(
    b"hashcommit.replace-split",
    b"a value is replaced by what was made of it, while a split takes it to another bucket",
    b"",
    2,
    STAGE_BYTES,
    scene_replace_split,
)
register_scene(
    b"hashcommit.replace-move",
    b"a value is replaced by what was made of it, beside compaction, which leaves alone what is read",
    b"",
    2,
    STAGE_BYTES,
    scene_replace_move,
)
register_scene(
    b"hashcommit.replace-dies",
    b"who replaces a value by what was made of it is killed anywhere and mended, beside a reader",
    b"I28",
    3,
    STAGE_BYTES,
    scene_replace_dies,
)
