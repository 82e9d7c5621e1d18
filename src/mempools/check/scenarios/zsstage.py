"""The stage of a ZsPool's scenarios: two zspages of two slots each, with one object in each of them.

A real object of the class has two thousand bytes; here its header says 16, so that a move is a few steps. All processes have
pinned something before. CPU n plays process n + 1, as everywhere.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zsstage is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    Actor,
    Stage,
    arena_wrong,
    me,
    read_block,
    set_arena,
    set_pool,
    set_stage,
    slot_of,
    stage_of,
    write_block,
)
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_ZSPOOL
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.robustlock import robust_holder
from cython.cimports.mempools.parts.status import OK, STALE, TIMED_OUT
from cython.cimports.mempools.pools.zsalloc import zs_alloc, zs_free
from cython.cimports.mempools.pools.zscompact import move_locked
from cython.cimports.mempools.pools.zsdefer import zs_defer, zs_drain
from cython.cimports.mempools.pools.zsgeometry import MIN_CHAIN, Geometry, class_of, geometry_of
from cython.cimports.mempools.pools.zsmend import ClassReport, zs_check
from cython.cimports.mempools.pools.zspage import class_lock, class_unlock, regroup_locked, zspage_of
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zsretire import zs_retire
from cython.cimports.mempools.pools.zstable import (
    ZS_SHIFT,
    cell_slot,
    cell_zspage,
    header_of,
    index_of,
    root_nbytes,
    zs_cell,
    zs_class,
    zs_make,
)

register_module(cython.address(this_module_step))

_reading = cython.declare(Pinned[4])  # by process slot: what set_reader has begun
_A_WHILE = cython.declare(uint64_t, 20_000_000)  # for a lock whose holder may die: then again, for somebody recovers it
_PAGES = cython.declare(uint64_t, 6)  # of the pool: two zspages, four that are free
_ROOT_PAGES = cython.declare(uint64_t, (root_nbytes(geometry_of(MIN_CHAIN)) + 4095) // 4096)


# ---- setups


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def shorten(actor: cython.pointer(Actor), handle: uint64_t) -> cython.int:
    """The header says that the object has 16 bytes."""
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    g: cython.pointer(Geometry) = geometry(actor)
    word: uint64_t = read_once(zs_cell(pool, index_of(handle)), b"zsstage.shorten")
    d = zspage_of(pool, g, class_(actor), cell_zspage(word))
    write_once(
        header_of(pool, g, d, read_once(cython.address(d.word), b"zsstage.shorten"), cell_slot(word)),
        index_of(handle) << 32 | 16 << 1 | 1,
        b"zsstage.shorten",
    )
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_object(actor: cython.pointer(Actor), owner: uint32_t, mark: uint64_t) -> uint64_t:
    """For setups: an object that says `mark`; 0: there is no room."""
    pinned: Pinned
    handle: uint64_t = 0
    if (
        zs_alloc(cython.address(actor.pool), geometry(actor), ZS_NBYTES, owner, cython.address(handle), FOREVER) != OK
        or shorten(actor, handle) != 0
        or zs_pin(cython.address(actor.pool), geometry(actor), handle, cython.address(pinned)) != OK
    ):
        return 0
    write_block(pinned.object, mark)
    zs_unpin(cython.address(actor.pool), cython.address(pinned))
    return handle


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_objects(e: cython.pointer(Engine), memory: cython.p_char, owner: uint32_t) -> cython.pointer(Stage):
    """`owner`: whose the objects are."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    pinned: Pinned
    index: uint32_t = 0
    i: uint32_t
    handles: uint64_t[3]
    if set_arena(stage, 8 + _ROOT_PAGES + _PAGES + 1, 3) != 0:
        return cython.NULL
    if (
        set_pool(
            stage,
            KIND_ZSPOOL,
            ZS_SHIFT,
            _PAGES << ZS_SHIFT,
            0,
            root_nbytes(geometry_of(MIN_CHAIN)),
            cython.address(index),
        )
        != 0
    ):
        return cython.NULL
    if zs_make(cython.address(actor.pool), MIN_CHAIN) != OK:
        return cython.NULL
    for i in range(3):
        handles[i] = new_object(actor, owner, MARK)
        if handles[i] == 0:
            return cython.NULL
    for i in range(3):
        if zs_pin(
            cython.address(stage.actors[i].pool), geometry(actor), handles[0], cython.address(pinned)
        ) != OK or zs_unpin(cython.address(stage.actors[i].pool), cython.address(pinned)):
            return cython.NULL
        stage.actors[i].found[OBJECT] = handles[0]
        stage.actors[i].found[OTHER] = handles[2]
        stage.actors[i].found[NEXT] = handles[1] + (cython.cast(uint64_t, 1) << 40)
    if zs_free(cython.address(actor.pool), geometry(actor), handles[1], FOREVER) != OK:
        return cython.NULL
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_reader(stage: cython.pointer(Stage), i: cython.int) -> cython.int:
    """Actor i is reading the object from the start."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[i])
    return (
        zs_pin(
            cython.address(actor.pool), geometry(actor), actor.found[OBJECT], cython.address(_reading[slot_of(actor)])
        )
        - OK
    )


# ---- what bodies are made of


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def geometry(actor: cython.pointer(Actor)) -> cython.pointer(Geometry):
    return geometry_of(MIN_CHAIN)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def class_(actor: cython.pointer(Actor)) -> uint64_t:
    return class_of(geometry(actor), ZS_NBYTES)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lock(actor: cython.pointer(Actor), c: uint64_t) -> cython.void:
    while class_lock(cython.address(actor.pool), c, _A_WHILE) != OK:
        pass


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pin(actor: cython.pointer(Actor), pinned: cython.pointer(Pinned)) -> cython.bint:
    """The object; False: it has been freed."""
    status: cython.int = zs_pin(cython.address(actor.pool), geometry(actor), actor.found[OBJECT], pinned)
    if status != OK and status != STALE:
        engine_fail(b"an object cannot be found")
    return status == OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unpin(actor: cython.pointer(Actor), pinned: cython.pointer(Pinned)) -> cython.void:
    """As the objects of L4 do."""
    handle: uint64_t = pinned.handle
    if zs_unpin(cython.address(actor.pool), pinned):
        free_object(actor, handle)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def end_reading(arg: cython.p_void) -> cython.void:
    """The end of what set_reader has begun."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pinned: Pinned = _reading[slot_of(actor)]  # a copy: each execution begins with what the setup has left
    if read_block(pinned.object) != MARK:
        engine_fail(b"a reader finds the bytes of another object")
    unpin(actor, cython.address(pinned))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_object(actor: cython.pointer(Actor), mark: cython.pointer(uint64_t)) -> cython.bint:
    pinned: Pinned
    if not pin(actor, cython.address(pinned)):
        return False
    mark[0] = read_block(pinned.object)
    unpin(actor, cython.address(pinned))
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move(actor: cython.pointer(Actor)) -> cython.int:
    """The object, if it is where it was, goes to the other zspage: OK, BUSY, NOT_FOUND."""
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    g: cython.pointer(Geometry) = geometry(actor)
    c: uint64_t = class_(actor)
    status: cython.int
    lock(actor, c)
    status = move_locked(pool, g, c, 0, 0, 1)
    regroup_locked(pool, g, c, 1, zspage_of(pool, g, c, 1))
    regroup_locked(pool, g, c, 0, zspage_of(pool, g, c, 0))
    class_unlock(pool, c)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_object(actor: cython.pointer(Actor), handle: uint64_t) -> cython.int:
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = zs_free(cython.address(actor.pool), geometry(actor), handle, _A_WHILE)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def retire_object(actor: cython.pointer(Actor), handle: uint64_t) -> cython.int:
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = zs_retire(cython.address(actor.pool), geometry(actor), handle, _A_WHILE)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def defer_object(actor: cython.pointer(Actor), handle: uint64_t) -> cython.int:
    many: cython.bint = False
    return zs_defer(cython.address(actor.pool), geometry(actor), handle, cython.address(many))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drain(actor: cython.pointer(Actor), slot: uint64_t) -> uint64_t:
    """The queue of that process: how many objects ended."""
    nr: uint64_t = 0
    ended: uint64_t = 0
    while zs_drain(cython.address(actor.pool), geometry(actor), slot, cython.address(nr), _A_WHILE) != OK:
        ended += nr
    return ended + nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_queue(stage: cython.pointer(Stage), i: cython.int) -> cython.int:
    """Actor i has a queue, in which nothing is."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[i])
    handle: uint64_t = new_object(actor, slot_of(actor), MARK)
    return 0 if handle and defer_object(actor, handle) == OK and drain(actor, slot_of(actor)) == 1 else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc(actor: cython.pointer(Actor), mark: uint64_t) -> uint64_t:
    """A new object that says `mark`."""
    pinned: Pinned
    handle: uint64_t = 0
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = zs_alloc(
            cython.address(actor.pool), geometry(actor), ZS_NBYTES, slot_of(actor), cython.address(handle), _A_WHILE
        )
    if status != OK or zs_pin(cython.address(actor.pool), geometry(actor), handle, cython.address(pinned)) != OK:
        engine_fail(b"no object can be had, though there is room")
    write_block(pinned.object, mark)
    unpin(actor, cython.address(pinned))
    return handle


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pool_wrong(stage: cython.pointer(Stage), actor: cython.pointer(Actor), objects: uint64_t) -> cython.p_const_char:
    """Does anything contradict itself, or are there not that many objects of the class?"""
    report: ClassReport
    if robust_holder(cython.address(zs_class(cython.address(actor.pool), class_(actor)).lock)):
        return b"the class is still locked"
    if zs_check(cython.address(actor.pool), geometry(actor), class_(actor), cython.address(report), 0) != OK:
        return b"the class cannot be looked at"
    if report.bad_objects or report.bad_slots:
        return b"an object and its slot do not agree"
    if report.claimed:
        return b"a claim stays on an object"
    if report.bad_groups or report.bad_counts:
        return b"the lists or the counts of the class are wrong"
    if report.bad_cells:
        return b"a free cell is lost"
    if report.objects < objects:
        return b"an object is lost"
    if report.objects > objects:
        return b"an object is there that was to end"
    return arena_wrong(stage, actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_two(arg: cython.p_void) -> cython.p_const_char:
    """Nothing came or went: two objects."""
    return pool_wrong(stage_of(arg), cython.address(stage_of(arg).actors[0]), 2)
