"""Scenarios of a store's bound: its limit, who is evicted, what expires (storestage.py has the stage, storing.py the rest).

Key A is there at the beginning. Where a limit is told in values, a value is what the stage's are. Who evicts has chosen his
victim before the others begin: so whatever they do comes between his look and his lock.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.storebounding is compiled code: run `make build` in a checkout, or install the wheel"
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
    IF_ABSENT,
    LEFT,
    NOW,
    RETIRED,
    delete,
    delete_a,
    delete_a_left,
    end_left,
    find_key,
    geometry,
    get,
    get_a,
    give_item,
    let_go,
    move_a,
    put,
    set_store,
    split,
    store_wrong,
    take_key,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import NOT_FOUND, OK, OVER_LIMIT, TIMED_OUT
from cython.cimports.mempools.pools.hashclock import EVICT_LRU, EVICT_NONE, entry_expire_at, entry_touch
from cython.cimports.mempools.pools.hashcommit import add_expiring, index_expire_at
from cython.cimports.mempools.pools.hashentry import Found, Item, Key, entry_close
from cython.cimports.mempools.pools.hashevict import ENOUGH, Moment, Victim, index_evict, index_look
from cython.cimports.mempools.pools.hashindex import index_find
from cython.cimports.mempools.pools.hashlimit import index_bytes, index_recount, may_be_more
from cython.cimports.mempools.pools.hashtable import BOUND_CHOSEN, BOUND_EVICT, FIRST_BUCKETS, index_root

register_module(cython.address(this_module_step))

_VALUE = cython.declare(uint64_t, 16)  # bytes
_SLICE = cython.declare(uint64_t, 20_000_000)
_OTHER = cython.declare(uint64_t, 5)  # a bucket of another stripe than A's
_TICK = cython.declare(uint64_t, 9)
_LATER = cython.declare(uint64_t, 20)  # an expiry
_moment = cython.declare(Moment)
_victim = cython.declare(Victim)


# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_bounded(
    e: cython.pointer(Engine), memory: cython.p_char, values: uint64_t, evict: uint64_t, expiry: uint64_t
) -> cython.pointer(Stage):
    """A's store has a limit of so many values; A expires then, 0: never. The victim is A. B is of another stripe."""
    stage: cython.pointer(Stage) = set_store(e, memory, 0, FIRST_BUCKETS)
    pool: cython.pointer(PoolRef)
    key: Key
    found: Found
    bucket: uint64_t = 0
    if stage == cython.NULL:
        return cython.NULL
    pool = cython.address(stage.actors[0].pool)
    find_key(cython.address(stage.actors[0]), 1, _OTHER)
    write_once(
        cython.address(index_root(pool).bound),
        cython.cast(uint64_t, BOUND_CHOSEN) | evict << BOUND_EVICT | values * _VALUE,
        b"storebounding.bound",
    )
    write_once(cython.address(index_root(pool).bytes), _VALUE, b"storebounding.bound")
    if expiry:
        take_key(cython.address(stage.actors[0]), cython.address(key), 0)
        if index_find(pool, geometry(), cython.address(key), cython.address(found)) != OK:
            return cython.NULL
        entry_expire_at(cython.address(found), expiry)
        add_expiring(key.stripe, 1)
        entry_close(pool, geometry(), cython.address(found))
    _moment.evict = evict
    _moment.now = NOW
    _moment.tick = _TICK - 1
    index_look(
        pool,
        geometry(),
        cython.address(_moment),
        cython.address(bucket),
        False,
        FIRST_BUCKETS,
        ENOUGH,
        cython.address(_victim),
    )
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete_first(stage: cython.pointer(Stage)) -> cython.void:
    """A is not there at the beginning."""
    delete(cython.address(stage.actors[0]), 0, RETIRED)


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def evict(actor: cython.pointer(Actor), how: cython.int) -> cython.int:
    old: Item
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = index_evict(
            cython.address(actor.pool),
            geometry(),
            cython.address(_moment),
            cython.address(_victim),
            _SLICE,
            cython.address(old),
        )
    if status == OK:
        let_go(actor, cython.address(old), how)
    elif status != NOT_FOUND:
        engine_fail(b"who evicts finds the index damaged")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def evict_a(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = evict(me(stage_of(arg)), RETIRED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def evict_a_left(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = evict(me(stage_of(arg)), LEFT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a_retired(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 0, 0, RETIRED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_b(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 1, 0, RETIRED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_a_if_absent(arg: cython.p_void) -> cython.void:
    me(stage_of(arg)).status = put(me(stage_of(arg)), 0, 0, IF_ABSENT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_for_both(arg: cython.p_void) -> cython.void:
    """There is room for one of them."""
    if get(me(stage_of(arg)), 1) != 0 and get(me(stage_of(arg)), 0) != 0:
        engine_fail(b"a reader finds more than the limit")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_a(arg: cython.p_void) -> cython.void:
    """As get, counted."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    key: Key
    found: Found
    take_key(actor, cython.address(key), 0)
    if index_find(cython.address(actor.pool), geometry(), cython.address(key), cython.address(found)) == OK:
        entry_touch(cython.address(found), EVICT_LRU, _TICK, 0)
        entry_close(cython.address(actor.pool), geometry(), cython.address(found))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def expire_later(arg: cython.p_void) -> cython.void:
    """A gets another expiry, by somebody for whom it has not expired yet."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    key: Key
    take_key(actor, cython.address(key), 0)
    actor.status = TIMED_OUT
    while actor.status == TIMED_OUT:
        actor.status = index_expire_at(
            cython.address(actor.pool), geometry(), cython.address(key), _LATER, NOW - 8, _SLICE
        )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_again(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = TIMED_OUT
    while actor.status == TIMED_OUT:
        actor.status = index_recount(cython.address(actor.pool), _SLICE)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def died(stage: cython.pointer(Stage)) -> cython.bint:
    return stage.actors[1].found[NR_FOUND - 1] != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def bounded_wrong(stage: cython.pointer(Stage)) -> cython.p_const_char:
    """Whatever is there is counted; B is in another stripe, or there is none. Of other objects there are stage.param."""
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[2].pool)
    nr_a: uint64_t = get(cython.address(stage.actors[2]), 0) != 0
    nr_b: uint64_t = get(cython.address(stage.actors[2]), 1) != 0
    wrong: cython.p_const_char
    stage.param += nr_b
    wrong = store_wrong(stage, nr_a)
    if wrong != cython.NULL:
        return wrong
    if may_be_more(pool) and index_recount(pool, 0) != OK:
        return b"a stripe's lock is still held"
    if may_be_more(pool) or index_bytes(pool) != (nr_a + nr_b) * _VALUE:
        return b"the bytes that were counted are not those that are there"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_bounded(arg: cython.p_void) -> cython.p_const_char:
    end_left(stage_of(arg), 0, died(stage_of(arg)))
    return bounded_wrong(stage_of(arg))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status + stage.actors[1].status != OVER_LIMIT:
        return b"of two that put a value each, and there is room for one, not exactly one did"
    return bounded_wrong(stage)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_evicted(arg: cython.p_void) -> cython.p_const_char:
    """CPU 0 evicts."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (get(cython.address(stage.actors[2]), 0) != 0):
        return b"an entry is there that was evicted, or not there though it was not"
    return bounded_wrong(stage)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_evicted_once(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"of two that evict an entry, not exactly one did"
    return bounded_wrong(stage)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_new(arg: cython.p_void) -> cython.p_const_char:
    """CPU 1 has put A."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[1].status != OK or get(cython.address(stage.actors[2]), 0) != 2:
        return b"a new value was evicted, or did not come in"
    return bounded_wrong(stage)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_later(arg: cython.p_void) -> cython.p_const_char:
    """CPU 0 has given A another expiry."""
    stage: cython.pointer(Stage) = stage_of(arg)
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[2].pool)
    key: Key
    found: Found
    take_key(cython.address(stage.actors[2]), cython.address(key), 0)
    if stage.actors[0].status != OK and stage.actors[0].status != NOT_FOUND:
        return b"an entry cannot get an expiry"
    if index_find(pool, geometry(), cython.address(key), cython.address(found)) == OK:
        entry_close(pool, geometry(), cython.address(found))
        if stage.actors[0].status != OK or found.item.expiry != _LATER:
            return b"an entry has not the expiry that it got"
    elif stage.actors[0].status == OK:
        return b"an entry went that has got a later expiry"
    return bounded_wrong(stage)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashlimit_order(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 1, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    if give_item(stage, 1, 0, 1, 2) != 0:
        return -1
    return play(e, final_bounded, delete_a, put_b, look_for_both)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashlimit_both(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    if give_item(stage, 1, 0, 1, 2) != 0:
        return -1
    return play(e, final_bounded, delete_a, put_b, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashlimit_two(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    delete_first(stage)
    write_once(
        cython.address(index_root(cython.address(stage.actors[0].pool)).bound),
        cython.cast(uint64_t, BOUND_CHOSEN) | _VALUE,
        b"storebounding.bound",
    )
    if give_item(stage, 0, 0, 0, 2) != 0 or give_item(stage, 1, 0, 1, 2) != 0:
        return -1
    return play(e, final_one, put_a_retired, put_b, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashlimit_put_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    if give_item(stage, 0, 0, 1, 2) != 0:
        return -1
    e.may_die = 1
    return play(e, final_bounded, put_b, recover_the_first, get_a)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashlimit_delete_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_bounded, delete_a_left, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashlimit_recount(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    write_once(cython.address(index_root(cython.address(stage.actors[0].pool)).bytes), 24, b"storebounding.bound")
    write_once(cython.address(index_root(cython.address(stage.actors[0].pool)).recount), 1, b"storebounding.bound")
    if give_item(stage, 1, 0, 1, 2) != 0:
        return -1
    e.max_steps = 6000
    return play(e, final_bounded, count_again, put_b, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashlimit_recount_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    write_once(cython.address(index_root(cython.address(stage.actors[0].pool)).bytes), 24, b"storebounding.bound")
    write_once(cython.address(index_root(cython.address(stage.actors[0].pool)).recount), 1, b"storebounding.bound")
    e.may_die = 1
    e.max_steps = 6000
    return play(e, final_bounded, count_again, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashevict_replaced(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    if give_item(stage, 1, 0, 0, 2) != 0:
        return -1
    return play(e, final_new, evict_a, put_a_retired, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashevict_read(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play(e, final_evicted, evict_a, read_a, cython.NULL) if set_bounded(e, memory, 2, EVICT_LRU, 0) else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashevict_two(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play(e, final_evicted_once, evict_a, evict_a, cython.NULL) if set_bounded(e, memory, 2, EVICT_LRU, 0) else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashevict_split(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play(e, final_evicted, evict_a, split, cython.NULL) if set_bounded(e, memory, 2, EVICT_LRU, 0) else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashevict_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, 0)
    if stage == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_bounded, evict_a_left, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashevict_expired(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_NONE, NOW - 5)
    if stage == cython.NULL:
        return -1
    if give_item(stage, 1, 0, 0, 2) != 0:
        return -1
    return play(e, final_new, evict_a, put_a_if_absent, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashclock_read(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return (
        play(e, final_later, expire_later, read_a, cython.NULL) if set_bounded(e, memory, 2, EVICT_LRU, NOW + 5) else -1
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashclock_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_LRU, NOW + 5)
    if stage == cython.NULL:
        return -1
    if give_item(stage, 2, 0, 1, 2) != 0 or give_item(stage, 2, 1, 1, 2) != 0:
        return -1
    stage.param = 2
    return play(e, final_later, expire_later, move_a, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashclock_expired(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return (
        play(e, final_later, expire_later, evict_a, cython.NULL)
        if set_bounded(e, memory, 2, EVICT_NONE, NOW - 5)
        else -1
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hashclock_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_bounded(e, memory, 2, EVICT_NONE, 0)
    if stage == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_bounded, expire_later, recover_the_first, cython.NULL)


register_scene(
    b"hashlimit.order",
    b"a key is deleted, another comes in in its place, and a reader looks for both: never more than the limit",
    b"",
    3,
    STAGE_BYTES,
    scene_hashlimit_order,
)
register_scene(
    b"hashlimit.both",
    b"a key is deleted while another comes in, in another stripe: both count",
    b"",
    2,
    STAGE_BYTES,
    scene_hashlimit_both,
)
register_scene(
    b"hashlimit.two",
    b"two processes put a key each, in two stripes, and there is room for one: one does, the other is refused",
    b"",
    2,
    STAGE_BYTES,
    scene_hashlimit_two,
)
register_scene(
    b"hashlimit.put-dies",
    b"a writer in a store with a limit is killed anywhere and mended: it counts what is there, at once or after a recount",
    b"I28",
    3,
    STAGE_BYTES,
    scene_hashlimit_put_dies,
)
register_scene(
    b"hashlimit.delete-dies",
    b"a process that deletes a key of a store with a limit is killed anywhere and mended",
    b"I28",
    2,
    STAGE_BYTES,
    scene_hashlimit_delete_dies,
)
register_scene(
    b"hashlimit.recount",
    b"the bytes are counted again while a value comes in: both are right",
    b"",
    2,
    STAGE_BYTES,
    scene_hashlimit_recount,
)
register_scene(
    b"hashlimit.recount-dies",
    b"who counts the bytes again is killed anywhere: they are counted again",
    b"I28",
    2,
    STAGE_BYTES,
    scene_hashlimit_recount_dies,
)
register_scene(
    b"hashevict.replaced",
    b"an entry is evicted while its value is replaced: never the new value",
    b"",
    2,
    STAGE_BYTES,
    scene_hashevict_replaced,
)
register_scene(
    b"hashevict.read",
    b"an entry is evicted while it is read: it goes, or stays as one that was read",
    b"",
    2,
    STAGE_BYTES,
    scene_hashevict_read,
)
register_scene(
    b"hashevict.two",
    b"two processes evict one entry: one of them does",
    b"",
    2,
    STAGE_BYTES,
    scene_hashevict_two,
)
register_scene(
    b"hashevict.split",
    b"an entry is evicted while its bucket is split",
    b"",
    2,
    STAGE_BYTES,
    scene_hashevict_split,
)
register_scene(
    b"hashevict.dies",
    b"who evicts is killed anywhere and mended",
    b"I28",
    2,
    STAGE_BYTES,
    scene_hashevict_dies,
)
register_scene(
    b"hashevict.expired",
    b"an expired entry is taken away while its key is put if it is absent: it is",
    b"",
    2,
    STAGE_BYTES,
    scene_hashevict_expired,
)
register_scene(
    b"hashclock.read",
    b"an entry gets another expiry while it is read: it has it",
    b"",
    2,
    STAGE_BYTES,
    scene_hashclock_read,
)
register_scene(
    b"hashclock.move",
    b"compaction moves an entry while it gets another expiry: it has it",
    b"",
    2,
    STAGE_BYTES,
    scene_hashclock_move,
)
register_scene(
    b"hashclock.expired",
    b"an entry gets a later expiry while another takes it away as expired: one of them does",
    b"",
    2,
    STAGE_BYTES,
    scene_hashclock_expired,
)
register_scene(
    b"hashclock.dies",
    b"who gives an entry an expiry is killed anywhere and mended: the counts are right",
    b"I28",
    2,
    STAGE_BYTES,
    scene_hashclock_dies,
)
