"""Scenarios of a store's index: readers beside writers, compaction and growth, writers beside each other, processes that die.

All keys fall into bucket 0; one split moves A, and leaves B. A key is two equal words, a value two equal words that say whose it is.
Entries are objects of a class with two slots a zspage, whose headers say that they have 48 bytes, so that a move is a few steps
(see zsstage.py). What a writer brings in has been made before, so that there is little beside the index to look at.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.storing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_cpu, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    NR_FOUND,
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    play,
    recover_both,
    recover_the_first,
    set_arena,
    set_pool,
    set_stage,
    slot_of,
    stage_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_STORE
from cython.cimports.mempools.machine.atomics import copy, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, NOT_FOUND, OK, TIMED_OUT
from cython.cimports.mempools.pools.hashcommit import index_delete, index_put
from cython.cimports.mempools.pools.hashentry import (
    ENTRY_BYTES,
    KEY_BYTES,
    Found,
    Item,
    Key,
    entry_close,
    entry_new,
    entry_retire,
    entry_walk,
)
from cython.cimports.mempools.pools.hashindex import index_find, index_key
from cython.cimports.mempools.pools.hashscan import (
    SCAN_END,
    IndexReport,
    index_check_objects,
    index_check_stripe,
    index_scan,
)
from cython.cimports.mempools.pools.hashsplit import index_split
from cython.cimports.mempools.pools.hashtable import (
    FIRST_BUCKETS,
    STORE_CHAIN,
    grow_buckets,
    index_nr_buckets,
    index_root_nbytes,
)
from cython.cimports.mempools.pools.zsalloc import zs_alloc
from cython.cimports.mempools.pools.zscompact import move_locked
from cython.cimports.mempools.pools.zsgeometry import Geometry, class_of, geometry_of
from cython.cimports.mempools.pools.zsmend import ClassReport, report_wrong, zs_check
from cython.cimports.mempools.pools.zspage import class_lock, class_unlock, regroup_locked, zspage_of
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zstable import (
    ZS_SHIFT,
    cell_slot,
    cell_zspage,
    header_of,
    index_of,
    zs_cell,
    zs_make,
)

register_module(cython.address(this_module_step))

_KEY = cython.declare(uint64_t, 16)  # bytes
_VALUE = cython.declare(uint64_t, 16)
_FULL = cython.declare(uint64_t, 1968)  # bytes of a value for an object of 2,000 bytes
_SLICE = cython.declare(uint64_t, 20_000_000)
_PAGES = cython.declare(uint64_t, 12)  # of the pool: a segment of buckets, three pages of pins, zspages
_ROOT_PAGES = cython.declare(uint64_t, (index_root_nbytes() + 4095) // 4096)
_ITEM = cython.declare(cython.int, 1)  # Actor.found: handles of the two entries that the actor may bring in
_keys = cython.declare(uint64_t[4])
_data = cython.declare(uint64_t[256])


# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def geometry() -> cython.pointer(Geometry):
    return geometry_of(STORE_CHAIN)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def class_() -> uint64_t:
    return class_of(geometry(), 2000)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def shorten(pool: cython.pointer(PoolRef), handle: uint64_t) -> cython.void:
    """The header says that the object has 48 bytes."""
    word: uint64_t = read_once(zs_cell(pool, index_of(handle)), b"storing.shorten")
    d = zspage_of(pool, geometry(), class_(), cell_zspage(word))
    write_once(
        header_of(pool, geometry(), d, read_once(cython.address(d.word), b"storing.shorten"), cell_slot(word)),
        index_of(handle) << 32 | (ENTRY_BYTES + _KEY + _VALUE) << 1 | 1,
        b"storing.shorten",
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_key(actor: cython.pointer(Actor), which: cython.int, moves: uint64_t) -> cython.void:
    """A key of bucket 0 that a split moves, or does not."""
    key: Key
    _keys[2 * which] = (0x61 + cython.cast(uint64_t, which)) << 40
    while True:
        _keys[2 * which] += 1
        _keys[2 * which + 1] = _keys[2 * which]
        take_key(actor, cython.address(key), which)
        if key.hash % FIRST_BUCKETS == 0 and key.hash // FIRST_BUCKETS & 1 == moves:
            return


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_item(actor: cython.pointer(Actor), which: cython.int, mark: uint64_t, item: cython.pointer(Item)) -> cython.int:
    """An entry of the actor's own: 0 or -1."""
    key: Key
    take_key(actor, cython.address(key), which)
    _data[0] = _data[1] = value_of(which, mark)
    if (
        entry_new(
            cython.address(actor.pool),
            geometry(),
            cython.address(key),
            0,
            _VALUE,
            cython.cast(cython.p_char, _data),
            _FULL,
            item,
            FOREVER,
        )
        != OK
    ):
        return -1
    shorten(cython.address(actor.pool), item.handle)
    item.nr_stored = _VALUE
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_item(stage: cython.pointer(Stage), cpu: cython.int, n: cython.int, which: cython.int, mark: uint64_t) -> cython.int:
    item: Item
    if new_item(cython.address(stage.actors[cpu]), which, mark, cython.address(item)) != 0:
        return -1
    stage.actors[cpu].found[_ITEM + n] = item.handle
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_store(e: cython.pointer(Engine), memory: cython.p_char) -> cython.pointer(Stage):
    """A store that has key A, with the value 1. All processes have their page of pins."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[0].pool)
    index: uint32_t = 0
    i: cython.int
    old: Item
    item: Item
    key: Key
    found: Found
    if set_arena(stage, 8 + _ROOT_PAGES + _PAGES + 1, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_STORE, ZS_SHIFT, _PAGES << ZS_SHIFT, 0, index_root_nbytes(), cython.address(index)) != 0:
        return cython.NULL
    if zs_make(pool, STORE_CHAIN) != OK or grow_buckets(pool) != OK:
        return cython.NULL
    find_key(cython.address(stage.actors[0]), 0, 1)
    find_key(cython.address(stage.actors[0]), 1, 0)
    take_key(cython.address(stage.actors[0]), cython.address(key), 0)
    if (
        new_item(cython.address(stage.actors[0]), 0, 1, cython.address(item)) != 0
        or index_put(
            pool, geometry(), cython.address(key), cython.address(item), False, FOREVER, cython.address(old)
        )
        != OK
    ):
        return cython.NULL
    for i in range(3):
        if (
            index_find(
                cython.address(stage.actors[i].pool), geometry(), cython.address(key), cython.address(found)
            )
            != OK
        ):
            return cython.NULL
        entry_close(cython.address(stage.actors[i].pool), geometry(), cython.address(found))
    return stage


# ---- what bodies are made of: what objects/storeindex.py does


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_key(actor: cython.pointer(Actor), key: cython.pointer(Key), which: cython.int) -> cython.void:
    data: cython.p_char = cython.cast(cython.p_char, cython.address(_keys[2 * which]))
    if index_key(cython.address(actor.pool), key, data, _KEY, KEY_BYTES) != OK:
        engine_fail(b"the store has no index")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def value_of(which: cython.int, mark: uint64_t) -> uint64_t:
    return _keys[2 * which] << 8 | mark


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_item(actor: cython.pointer(Actor), item: cython.pointer(Item)) -> cython.void:
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = entry_retire(cython.address(actor.pool), geometry(), item, _SLICE)
    if status != OK:
        engine_fail(b"a writer cannot retire the entry that went out")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put(actor: cython.pointer(Actor), which: cython.int, n: cython.int, if_absent: cython.bint) -> cython.int:
    """The actor's n-th entry: OK, BUSY if there was one and must not be."""
    key: Key
    old: Item
    item: Item
    status: cython.int = TIMED_OUT
    item.handle = actor.found[_ITEM + n]
    item.parts = 0
    item.at = ENTRY_BYTES
    item.nr_key = _KEY
    item.nr_stored = item.nr_logical = _VALUE
    take_key(actor, cython.address(key), which)
    while status == TIMED_OUT:
        status = index_put(
            cython.address(actor.pool),
            geometry(),
            cython.address(key),
            cython.address(item),
            if_absent,
            _SLICE,
            cython.address(old),
        )
    if status == BUSY:
        end_item(actor, cython.address(item))
    elif status != OK:
        engine_fail(b"a writer finds the index damaged")
    elif old.handle:
        end_item(actor, cython.address(old))
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete(actor: cython.pointer(Actor), which: cython.int) -> cython.int:
    key: Key
    old: Item
    status: cython.int = TIMED_OUT
    take_key(actor, cython.address(key), which)
    while status == TIMED_OUT:
        status = index_delete(
            cython.address(actor.pool), geometry(), cython.address(key), _SLICE, cython.address(old)
        )
    if status == OK:
        end_item(actor, cython.address(old))
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get(actor: cython.pointer(Actor), which: cython.int) -> uint64_t:
    """The value's mark, 0 if there is none."""
    key: Key
    found: Found
    words: uint64_t[2]
    status: cython.int
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    take_key(actor, cython.address(key), which)
    status = index_find(pool, geometry(), cython.address(key), cython.address(found))
    if status == NOT_FOUND:
        return 0
    if status != OK or found.item.nr_stored != _VALUE:
        engine_fail(b"a reader finds the index damaged")
        return 0
    status = entry_walk(
        pool, geometry(), cython.address(found), _KEY, _VALUE, cython.cast(cython.p_char, words), cython.NULL
    )
    entry_close(pool, geometry(), cython.address(found))
    if status != OK or words[0] != words[1] or words[0] >> 8 != _keys[2 * which] << 8 >> 8:
        engine_fail(b"a reader sees what is no value of its key")
    return words[0] & 0xFF


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scan(actor: cython.pointer(Actor)) -> uint64_t:
    """All keys of bucket 0, and of what splits off it, once; how often A is among them."""
    buffer: uint64_t[16]
    records: cython.p_char = cython.cast(cython.p_char, buffer)
    cursor: uint64_t = 0
    used: uint64_t = 0
    at: uint64_t
    word: uint64_t = 0
    nr_a: uint64_t = 0
    status: cython.int
    while cursor < SCAN_END // FIRST_BUCKETS:
        status = index_scan(
            cython.address(actor.pool), geometry(), cython.address(cursor), records, 24, cython.address(used), _SLICE
        )
        if status == TIMED_OUT:
            continue
        if status != OK or used % (_KEY + 4):
            engine_fail(b"a scan finds the index damaged")
            return 0
        at = 0
        while at < used:
            copy(cython.address(word), records + at + 4, 8, b"storing.scan")
            nr_a += word == _keys[0]
            at += _KEY + 4
    return nr_a


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 0, 0, False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a_twice(arg: cython.p_void) -> cython.void:
    put(me(stage_of(arg)), 0, 0, False)
    put(me(stage_of(arg)), 0, 1, False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_own(arg: cython.p_void) -> cython.void:
    """CPU 0 key A, CPU 1 key B."""
    me(stage_of(arg)).status = put(me(stage_of(arg)), engine_cpu(), 0, False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_b_if_absent(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 1, 0, True)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reuse(arg: cython.p_void) -> cython.void:
    """A new object, perhaps where A's entry was."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pinned: Pinned
    word: uint64_t = _keys[2]
    if (
        zs_alloc(
            cython.address(actor.pool), geometry(), 2000, slot_of(actor), cython.address(actor.address), FOREVER
        )
        != OK
        or zs_pin(cython.address(actor.pool), geometry(), actor.address, cython.address(pinned)) != OK
    ):
        engine_fail(b"an object cannot be had, though there is room")
        return
    copy(pinned.object + ENTRY_BYTES + _KEY, cython.address(word), 8, b"storing.reuse")
    zs_unpin(cython.address(actor.pool), cython.address(pinned))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete_a(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = delete(me(stage_of(arg)), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_a(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).found[0] = get(me(stage_of(arg)), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_always(arg: cython.p_void) -> cython.void:
    """Key A is there all the time."""
    me(stage_of(arg)).found[0] = get(me(stage_of(arg)), 0)
    if me(stage_of(arg)).found[0] == 0:
        engine_fail(b"a reader misses a key that is there all the time")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_twice(arg: cython.p_void) -> cython.void:
    """Key A is there all the time, with newer and newer values."""
    first: uint64_t = get(me(stage_of(arg)), 0)
    second: uint64_t = get(me(stage_of(arg)), 0)
    if first == 0 or second == 0:
        engine_fail(b"a reader misses a key that is there all the time")
    if second < first:
        engine_fail(b"a reader sees an older value after a newer one")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scan_always(arg: cython.p_void) -> cython.void:
    """Key A is there all the time."""
    if scan(me(stage_of(arg))) != 1:
        engine_fail(b"a scan does not see a key exactly once that is there all the time")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scan_once(arg: cython.p_void) -> cython.void:
    if scan(me(stage_of(arg))) > 1:
        engine_fail(b"a scan sees a key twice")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move_a(arg: cython.p_void) -> cython.void:
    """Whatever is in the first slot goes to another zspage: A's first entry, if it is there still."""
    pool: cython.pointer(PoolRef) = cython.address(me(stage_of(arg)).pool)
    c: uint64_t = class_()
    while class_lock(pool, c, _SLICE) != OK:
        pass
    move_locked(pool, geometry(), c, 0, 0, 1)
    regroup_locked(pool, geometry(), c, 1, zspage_of(pool, geometry(), c, 1))
    regroup_locked(pool, geometry(), c, 0, zspage_of(pool, geometry(), c, 0))
    class_unlock(pool, c)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def split(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = index_split(cython.address(me(stage_of(arg)).pool), geometry())


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def store_wrong(stage: cython.pointer(Stage), nr: uint64_t) -> cython.p_const_char:
    """There are `nr` entries, counted right; of other objects, stage.param."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    report: IndexReport
    classes: ClassReport
    of_entries: uint64_t = 0
    of_pool: uint64_t = 0
    memset(cython.address(report), 0, cython.sizeof(IndexReport))
    if index_check_stripe(pool, geometry(), 0, cython.address(report), 0) != OK:
        return b"a stripe's lock is still held"
    if report.bad_refs or report.loops or report.bad_parts:
        return b"a slot or a chain is damaged"
    if report.not_kept:
        return b"an entry is not the store's own"
    if report.misplaced:
        return b"an entry is where its key is not looked for"
    if report.entries != nr:
        return b"an entry is missing, or there is one too many"
    if report.bad_counts:
        return b"the counts differ from the entries' sums"
    if index_check_objects(pool, cython.address(of_entries), cython.address(of_pool), 0) != OK or of_entries != of_pool:
        return b"objects are the store's that no entry has"
    if zs_check(pool, geometry(), class_(), cython.address(classes), 0) != OK:
        return b"the class is still locked"
    if report_wrong(cython.address(classes)):
        return b"the pool's objects, slots and lists do not agree"
    if classes.objects != nr + stage.param:
        return b"an object is lost, or one is there that has ended"
    return arena_wrong(stage, actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_a(arg: cython.p_void) -> cython.p_const_char:
    if get(cython.address(stage_of(arg).actors[2]), 0) == 0:
        return b"a key is missing"
    return store_wrong(stage_of(arg), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_both(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if get(cython.address(stage.actors[2]), 0) == 0 or get(cython.address(stage.actors[2]), 1) == 0:
        return b"a key is missing"
    return store_wrong(stage, 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_gone(arg: cython.p_void) -> cython.p_const_char:
    if get(cython.address(stage_of(arg).actors[2]), 0) != 0:
        return b"a key is there that was deleted"
    return store_wrong(stage_of(arg), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_absent(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"of two that put a key if it is absent, not exactly one did"
    return final_both(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_popped(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"of two that delete a key, not exactly one did"
    return store_wrong(stage, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_split(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    nr: uint64_t = index_nr_buckets(cython.address(stage.actors[2].pool))
    if stage.actors[0].status == OK and nr != FIRST_BUCKETS + 1:
        return b"a bucket was not split, though nothing was in the way"
    return final_a(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_split_twice(arg: cython.p_void) -> cython.p_const_char:
    """One of two splits one bucket, or both two."""
    stage: cython.pointer(Stage) = stage_of(arg)
    nr: uint64_t = index_nr_buckets(cython.address(stage.actors[2].pool)) - FIRST_BUCKETS
    if nr != cython.cast(uint64_t, (stage.actors[0].status == OK) + (stage.actors[1].status == OK)) or nr == 0:
        return b"there are not as many buckets as were split"
    return final_a(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died(arg: cython.p_void) -> cython.p_const_char:
    """A's old value or its new one, whatever the reader saw."""
    stage: cython.pointer(Stage) = stage_of(arg)
    mark: uint64_t = get(cython.address(stage.actors[2]), 0)
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
    return store_wrong(stage, get(cython.address(stage.actors[2]), 0) != 0)


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
def scene_hashindex_put_get(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 0, 1, 0, 3) != 0:
        return -1
    return play(e, final_a, put_a_twice, get_twice, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_reuse(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 2, 0, 1, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 3
    return play(e, final_gone, delete_a, reuse, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 2, 0, 1, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 2
    return play(e, final_a, move_a, get_twice, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_move_put(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 1, 0, 0, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 1
    return play(e, final_a, move_a, put_a, get_always)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_move_kept(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 1
    return play(e, final_a, put_a, move_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_scan(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    return play(e, final_a, put_a, scan_always, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_scan_delete(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL:
        return -1
    return play(e, final_gone, delete_a, scan_once, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_own(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 1, 0, 1, 2) != 0:
        return -1
    return play(e, final_both, put_own, put_own, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_same(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 1, 0, 0, 3) != 0:
        return -1
    return play(e, final_a, put_a, put_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_if_absent(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 0, 0, 1, 2) != 0 or give_item(stage, 1, 0, 1, 3) != 0:
        return -1
    return play(e, final_absent, put_b_if_absent, put_b_if_absent, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_pop(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL:
        return -1
    return play(e, final_popped, delete_a, delete_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_put_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    e.may_die = 1
    return play(e, final_died, put_a, recover_the_first, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_delete_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_delete_died, delete_a, recover_the_first, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_writer_waits(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 2, 0, 0, 3) != 0:
        return -1
    e.may_die = 1
    return play(e, final_delete_died, delete_a, recover_the_first, put_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_delete_died, put_a, recover_the_first, recover_both)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_get(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL:
        return -1
    return play(e, final_split, split, get_twice, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_put(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL or give_item(stage, 1, 0, 0, 2) != 0:
        return -1
    return play(e, final_split, split, put_a, get_always)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_scan(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL:
        return -1
    return play(e, final_split, split, scan_always, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_same(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL:
        return -1
    return play(e, final_split_twice, split, split, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory)
    if stage == cython.NULL:
        return -1
    if give_item(stage, 0, 0, 1, 2) != 0:
        return -1
    put(cython.address(stage.actors[0]), 1, 0, False)
    e.may_die = 1
    return play(e, final_split_died, split, recover_the_first, get_always)


register_scene(
    b"hashindex.put-get",
    b"a value is replaced twice while a reader looks twice: whole values, never an older one later",
    b"",
    2,
    STAGE_BYTES,
    scene_hashindex_put_get,
)
register_scene(
    b"hashindex.reuse",
    b"an entry is deleted and its place filled by a third process: a reader sees the entry or nothing",
    b"",
    3,
    STAGE_BYTES,
    scene_hashindex_reuse,
)
register_scene(
    b"hashindex.move",
    b"compaction moves an entry while one reads it, and again",
    b"",
    2,
    STAGE_BYTES,
    scene_hashindex_move,
)
register_scene(
    b"hashindex.move-put",
    b"compaction moves an entry while it is replaced and read",
    b"",
    3,
    STAGE_BYTES,
    scene_hashindex_move_put,
)
register_scene(
    b"hashindex.move-kept",
    b"compaction moves an entry while it is brought in",
    b"",
    2,
    STAGE_BYTES,
    scene_hashindex_move_kept,
)
register_scene(
    b"hashindex.scan",
    b"keys are listed while a value is replaced: each key exactly once",
    b"",
    2,
    STAGE_BYTES,
    scene_hashindex_scan,
)
register_scene(
    b"hashindex.scan-delete",
    b"keys are listed while one is deleted: whole keys",
    b"",
    2,
    STAGE_BYTES,
    scene_hashindex_scan_delete,
)
register_scene(
    b"hashcommit.own",
    b"two processes put different keys into one bucket: both are in, the counts are right",
    b"",
    2,
    STAGE_BYTES,
    scene_hashcommit_own,
)
register_scene(
    b"hashcommit.same",
    b"two processes replace one key's value: one entry stays, the others are freed",
    b"",
    2,
    STAGE_BYTES,
    scene_hashcommit_same,
)
register_scene(
    b"hashcommit.if-absent",
    b"two processes put one key if it is absent: one of them does",
    b"",
    2,
    STAGE_BYTES,
    scene_hashcommit_if_absent,
)
register_scene(
    b"hashcommit.pop",
    b"two processes take one key out: one of them gets it",
    b"",
    2,
    STAGE_BYTES,
    scene_hashcommit_pop,
)
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
    b"hashsplit.get",
    b"a bucket is split while a reader looks for a key that moves: it is there all the time",
    b"",
    2,
    STAGE_BYTES,
    scene_hashsplit_get,
)
register_scene(
    b"hashsplit.put",
    b"a bucket is split while the key that moves is replaced, and read",
    b"",
    3,
    STAGE_BYTES,
    scene_hashsplit_put,
)
register_scene(
    b"hashsplit.scan",
    b"a bucket is split while keys are listed: each exactly once",
    b"",
    2,
    STAGE_BYTES,
    scene_hashsplit_scan,
)
register_scene(
    b"hashsplit.same",
    b"two processes split: no bucket twice",
    b"",
    2,
    STAGE_BYTES,
    scene_hashsplit_same,
)
register_scene(
    b"hashsplit.dies",
    b"a process that splits a bucket is killed anywhere and mended, beside a reader",
    b"I28",
    3,
    STAGE_BYTES,
    scene_hashsplit_dies,
)
