"""Scenarios of a store's index: readers without a lock beside writers, writers beside each other, writers that die.

The index has one bucket. Entries are one granule each: a key of two equal words and a value of two equal words that say
whose it is. Two or three granules can be had, so that a block that is freed is filled again at once.
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
    NR_FOUND,
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    recover_both,
    recover_the_first,
    set_arena,
    set_pool,
    set_stage,
    set_taken,
    stage_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.layout.structs import KIND_STORE
from cython.cimports.mempools.machine.atomics import copy, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_META
from cython.cimports.mempools.parts.status import NOT_FOUND, OK, TIMED_OUT
from cython.cimports.mempools.pools.genpool import genpool_alloc, genpool_free
from cython.cimports.mempools.pools.hashcommit import index_delete, index_lock, index_put, index_unlock
from cython.cimports.mempools.pools.hashindex import (
    KEY_BYTES,
    Found,
    Key,
    entry_fill,
    entry_nbytes,
    entry_size,
    index_find,
    index_key,
    index_root_nbytes,
    index_unchanged,
)
from cython.cimports.mempools.pools.hashscan import (
    IndexReport,
    index_check_blocks,
    index_check_stripe,
    index_scan,
)

register_module(cython.address(this_module_step))

_KEY = cython.declare(uint64_t, 16)  # bytes
_VALUE = cython.declare(uint64_t, 16)
_SLICE = cython.declare(uint64_t, 20_000_000)
_END = cython.declare(uint64_t, 5)  # granules from here on cannot be had
_A = cython.declare(uint64_t, 0x6161616161616161)
_B = cython.declare(uint64_t, 0x6262626262626262)
_keys = cython.declare(uint64_t[4])


# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_store(e: cython.pointer(Engine), memory: cython.p_char, nr: uint64_t, nr_a: uint64_t) -> cython.pointer(Stage):
    """A store with room for `nr` entries, which has key A if nr_a."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    chunk: cython.pointer(ChunkRef) = cython.address(stage.actors[0].pool.chunks[0])
    index: uint32_t = 0
    _keys[0] = _keys[1] = _A
    _keys[2] = _keys[3] = _B
    if set_arena(stage, 12, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_STORE, 6, 64, 0, index_root_nbytes(1), cython.address(index)) != 0:
        return cython.NULL
    # Of the last two that can be had, one begins in another 256 bytes: a ref that changes from one to the other is in two parts.
    if set_taken(chunk, 0, _END - nr, OWNER_META) != 0 or set_taken(chunk, _END, chunk.nr - _END, OWNER_META) != 0:
        return cython.NULL
    stage.param = nr
    if nr_a and put(cython.address(stage.actors[0]), 0, 1, False) != OK:
        return cython.NULL
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
def free_entry(actor: cython.pointer(Actor), offset: uint64_t) -> cython.void:
    nbytes: uint64_t = 0
    if (
        entry_size(cython.address(actor.pool), offset, cython.address(nbytes)) != OK
        or genpool_free(cython.address(actor.pool), offset, nbytes) != OK
    ):
        engine_fail(b"a writer cannot free the entry that went out")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_entry(
    actor: cython.pointer(Actor), key: cython.pointer(Key), value: uint64_t, offset: cython.pointer(uint64_t)
) -> cython.int:
    words: uint64_t[2]
    room: cython.p_char
    status: cython.int = genpool_alloc(
        cython.address(actor.pool), cython.address(actor.hint), entry_nbytes(_KEY, _VALUE), offset
    )
    if status == OK:
        words[0] = words[1] = value
        room = entry_fill(cython.address(actor.pool), offset[0], key, 0, _VALUE, _VALUE)
        copy(room, words, _VALUE, b"storing.fill")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put(actor: cython.pointer(Actor), which: cython.int, mark: uint64_t, if_absent: cython.bint) -> cython.int:
    """OK, BUSY if it was there and must not be, EXHAUSTED."""
    key: Key
    entry: uint64_t = 0
    old: uint64_t = 0
    status: cython.int
    take_key(actor, cython.address(key), which)
    status = new_entry(actor, cython.address(key), value_of(which, mark), cython.address(entry))
    if status != OK:
        return status
    status = TIMED_OUT
    while status == TIMED_OUT:
        status = index_put(
            cython.address(actor.pool), cython.address(key), entry, if_absent, _SLICE, cython.address(old)
        )
    if status != OK:
        free_entry(actor, entry)
    elif old:
        free_entry(actor, old)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete(actor: cython.pointer(Actor), which: cython.int) -> cython.int:
    key: Key
    old: uint64_t = 0
    status: cython.int = TIMED_OUT
    take_key(actor, cython.address(key), which)
    while status == TIMED_OUT:
        status = index_delete(cython.address(actor.pool), cython.address(key), _SLICE, cython.address(old))
    if status == OK:
        free_entry(actor, old)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_at(which: cython.int, found: cython.pointer(Found), words: cython.pointer(uint64_t)) -> uint64_t:
    """The mark of a value that was copied and confirmed."""
    if found.nr_stored != _VALUE or words[0] != words[1] or words[0] >> 8 != _keys[2 * which] << 8 >> 8:
        engine_fail(b"a reader believes what is no value of its key")
    return words[0] & 0xFF


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get(actor: cython.pointer(Actor), which: cython.int) -> uint64_t:
    """The value's mark, 0 if there is none. Tries as often as writers get in its way here."""
    key: Key
    found: Found
    words: uint64_t[2]
    status: cython.int
    tries: cython.int
    take_key(actor, cython.address(key), which)
    for tries in range(4):
        status = index_find(cython.address(actor.pool), cython.address(key), cython.address(found))
        if status == NOT_FOUND:
            return 0
        if status != OK:
            engine_fail(b"a reader finds the index damaged")
        if found.nr_stored != _VALUE:
            continue  # garbage, which the count will tell
        copy(words, found.stored, _VALUE, b"storing.get")
        if index_unchanged(cython.address(key), cython.address(found)):
            return look_at(which, cython.address(found), words)
    engine_fail(b"a reader was disturbed more often than there were changes")
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_locked(actor: cython.pointer(Actor), which: cython.int) -> uint64_t:
    key: Key
    found: Found
    words: uint64_t[2]
    mark: uint64_t = 0
    status: cython.int = TIMED_OUT
    take_key(actor, cython.address(key), which)
    while status == TIMED_OUT:
        status = index_lock(cython.address(actor.pool), key.stripe, _SLICE)
    if status != OK:
        engine_fail(b"a stripe's lock cannot be had")
    if index_find(cython.address(actor.pool), cython.address(key), cython.address(found)) == OK:
        copy(words, found.stored, _VALUE, b"storing.get")
        mark = look_at(which, cython.address(found), words)
    index_unlock(cython.address(actor.pool), key.stripe)
    return mark


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a_twice(arg: cython.p_void) -> cython.void:
    """The second one fills the block that the first one freed."""
    if put(me(stage_of(arg)), 0, 2, False) != OK or put(me(stage_of(arg)), 0, 3, False) != OK:
        engine_fail(b"an entry cannot be replaced, though there is room")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 0, 2 + engine_cpu(), False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_own(arg: cython.p_void) -> cython.void:
    """CPU 0 key A, CPU 1 key B."""
    me(stage_of(arg)).status = put(me(stage_of(arg)), engine_cpu(), 2, False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a_if_absent(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 0, 2 + engine_cpu(), True)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fill_b(arg: cython.p_void) -> cython.void:
    """An entry of another key's, if there is room, that is not put in yet."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    key: Key
    take_key(actor, cython.address(key), 1)
    actor.status = new_entry(actor, cython.address(key), value_of(1, 2), cython.address(actor.address))


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
def get_a_locked(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).found[0] = get_locked(me(stage_of(arg)), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_always(arg: cython.p_void) -> cython.void:
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
def scan(actor: cython.pointer(Actor)) -> uint64_t:
    """All keys, once; how often A is among them."""
    buffer: uint64_t[8]
    records: cython.p_char = cython.cast(cython.p_char, buffer)
    cursor: uint64_t = 0
    used: uint64_t = 0
    at: uint64_t = 0
    nr_a: uint64_t = 0
    if (
        index_scan(cython.address(actor.pool), cython.address(cursor), records, 64, cython.address(used), _SLICE) != OK
        or cursor != 1
        or used % (_KEY + 4)
    ):
        engine_fail(b"a scan finds the index damaged")
    while at < used:
        if records[at + 4] != records[at + 4 + _KEY - 1]:
            engine_fail(b"a scan believes what is no key")
        nr_a += records[at + 4] == 0x61
        at += _KEY + 4
    return nr_a


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


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def store_wrong(stage: cython.pointer(Stage), nr: uint64_t) -> cython.p_const_char:
    """There are `nr` entries, counted right, and nothing else is taken."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    report: IndexReport
    of_entries: uint64_t = 0
    of_map: uint64_t = 0
    memset(cython.address(report), 0, cython.sizeof(IndexReport))
    if index_check_stripe(cython.address(actor.pool), 0, cython.address(report), _SLICE) != OK:
        return b"a stripe's lock is still held"
    if report.bad_refs or report.loops or report.bad_blocks or report.misplaced:
        return b"a chain or an entry of it is damaged"
    if report.entries != nr:
        return b"an entry is missing, or there is one too many"
    if report.bad_counts:
        return b"the counts differ from the entries' sums"
    if (
        index_check_blocks(cython.address(actor.pool), cython.address(of_entries), cython.address(of_map), _SLICE) != OK
        or of_entries != of_map
    ):
        return b"granules are the store's that no entry has"
    if nr_owned(cython.address(actor.pool), 0) != stage.param - nr:
        return b"a granule is lost"
    return arena_wrong(stage, actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_a(arg: cython.p_void) -> cython.p_const_char:
    if get_locked(cython.address(stage_of(arg).actors[2]), 0) == 0:
        return b"a key is missing"
    return store_wrong(stage_of(arg), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_both(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if get_locked(cython.address(stage.actors[2]), 0) == 0 or get_locked(cython.address(stage.actors[2]), 1) == 0:
        return b"a key is missing"
    return store_wrong(stage, 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_b(arg: cython.p_void) -> cython.p_const_char:
    """A went out; B was not put in."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if get_locked(cython.address(stage.actors[2]), 0) != 0:
        return b"a key is there that was deleted"
    if stage.actors[1].status == OK:
        free_entry(cython.address(stage.actors[1]), stage.actors[1].address)
    return store_wrong(stage, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_absent(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"of two that put a key if it is absent, not exactly one did"
    return final_a(arg)


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
def final_died(arg: cython.p_void) -> cython.p_const_char:
    """A's old value or its new one, whatever the reader saw."""
    stage: cython.pointer(Stage) = stage_of(arg)
    mark: uint64_t = get_locked(cython.address(stage.actors[2]), 0)
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
    return store_wrong(stage, get_locked(cython.address(stage.actors[2]), 0) != 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died_twice(arg: cython.p_void) -> cython.p_const_char:
    """The old value or the new one."""
    return store_wrong(stage_of(arg), get_locked(cython.address(stage_of(arg).actors[2]), 0) != 0)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_put_get(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 2, 1) == cython.NULL:
        return -1
    e.races = False
    return play(e, final_a, put_a_twice, get_always, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_reuse(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 1, 1) == cython.NULL:
        return -1
    e.races = False
    return play(e, final_b, delete_a, fill_b, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_scan(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 2, 1) == cython.NULL:
        return -1
    e.races = False
    return play(e, final_a, put_a_twice, scan_always, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_scan_reuse(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 1, 1) == cython.NULL:
        return -1
    e.races = False
    return play(e, final_b, delete_a, fill_b, scan_once)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_locked(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 2, 1) == cython.NULL:
        return -1
    return play(e, final_a, put_a_twice, get_a_locked, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_put_own(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 3, 1) == cython.NULL:
        return -1
    return play(e, final_both, put_own, put_own, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_put_same(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 3, 1) == cython.NULL:
        return -1
    return play(e, final_a, put_a, put_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_if_absent(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 2, 0) == cython.NULL:
        return -1
    return play(e, final_absent, put_a_if_absent, put_a_if_absent, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_pop(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 2, 1) == cython.NULL:
        return -1
    return play(e, final_popped, delete_a, delete_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_put_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 2, 1) == cython.NULL:
        return -1
    e.may_die = 1
    e.races = False
    return play(e, final_died, put_a, recover_the_first, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_writer_waits(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 3, 1) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_delete_died, delete_a, recover_the_first, put_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_delete_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 2, 1) == cython.NULL:
        return -1
    e.may_die = 1
    e.races = False
    return play(e, final_delete_died, delete_a, recover_the_first, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_store(e, memory, 2, 1) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_died_twice, put_a, recover_the_first, recover_both)


register_scene(
    b"hashindex.put-get",
    b"a value is replaced twice, into blocks just freed, while a reader looks twice: whole values, never an older one later",
    b"",
    2,
    STAGE_BYTES,
    scene_put_get,
)
register_scene(
    b"hashindex.reuse",
    b"an entry is deleted and its block filled with another key's by a third process: a reader sees the entry or nothing",
    b"",
    3,
    STAGE_BYTES,
    scene_reuse,
)
register_scene(
    b"hashindex.scan",
    b"keys are listed while a value is replaced twice: each key exactly once",
    b"",
    2,
    STAGE_BYTES,
    scene_scan,
)
register_scene(
    b"hashindex.scan-reuse",
    b"keys are listed while an entry is deleted and its block filled with another key's: whole keys",
    b"",
    3,
    STAGE_BYTES,
    scene_scan_reuse,
)
register_scene(
    b"hashindex.locked",
    b"a reader that takes the lock beside a writer: nothing that it reads changes under it",
    b"",
    2,
    STAGE_BYTES,
    scene_locked,
)
register_scene(
    b"hashcommit.own",
    b"two processes put different keys into one bucket: both are in, the counts are right",
    b"",
    2,
    STAGE_BYTES,
    scene_put_own,
)
register_scene(
    b"hashcommit.same",
    b"two processes replace one key's value: one entry stays, the others' blocks are free",
    b"",
    2,
    STAGE_BYTES,
    scene_put_same,
)
register_scene(
    b"hashcommit.if-absent",
    b"two processes put one key if it is absent: one of them does",
    b"",
    2,
    STAGE_BYTES,
    scene_if_absent,
)
register_scene(
    b"hashcommit.pop",
    b"two processes take one key out: one of them gets it",
    b"",
    2,
    STAGE_BYTES,
    scene_pop,
)
register_scene(
    b"hashcommit.put-dies",
    b"a writer is killed anywhere and mended, beside a reader: the old value or the new one, and what was seen stays",
    b"I28",
    3,
    STAGE_BYTES,
    scene_put_dies,
)
register_scene(
    b"hashcommit.delete-dies",
    b"a process that deletes a key is killed anywhere and mended, beside a reader",
    b"I28",
    3,
    STAGE_BYTES,
    scene_delete_dies,
)
register_scene(
    b"hashcommit.writer-waits",
    b"a process that deletes a key is killed anywhere, perhaps with the lock that another writer waits for",
    b"I28",
    3,
    STAGE_BYTES,
    scene_writer_waits,
)
register_scene(
    b"hashcommit.dies-twice",
    b"a writer is killed anywhere, and so is its recovery; a third process mends and sweeps both",
    b"I28",
    3,
    STAGE_BYTES,
    scene_dies_twice,
)
