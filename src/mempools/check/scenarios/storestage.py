"""The stage of a store's scenarios: a store that has one key, A.

The keys fall into the bucket that is split next; the split moves A, and leaves B. A key is two equal words, a value two equal
words that say whose it is. Entries are objects of a class with two slots a zspage, whose headers say that they have 48 bytes,
so that a move is a few steps (see zsstage.py). What a writer brings in has been made before, so that there is little beside
the index to look at.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.storestage is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    Actor,
    Stage,
    arena_wrong,
    me,
    set_arena,
    set_pool,
    set_stage,
    stage_of,
)
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_STORE
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, NOT_FOUND, OK, OVER_LIMIT, TIMED_OUT
from cython.cimports.mempools.pools.hashcommit import index_delete, index_put
from cython.cimports.mempools.pools.hashentry import (
    ENTRY_BYTES,
    KEY_BYTES,
    LARGE_OBJECT,
    Found,
    Item,
    Key,
    entry_close,
    entry_new,
    entry_retire,
    entry_walk,
)
from cython.cimports.mempools.pools.hashindex import index_find, index_key
from cython.cimports.mempools.pools.hashscan import IndexReport, index_check_objects, index_check_stripe
from cython.cimports.mempools.pools.hashsplit import index_split
from cython.cimports.mempools.pools.hashtable import (
    FIRST_BUCKETS,
    LINE_WORDS,
    NR_LINE_SLOTS,
    NR_STRIPES,
    SMALL_CHAIN,
    IndexRoot,
    bucket_line,
    bucket_of,
    grow_buckets,
    half_of,
    index_root,
    index_root_nbytes,
    next_line,
)
from cython.cimports.mempools.pools.zscompact import move_locked
from cython.cimports.mempools.pools.zsgeometry import Geometry, class_of, geometry_of
from cython.cimports.mempools.pools.zsmend import ClassReport, report_wrong, zs_check
from cython.cimports.mempools.pools.zspage import class_lock, class_unlock, regroup_locked, zspage_of
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
_PAGES = cython.declare(uint64_t, 12)  # of the pool: a segment of buckets, zspages
_ROOT_PAGES = cython.declare(uint64_t, (index_root_nbytes(SMALL_CHAIN) + 4095) // 4096)
_keys = cython.declare(uint64_t[4])
_nr = cython.declare(uint64_t[1])  # buckets at the beginning
_data = cython.declare(uint64_t[256])


# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def geometry() -> cython.pointer(Geometry):
    return geometry_of(SMALL_CHAIN)


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
    word: uint64_t = read_once(zs_cell(pool, index_of(handle)), b"storestage.shorten")
    d = zspage_of(pool, geometry(), class_(), cell_zspage(word))
    write_once(
        header_of(pool, geometry(), d, read_once(cython.address(d.word), b"storestage.shorten"), cell_slot(word)),
        index_of(handle) << 32 | (ENTRY_BYTES + _KEY + _VALUE) << 1 | 1,
        b"storestage.shorten",
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_key(actor: cython.pointer(Actor), which: cython.int, bucket: uint64_t) -> cython.void:
    """A key that is in that bucket after the next split."""
    key: Key
    _keys[2 * which] = (0x61 + cython.cast(uint64_t, which)) << 40
    while True:
        _keys[2 * which] += 1
        _keys[2 * which + 1] = _keys[2 * which]
        take_key(actor, cython.address(key), which)
        if bucket_of(key.hash, _nr[0] + 1) == bucket:
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
            0,
            LARGE_OBJECT,
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
def give_item(
    stage: cython.pointer(Stage), cpu: cython.int, n: cython.int, which: cython.int, mark: uint64_t
) -> cython.int:
    item: Item
    if new_item(cython.address(stage.actors[cpu]), which, mark, cython.address(item)) != 0:
        return -1
    stage.actors[cpu].found[ITEM + n] = item.handle
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_store(e: cython.pointer(Engine), memory: cython.p_char, splits: uint64_t, bucket: uint64_t) -> cython.pointer(
    Stage
):
    """A store that has key A, with the value 1, after so many splits; the next one leaves A in the bucket, and B in its own."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[0].pool)
    index: uint32_t = 0
    i: cython.int
    old: Item
    item: Item
    key: Key
    found: Found
    _nr[0] = FIRST_BUCKETS + splits
    if set_arena(stage, 8 + _ROOT_PAGES + _PAGES + 1, 3) != 0:
        return cython.NULL
    if (
        set_pool(
            stage, KIND_STORE, ZS_SHIFT, _PAGES << ZS_SHIFT, 0, index_root_nbytes(SMALL_CHAIN), cython.address(index)
        )
        != 0
    ):
        return cython.NULL
    if zs_make(pool, SMALL_CHAIN) != OK:
        return cython.NULL
    while bucket_line(pool, _nr[0]) == cython.NULL:
        if grow_buckets(pool) != OK:
            return cython.NULL
    write_once(cython.address(index_root(pool).splits), splits, b"storestage.splits")
    find_key(cython.address(stage.actors[0]), 0, bucket)
    find_key(cython.address(stage.actors[0]), 1, _nr[0] - half_of(_nr[0]))
    take_key(cython.address(stage.actors[0]), cython.address(key), 0)
    if (
        new_item(cython.address(stage.actors[0]), 0, 1, cython.address(item)) != 0
        or index_put(
            pool, geometry(), cython.address(key), cython.address(item), False, 0, FOREVER, cython.address(old)
        )
        != OK
    ):
        return cython.NULL
    for i in range(3):
        if (
            index_find(cython.address(stage.actors[i].pool), geometry(), cython.address(key), cython.address(found))
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
def key_word(which: cython.int) -> uint64_t:
    return _keys[2 * which]


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
def own_item(actor: cython.pointer(Actor), n: cython.int, item: cython.pointer(Item)) -> cython.void:
    """The actor's n-th entry."""
    item.handle = actor.found[ITEM + n]
    item.parts = 0
    item.at = ENTRY_BYTES
    item.kind = KEY_BYTES
    item.nr_key = _KEY
    item.nr_stored = item.nr_logical = _VALUE
    item.kind = KEY_BYTES
    item.expiry = 0
    item.outside = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def let_go(actor: cython.pointer(Actor), old: cython.pointer(Item), how: cython.int) -> cython.void:
    """What goes out is retired, unless it is LEFT: then it stays the actor's own, in found[LEFT_ITEM]."""
    if how == LEFT:
        actor.found[LEFT_ITEM] = old.handle
    else:
        end_item(actor, old)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put(actor: cython.pointer(Actor), which: cython.int, n: cython.int, how: cython.int) -> cython.int:
    """The actor's n-th entry: OK, OVER_LIMIT, BUSY if there was one that has not expired by NOW, and must not be
    (IF_ABSENT). What goes out is retired, unless it is LEFT: then it stays the actor's own, in found[LEFT_ITEM]."""
    key: Key
    old: Item
    item: Item
    status: cython.int = TIMED_OUT
    own_item(actor, n, cython.address(item))
    take_key(actor, cython.address(key), which)
    while status == TIMED_OUT:
        status = index_put(
            cython.address(actor.pool),
            geometry(),
            cython.address(key),
            cython.address(item),
            how == IF_ABSENT,
            NOW,
            _SLICE,
            cython.address(old),
        )
    if status == BUSY or status == OVER_LIMIT:
        end_item(actor, cython.address(item))
    elif status != OK:
        engine_fail(b"a writer finds the index damaged")
    elif old.handle:
        let_go(actor, cython.address(old), how)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete(actor: cython.pointer(Actor), which: cython.int, how: cython.int) -> cython.int:
    key: Key
    old: Item
    status: cython.int = TIMED_OUT
    take_key(actor, cython.address(key), which)
    while status == TIMED_OUT:
        status = index_delete(cython.address(actor.pool), geometry(), cython.address(key), _SLICE, cython.address(old))
    if status == OK:
        let_go(actor, cython.address(old), how)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_left(stage: cython.pointer(Stage), cpu: cython.int, died: cython.bint) -> cython.void:
    """What a CPU that has not died has left."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[cpu])
    item: Item
    item.handle = actor.found[LEFT_ITEM]
    item.parts = 0
    if item.handle and not died:
        end_item(actor, cython.address(item))


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


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 0, 0, RETIRED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a_left(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 0, 0, LEFT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete_a(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = delete(me(stage_of(arg)), 0, RETIRED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete_a_left(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = delete(me(stage_of(arg)), 0, LEFT)


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
def split(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = index_split(cython.address(me(stage_of(arg)).pool), geometry())


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
    too_many: uint64_t = 0
    memset(cython.address(report), 0, cython.sizeof(IndexReport))
    if index_check_stripe(pool, geometry(), _nr[0] % NR_STRIPES, cython.address(report), 0) != OK:
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
    if (
        index_check_objects(pool, cython.address(of_entries), cython.address(of_pool), cython.address(too_many), 0)
        != OK
        or of_entries != of_pool
    ):
        return b"objects are the store's that no entry has"
    if too_many:
        return b"a store with a limit counts more or fewer bytes than there are"
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
def fill_buckets(stage: cython.pointer(Stage)) -> cython.void:
    """Buckets LINES and LINES + 1 are full of words that nobody looks at."""
    i: uint64_t
    for i in range(NR_LINE_SLOTS):
        write_once(bucket_line(cython.address(stage.actors[0].pool), LINES) + i, 1, b"storestage.full")
        write_once(bucket_line(cython.address(stage.actors[0].pool), LINES + 1) + i, 1, b"storestage.full")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lines_of(stage: cython.pointer(Stage), bucket: uint64_t) -> uint64_t:
    """How many further lines a bucket's chain has."""
    nr: uint64_t = 0
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[2].pool)
    line: cython.pointer(uint64_t) = next_line(pool, bucket_line(pool, bucket))
    while line != cython.NULL and nr < FIRST_BUCKETS:
        nr += 1
        line = next_line(pool, line)
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lines_taken(stage: cython.pointer(Stage)) -> uint64_t:
    """How many further lines are a stripe's."""
    nr: uint64_t = 0
    i: uint64_t
    r: cython.pointer(IndexRoot) = index_root(cython.address(stage.actors[2].pool))
    for i in range(FIRST_BUCKETS):
        nr += read_once(r.first_lines + i * LINE_WORDS + NR_LINE_SLOTS, b"storestage.lines") != 0
    return nr
