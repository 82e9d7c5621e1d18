"""Scenarios of a store's values that have parts: readers beside who replaces, deletes, dies.

Key A has a value in two objects, one that fills a page and one of 32 bytes; its mark stands in both. What a reader does before it
comes to a part, and a writer before it retires one, is what they do with a value without parts (storing.py), so it has been done.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.storeparts is compiled code: run `make build` in a checkout, or install the wheel"
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
    slot_of,
    stage_of,
)
from cython.cimports.mempools.check.scenarios.storestage import (
    ITEM,
    LEFT_ITEM,
    end_item,
    geometry,
    set_store,
    store_wrong,
    take_key,
    value_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import copy, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import OK, STALE, TIMED_OUT
from cython.cimports.mempools.pools.hashcommit import index_put
from cython.cimports.mempools.pools.hashentry import (
    ENTRY_BYTES,
    KEY_BYTES,
    SMALL_OBJECT,
    Found,
    Item,
    Key,
    entry_close,
    entry_new,
    entry_walk,
)
from cython.cimports.mempools.pools.hashindex import index_find
from cython.cimports.mempools.pools.hashtable import FIRST_BUCKETS
from cython.cimports.mempools.pools.zsalloc import zs_alloc
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin

register_module(cython.address(this_module_step))

_SLICE = cython.declare(uint64_t, 20_000_000)
_KEY = cython.declare(uint64_t, 16)  # bytes
_VALUE = cython.declare(uint64_t, 4072)  # of which the part has 24
_PART = cython.declare(uint64_t, 32)
_data = cython.declare(uint64_t[509])
_open = cython.declare(Found)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_item(item: cython.pointer(Item), handle: uint64_t) -> cython.void:
    item.handle = handle
    item.parts = 1
    item.at = ENTRY_BYTES
    item.size = SMALL_OBJECT
    item.nr_key = _KEY
    item.nr_stored = item.nr_logical = _VALUE
    item.kind = KEY_BYTES
    item.expiry = item.outside = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_value(stage: cython.pointer(Stage), n: cython.int, mark: uint64_t) -> cython.int:
    """CPU 0 has an entry of its own for A: 0 or -1."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    key: Key
    item: Item
    take_key(actor, cython.address(key), 0)
    _data[0] = _data[508] = value_of(0, mark)
    if (
        entry_new(
            cython.address(actor.pool),
            geometry(),
            cython.address(key),
            0,
            _VALUE,
            cython.cast(cython.p_char, _data),
            _VALUE,
            0,
            SMALL_OBJECT,
            cython.address(item),
            _SLICE,
        )
        != OK
        or item.parts != 1
    ):
        return -1
    actor.found[ITEM + n] = item.handle
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_value(actor: cython.pointer(Actor), n: cython.int) -> cython.void:
    """What goes out stays the actor's own, in found[LEFT_ITEM]."""
    key: Key
    old: Item
    item: Item
    status: cython.int = TIMED_OUT
    take_item(cython.address(item), actor.found[ITEM + n])
    take_key(actor, cython.address(key), 0)
    while status == TIMED_OUT:
        status = index_put(
            cython.address(actor.pool),
            geometry(),
            cython.address(key),
            cython.address(item),
            False,
            0,
            _SLICE,
            cython.address(old),
        )
    if status != OK:
        engine_fail(b"a writer finds the index damaged")
    else:
        actor.found[LEFT_ITEM] = old.handle


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_value(actor: cython.pointer(Actor)) -> cython.void:
    item: Item
    take_item(cython.address(item), actor.found[LEFT_ITEM])
    if item.handle:
        end_item(actor, cython.address(item))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_parts(e: cython.pointer(Engine), memory: cython.p_char) -> cython.pointer(Stage):
    """A's value is 1, and CPU 0 has the value 2 to bring in."""
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    item: Item
    if stage == cython.NULL or give_value(stage, 0, 1) != 0:
        return cython.NULL
    put_value(actor, 0)
    item.handle = actor.found[LEFT_ITEM]
    item.parts = 0
    end_item(actor, cython.address(item))
    actor.found[LEFT_ITEM] = 0
    stage.param = ~cython.cast(uint64_t, 0)  # it is none of the class that others of the store are of
    return stage if give_value(stage, 0, 2) == 0 else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_reader(e: cython.pointer(Engine), memory: cython.p_char) -> cython.int:
    """CPU 1 has opened the value 1, CPU 0 has brought in the value 2 and not retired the other yet."""
    stage: cython.pointer(Stage) = set_parts(e, memory)
    key: Key
    if stage == cython.NULL:
        return -1
    take_key(cython.address(stage.actors[1]), cython.address(key), 0)
    if index_find(cython.address(stage.actors[1].pool), geometry(), cython.address(key), cython.address(_open)) != OK:
        return -1
    put_value(cython.address(stage.actors[0]), 0)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def walk(actor: cython.pointer(Actor), found: cython.pointer(Found)) -> cython.int:
    """The mark of an open value, which is closed; STALE: a part has ended."""
    words: uint64_t[2]
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    status: cython.int = entry_walk(pool, geometry(), found, _KEY, 8, cython.cast(cython.p_char, words), cython.NULL)
    if status == OK:
        status = entry_walk(
            pool,
            geometry(),
            found,
            _KEY + _VALUE - 8,
            8,
            cython.cast(cython.p_char, cython.address(words[1])),
            cython.NULL,
        )
    entry_close(pool, geometry(), found)
    if status != OK and status != STALE:
        engine_fail(b"a reader finds a value damaged")
    elif status == OK and (words[0] != words[1] or words[0] >> 8 != value_of(0, 0) >> 8):
        engine_fail(b"a reader sees what is no value of its key, or parts of two")
    return words[0] & 0xFF if status == OK else status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_mark(actor: cython.pointer(Actor)) -> uint64_t:
    """0 if there is none."""
    key: Key
    found: Found
    take_key(actor, cython.address(key), 0)
    if index_find(cython.address(actor.pool), geometry(), cython.address(key), cython.address(found)) != OK:
        return 0
    return walk(actor, cython.address(found))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def use_again(actor: cython.pointer(Actor), nbytes: uint64_t) -> cython.void:
    """Another object begins, maybe where one has just ended."""
    handle: uint64_t = 0
    rubbish: uint64_t = 0x5A5A5A5A5A5A5A5A
    pinned: Pinned
    if (
        zs_alloc(cython.address(actor.pool), geometry(), nbytes, slot_of(actor), cython.address(handle), _SLICE) != OK
        or zs_pin(cython.address(actor.pool), geometry(), handle, cython.address(pinned)) != OK
    ):
        engine_fail(b"an object cannot be had, though there is room")
        return
    copy(pinned.object + nbytes - 8, cython.address(rubbish), 8, b"storeparts.reuse")
    zs_unpin(cython.address(actor.pool), cython.address(pinned))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def replace(arg: cython.p_void) -> cython.void:
    put_value(me(stage_of(arg)), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_part_and_use(arg: cython.p_void) -> cython.void:
    """The old value's part ends, and its place is used again."""
    item: Item
    item.handle = _open.next
    item.parts = item.at = 0
    end_item(me(stage_of(arg)), cython.address(item))
    use_again(me(stage_of(arg)), _PART)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def walk_old(arg: cython.p_void) -> cython.void:
    found: Found = _open
    walk(me(stage_of(arg)), cython.address(found))


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_replaced(arg: cython.p_void) -> cython.p_const_char:
    item: Item
    item.handle = stage_of(arg).actors[0].found[LEFT_ITEM]
    item.parts = 0
    end_item(cython.address(stage_of(arg).actors[0]), cython.address(item))
    if read_mark(cython.address(stage_of(arg).actors[2])) != 2:
        return b"a value was not replaced"
    return store_wrong(stage_of(arg), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[1].found[NR_FOUND - 1] == 0:
        end_value(cython.address(stage.actors[0]))
    if read_mark(cython.address(stage.actors[2])) == 0:
        return b"a key is missing"
    return store_wrong(stage, 1)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_walk(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play(e, final_replaced, end_part_and_use, walk_old, cython.NULL) if set_reader(e, memory) == 0 else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_parts(e, memory) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_died, replace, recover_the_first, cython.NULL)


register_scene(
    b"hashentry.walk",
    b"a value with parts ends while another reads it: the reader gets it whole, or finds a part gone",
    b"I23",
    2,
    STAGE_BYTES,
    scene_walk,
)
register_scene(
    b"hashentry.dies",
    b"who replaces a value with parts is killed anywhere: the old value or the new one, all objects once",
    b"I28",
    2,
    STAGE_BYTES,
    scene_dies,
)
