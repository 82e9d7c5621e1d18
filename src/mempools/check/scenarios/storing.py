"""Scenarios of a store's index: readers beside writers, compaction and growth, writers beside each other (storedying.py has
the dead)."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.storing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_cpu, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    STAGE_BYTES,
    Actor,
    Stage,
    me,
    play,
    slot_of,
    stage_of,
)
from cython.cimports.mempools.check.scenarios.storestage import (
    IF_ABSENT,
    ITEM,
    LEFT,
    LINES,
    RETIRED,
    delete,
    delete_a,
    end_left,
    fill_buckets,
    final_a,
    final_both,
    geometry,
    get,
    get_a,
    get_always,
    give_item,
    key_word,
    lines_of,
    lines_taken,
    move_a,
    put,
    put_a,
    put_a_left,
    set_store,
    split,
    store_wrong,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.machine.atomics import copy, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import OK, TIMED_OUT
from cython.cimports.mempools.pools.hashentry import ENTRY_BYTES
from cython.cimports.mempools.pools.hashscan import SCAN_END, SPACE_OWN, Record, index_scan
from cython.cimports.mempools.pools.hashtable import FIRST_BUCKETS, free_slot, index_nr_buckets
from cython.cimports.mempools.pools.zsalloc import zs_alloc
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin

register_module(cython.address(this_module_step))

_SLICE = cython.declare(uint64_t, 20_000_000)
_KEY = cython.declare(uint64_t, 16)  # bytes


# ---- bodies


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
            cython.address(actor.pool),
            geometry(),
            SPACE_OWN,
            cython.address(cursor),
            0,
            records,
            2 * (_KEY + cython.sizeof(Record)),
            cython.address(used),
            1,
            _SLICE,
        )
        if status == TIMED_OUT:
            continue
        if status != OK or used % (_KEY + cython.sizeof(Record)):
            engine_fail(b"a scan finds the index damaged")
            return 0
        at = 0
        while at < used:
            copy(cython.address(word), records + at + cython.sizeof(Record), 8, b"storing.scan")
            nr_a += word == key_word(0)
            at += _KEY + cython.sizeof(Record)
    return nr_a


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a_twice(arg: cython.p_void) -> cython.void:
    put(me(stage_of(arg)), 0, 0, LEFT)
    put(me(stage_of(arg)), 0, 1, RETIRED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_own(arg: cython.p_void) -> cython.void:
    """CPU 0 key A, CPU 1 key B."""
    me(stage_of(arg)).status = put(me(stage_of(arg)), engine_cpu(), 0, RETIRED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_b_if_absent(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 1, 0, IF_ABSENT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete_and_reuse(arg: cython.p_void) -> cython.void:
    """A's entry ends, and another object begins where it was."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pinned: Pinned
    word: uint64_t = key_word(1)
    delete(actor, 0, RETIRED)
    if (
        zs_alloc(cython.address(actor.pool), geometry(), 2000, slot_of(actor), cython.address(actor.address), FOREVER)
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
def fill_and_put(arg: cython.p_void) -> cython.void:
    """The entry gets its value now, as a new one does."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pinned: Pinned
    words: uint64_t[2]
    words[0] = words[1] = key_word(0) << 8 | 4
    if zs_pin(cython.address(actor.pool), geometry(), actor.found[ITEM], cython.address(pinned)) != OK:
        engine_fail(b"an entry of a process's own cannot be pinned")
        return
    copy(pinned.object + ENTRY_BYTES + _KEY, words, 16, b"storing.fill")
    zs_unpin(cython.address(actor.pool), cython.address(pinned))
    actor.status = put(actor, 0, 0, LEFT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_filled(arg: cython.p_void) -> cython.void:
    mark: uint64_t = get(me(stage_of(arg)), 0)
    if mark != 1 and mark != 4:
        engine_fail(b"a reader sees an entry that is not filled")


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
def take_own_line(arg: cython.p_void) -> cython.void:
    """For a bucket of its own stripe, whose lock nobody else wants."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    slot: cython.pointer(uint64_t) = cython.NULL
    actor.status = free_slot(
        cython.address(actor.pool), LINES + cython.cast(uint64_t, engine_cpu()), cython.address(slot)
    )


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_left(arg: cython.p_void) -> cython.p_const_char:
    end_left(stage_of(arg), 0, False)
    end_left(stage_of(arg), 1, False)
    return final_a(arg)


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
    end_left(stage, 1, False)
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
def final_lines(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status != OK or stage.actors[1].status != OK:
        return b"a line cannot be had, though there are some"
    if lines_of(stage, LINES) != 1 or lines_of(stage, LINES + 1) != 1 or lines_taken(stage) != 2:
        return b"a line is two chains', or one has gone astray"
    return cython.NULL


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_put_get(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    return play(e, final_a, put_a, get_twice, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_put_put_get(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 0, 1, 0, 3) != 0:
        return -1
    return play(e, final_left, put_a_twice, get_always, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_fill(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    return play(e, final_left, fill_and_put, get_filled, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_reuse(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    stage.param = 1
    return play(e, final_gone, delete_and_reuse, get_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 2, 0, 1, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 2
    return play(e, final_a, move_a, get_twice, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_move_put(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 1, 0, 0, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 1
    return play(e, final_left, move_a, put_a_left, get_always)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_move_kept(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 1
    return play(e, final_a, put_a, move_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_scan(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0:
        return -1
    return play(e, final_a, put_a, scan_always, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashindex_scan_delete(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    return play(e, final_gone, delete_a, scan_once, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_own(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 1, 0, 1, 2) != 0:
        return -1
    return play(e, final_both, put_own, put_own, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_same(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 1, 0, 0, 3) != 0:
        return -1
    return play(e, final_a, put_a, put_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_if_absent(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 0, 0, 1, 2) != 0 or give_item(stage, 1, 0, 1, 3) != 0:
        return -1
    return play(e, final_absent, put_b_if_absent, put_b_if_absent, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashcommit_pop(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    return play(e, final_popped, delete_a, delete_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_get(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    return play(e, final_split, split, get_twice, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_carry(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 255, 127) == cython.NULL:
        return -1
    return play(e, final_a, split, get_twice, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_put(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL or give_item(stage, 1, 0, 0, 2) != 0:
        return -1
    return play(e, final_split, split, put_a_left, get_always)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_scan(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    return play(e, final_split, split, scan_always, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashsplit_same(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    return play(e, final_split_twice, split, split, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashtable_two(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    if stage == cython.NULL:
        return -1
    fill_buckets(stage)
    return play(e, final_lines, take_own_line, take_own_line, cython.NULL)


register_scene(
    b"hashindex.put-get",
    b"a value is replaced, and what goes out is freed, while a reader looks twice: whole values, never an older one later",
    b"",
    2,
    STAGE_BYTES,
    scene_hashindex_put_get,
)
register_scene(
    b"hashindex.put-put-get",
    b"a value is replaced twice beside a reader",
    b"",
    2,
    STAGE_BYTES,
    scene_hashindex_put_put_get,
)
register_scene(
    b"hashindex.fill",
    b"an entry is filled and brought in beside a reader, who finds it filled",
    b"",
    2,
    STAGE_BYTES,
    scene_hashindex_fill,
)
register_scene(
    b"hashindex.reuse",
    b"an entry is deleted and its place filled with another object: a reader sees the entry or nothing",
    b"",
    2,
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
    b"compaction moves an entry while its value is replaced, or the one that replaces it",
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
    b"hashsplit.get",
    b"a bucket is split while a reader looks for a key that moves: it is there all the time",
    b"",
    2,
    STAGE_BYTES,
    scene_hashsplit_get,
)
register_scene(
    b"hashsplit.carry",
    b"a bucket is split, and two bytes of the number of buckets change, while a reader looks for a key of another bucket",
    b"",
    2,
    STAGE_BYTES,
    scene_hashsplit_carry,
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
    b"hashtable.two",
    b"two full buckets of two stripes get a further line each: no line twice",
    b"",
    2,
    STAGE_BYTES,
    scene_hashtable_two,
)
