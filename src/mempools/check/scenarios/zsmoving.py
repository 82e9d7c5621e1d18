"""Scenarios of a ZsPool: readers and writers beside moves and frees, frees beside each other, the tables (zsdying.py: deaths)."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zsmoving is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    slot_of,
    stage_of,
    write_block,
)
from cython.cimports.mempools.check.scenarios.zsstage import (
    BLOCK,
    MARK,
    NEXT,
    OBJECT,
    OTHER,
    ZS_NBYTES,
    alloc,
    class_,
    end_reading,
    final_two,
    free_object,
    geometry,
    lock,
    move,
    new_object,
    pin,
    pool_wrong,
    read_object,
    retire_object,
    set_objects,
    set_reader,
    unpin,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import Hint, PoolRef
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import BUSY, NOT_A_BLOCK, OK, STALE
from cython.cimports.mempools.pools.genpool import NEAR_FIT, genpool_alloc_algo
from cython.cimports.mempools.pools.zsalloc import zs_alloc
from cython.cimports.mempools.pools.zsgeometry import Geometry, class_of
from cython.cimports.mempools.pools.zsmend import ClassReport, zs_check
from cython.cimports.mempools.pools.zspage import class_lock, class_unlock, install_locked
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin
from cython.cimports.mempools.pools.zstable import INLINE_CELLS, index_of, name_block, zs_cell, zs_root

register_module(cython.address(this_module_step))

# What an actor finds: [0] how often it was served, [1] what it read, [2] the status of its last call.


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move_and_reuse(arg: cython.p_void) -> cython.void:
    """Moves the object, and gives the place where it was to another."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = move(actor)
    if actor.status == OK:
        alloc(actor, MARK + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move_only(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = move(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_and_reuse(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = free_object(actor, actor.found[OBJECT])
    if actor.status == OK:
        alloc(actor, MARK + 1)
    elif actor.status != BUSY:
        engine_fail(b"an object that is there cannot be freed")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def retire_and_reuse(arg: cython.p_void) -> cython.void:
    """Nobody can refuse it: the object is gone, or goes with its reader."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if retire_object(actor, actor.found[OBJECT]) != OK:
        engine_fail(b"an object that is there cannot be retired")
    alloc(actor, MARK + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def retire_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = retire_object(actor, actor.found[OBJECT])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = free_object(actor, actor.found[OBJECT])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_other(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = free_object(actor, actor.found[OTHER])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_one(arg: cython.p_void) -> cython.void:
    alloc(me(stage_of(arg)), MARK + 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_it(arg: cython.p_void) -> cython.void:
    """Whoever finds the object finds its bytes."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if read_object(actor, cython.address(actor.found[1])):
        actor.found[0] += 1
        if actor.found[1] != MARK:
            engine_fail(b"a reader finds the bytes of another object")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pinned: Pinned
    if pin(actor, cython.address(pinned)):
        actor.found[0] += 1
        write_block(pinned.object, MARK + 3)
        unpin(actor, cython.address(pinned))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def install_page(arg: cython.p_void) -> cython.void:
    """Another class makes a zspage of a page, with a descriptor that may just have been given back."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    g: cython.pointer(Geometry) = geometry(actor)
    c: uint64_t = class_of(g, 4096)
    lock(actor, c)
    actor.status = install_locked(cython.address(actor.pool), g, c, actor.found[BLOCK])
    class_unlock(cython.address(actor.pool), c)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def name_cells(arg: cython.p_void) -> cython.void:
    """A segment of cells, of which the scenario needs but one."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if name_block(cython.address(actor.pool), cython.address(zs_root(cython.address(actor.pool)).cells[1]), 64) != OK:
        engine_fail(b"there is room for a segment")
    look_at_cell(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_at_cell(arg: cython.p_void) -> cython.void:
    cell: cython.pointer(uint64_t) = zs_cell(cython.address(me(stage_of(arg)).pool), INLINE_CELLS)
    if cell != cython.NULL and read_once(cell, b"zsmoving.look") != 0:
        engine_fail(b"a cell that nobody has used is not 0")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def install_small(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    lock(actor, class_(actor))
    actor.status = install_locked(cython.address(actor.pool), geometry(actor), class_(actor), actor.found[BLOCK])
    class_unlock(cython.address(actor.pool), class_(actor))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_next(arg: cython.p_void) -> cython.void:
    """By the handle that the next object will have: whoever finds it finds its size and its place."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pinned: Pinned
    status: cython.int = zs_pin(cython.address(actor.pool), geometry(actor), actor.found[NEXT], cython.address(pinned))
    if status == OK:
        if pinned.nbytes != ZS_NBYTES:
            engine_fail(b"an object is found that has another's size")
        unpin(actor, cython.address(pinned))
    elif status != NOT_A_BLOCK:
        engine_fail(b"an object is found that is not there yet")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_small(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.found[OBJECT] = alloc(actor, MARK + 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_page(arg: cython.p_void) -> cython.void:
    """An object of the other class."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    actor.status = zs_alloc(
        pool, geometry(actor), 4096, slot_of(actor), cython.address(actor.found[OBJECT]), cython.cast(uint64_t, 1) << 40
    )


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one(arg: cython.p_void) -> cython.p_const_char:
    return pool_wrong(stage_of(arg), cython.address(stage_of(arg).actors[0]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_three(arg: cython.p_void) -> cython.p_const_char:
    return pool_wrong(stage_of(arg), cython.address(stage_of(arg).actors[0]), 3)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_both_made(arg: cython.p_void) -> cython.p_const_char:
    """Each class has the zspage that it made."""
    stage: cython.pointer(Stage) = stage_of(arg)
    wrong: cython.p_const_char = other_class_wrong(stage)
    if stage.actors[0].status != OK:
        return b"there was an unused descriptor"
    return wrong if wrong != cython.NULL else final_two(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_moved(arg: cython.p_void) -> cython.p_const_char:
    """Two objects, and another where the move left room for one; a write that was done is not lost."""
    stage: cython.pointer(Stage) = stage_of(arg)
    mark: uint64_t = 0
    if not read_object(cython.address(stage.actors[0]), cython.address(mark)):
        return b"an object is lost"
    if mark != (MARK + 3 if stage.param and stage.actors[1].found[0] else MARK):
        return b"what was written to an object is lost"
    return pool_wrong(stage, cython.address(stage.actors[0]), 2 + (stage.actors[0].status == OK))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_moved_only(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    mark: uint64_t = 0
    if not read_object(cython.address(stage.actors[0]), cython.address(mark)) or mark != MARK + 3:
        return b"what was written to an object is lost"
    return final_two(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_freed(arg: cython.p_void) -> cython.p_const_char:
    """Freed and another in its place, or refused because somebody was reading: four, either way."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status == BUSY and stage.actors[1].found[0] == 0:
        return b"a free was refused, though nobody reads"
    return pool_wrong(stage, cython.address(stage.actors[0]), 4)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_ended(arg: cython.p_void) -> cython.p_const_char:
    """The second freed the object that the first moved: one is left."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[1].status != OK:
        return b"a free beside a move was refused"
    return pool_wrong(stage, cython.address(stage.actors[0]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_once(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status + stage.actors[1].status != OK + STALE:
        return b"of two who end an object not exactly one succeeded"
    return pool_wrong(stage, cython.address(stage.actors[0]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def other_class_wrong(stage: cython.pointer(Stage)) -> cython.p_const_char:
    """Of objects of a page."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    report: ClassReport
    if stage.actors[1].status != OK:
        return b"there was an unused descriptor"
    if (
        zs_check(
            cython.address(actor.pool), geometry(actor), class_of(geometry(actor), 4096), cython.address(report), 0
        )
        != OK
    ):
        return b"the other class is still locked"
    if report.bad_groups or report.bad_counts or report.bad_slots:
        return b"the lists or the counts of the other class are wrong"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_two_cells(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    wrong: cython.p_const_char = other_class_wrong(stage)
    if index_of(stage.actors[0].found[OBJECT]) == index_of(stage.actors[1].found[OBJECT]):
        return b"two objects have one cell"
    return wrong if wrong != cython.NULL else pool_wrong(stage, cython.address(stage.actors[0]), 4)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_both_classes(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    wrong: cython.p_const_char = other_class_wrong(stage)
    return wrong if wrong != cython.NULL else pool_wrong(stage, cython.address(stage.actors[0]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_table(arg: cython.p_void) -> cython.p_const_char:
    """Two zspages, and the one table that is named."""
    if nr_owned(cython.address(stage_of(arg).actors[0].pool), OWNER_STRUCT) != 3:
        return b"a table is there that nobody names"
    return arena_wrong(stage_of(arg), cython.address(stage_of(arg).actors[0]))


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_empty_zspage(stage: cython.pointer(Stage)) -> cython.int:
    """A third zspage, which is empty: the next one that becomes empty ends."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    handles: uint64_t[3]
    i: cython.int
    for i in range(3):
        handles[i] = alloc(actor, MARK)
    for i in range(3):
        if free_object(actor, handles[i]) != OK:
            return -1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_read_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_moved, move_and_reuse, read_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_readers(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_two, move_only, read_it, read_it)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_write_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL:
        return -1
    stage.param = 1
    return play(e, final_moved_only, move_only, write_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_read_free(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    i: cython.int
    if stage == cython.NULL:
        return -1
    for i in range(2):  # no other place is left for the object that comes
        if new_object(cython.address(stage.actors[0]), OWNER_STRUCT, MARK) == 0:
            return -1
    return play(e, final_freed, free_and_reuse, read_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_read_retire(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_two, retire_and_reuse, read_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_readers_retire(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if (
        stage == cython.NULL
        or set_reader(stage, 0) != 0
        or set_reader(stage, 1) != 0
        or retire_object(cython.address(stage.actors[2]), stage.actors[2].found[OBJECT]) != OK
    ):
        return -1
    return play(e, final_one, end_reading, end_reading, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_retire(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    if stage == cython.NULL or set_reader(stage, 2) != 0:
        return -1
    return play(e, final_once, retire_it, retire_it, end_reading)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_free_move(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_ended, move_only, free_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_free_free(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_once, free_it, free_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_alloc_free(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_two, alloc_one, free_other, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_classes(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    hint: Hint
    if stage == cython.NULL:
        return -1
    hint.chunk = 0
    hint.word = 0
    if (
        set_empty_zspage(stage) != 0
        or genpool_alloc_algo(
            cython.address(stage.actors[1].pool),
            cython.address(hint),
            4096,
            NEAR_FIT,
            0,
            cython.address(stage.actors[1].found[BLOCK]),
        )
        != OK
    ):
        return -1
    return play(e, final_both_classes, free_it, install_page, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_table(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_table, name_cells, look_at_cell, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_tables(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_table, name_cells, name_cells, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_zspages(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    hint: Hint
    i: cython.int
    chain: cython.pointer(uint64_t)
    if stage == cython.NULL:
        return -1
    hint.chunk = 0
    hint.word = 0
    for i in range(2):
        if (
            genpool_alloc_algo(
                cython.address(stage.actors[i].pool),
                cython.address(hint),
                4096,
                NEAR_FIT,
                0,
                cython.address(stage.actors[i].found[BLOCK]),
            )
            != OK
        ):
            return -1
        chain = cython.cast(cython.pointer(uint64_t), stage.memory + stage.actors[i].found[BLOCK])
        write_once(cython.address(chain[0]), 2 << 1, b"zsmoving.chain")
        write_once(cython.address(chain[256]), 0, b"zsmoving.chain")
    return play(e, final_both_made, install_small, install_page, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_cells(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """No class has a free cell, each has a free slot."""
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    actor: cython.pointer(Actor)
    hint: Hint
    c: uint64_t
    if stage == cython.NULL or new_object(cython.address(stage.actors[0]), OWNER_STRUCT, MARK) == 0:
        return -1
    actor = cython.address(stage.actors[1])
    c = class_of(geometry(actor), 4096)
    hint.chunk = 0
    hint.word = 0
    if (
        genpool_alloc_algo(
            cython.address(actor.pool), cython.address(hint), 4096, NEAR_FIT, 0, cython.address(actor.found[BLOCK])
        )
        != OK
        or class_lock(cython.address(actor.pool), c, 0) != OK
        or install_locked(cython.address(actor.pool), geometry(actor), c, actor.found[BLOCK]) != OK
    ):
        return -1
    class_unlock(cython.address(actor.pool), c)
    return play(e, final_two_cells, alloc_small, alloc_page, cython.NULL)


register_scene(
    b"zs.two-cells",
    b"objects of two classes come into being at the same time, each in a cell that nobody has used: two cells",
    b"I21",
    2,
    STAGE_BYTES,
    scene_two_cells,
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_read_alloc(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_objects(e, memory, OWNER_STRUCT) == cython.NULL:
        return -1
    return play(e, final_three, alloc_one, read_next, cython.NULL)


register_scene(
    b"zs.read-move",
    b"an object is moved and its old place given to another, while somebody reads it: its own bytes, whole",
    b"I19 I20",
    2,
    STAGE_BYTES,
    scene_read_move,
)
register_scene(
    b"zs.two-readers",
    b"two read an object that is to be moved: each cancels the move or finds it moved",
    b"I20",
    3,
    STAGE_BYTES,
    scene_two_readers,
)
register_scene(
    b"zs.write-move",
    b"an object is written to while it is moved: what was written is there in the end",
    b"I20",
    2,
    STAGE_BYTES,
    scene_write_move,
)
register_scene(
    b"zs.read-free",
    b"an object is freed and its place given to another, while somebody reads it: its own bytes, or none",
    b"I20 I23",
    2,
    STAGE_BYTES,
    scene_read_free,
)
register_scene(
    b"zs.read-retire",
    b"an object is retired and its place given to another, while somebody reads it: its own bytes, or none, and it is freed",
    b"I20 I23",
    2,
    STAGE_BYTES,
    scene_read_retire,
)
register_scene(
    b"zs.two-readers-retire",
    b"two end reading an object that was retired meanwhile: one of them frees it",
    b"I20 I23",
    2,
    STAGE_BYTES,
    scene_two_readers_retire,
)
register_scene(
    b"zs.two-retire",
    b"two retire an object that a third reads: one is told that it is gone, and it is freed once",
    b"I23",
    3,
    STAGE_BYTES,
    scene_two_retire,
)
register_scene(
    b"zs.free-move",
    b"an object is freed while it is moved: it is gone, and its place is free",
    b"I19",
    2,
    STAGE_BYTES,
    scene_free_move,
)
register_scene(
    b"zs.free-free",
    b"two free an object: one is told that it is gone",
    b"I23",
    2,
    STAGE_BYTES,
    scene_free_free,
)
register_scene(
    b"zs.alloc-free",
    b"an allocation beside a free in the same class",
    b"I21 I23",
    2,
    STAGE_BYTES,
    scene_alloc_free,
)
register_scene(
    b"zs.two-classes",
    b"a class gives an empty zspage back, another takes its descriptor",
    b"I21 I22",
    2,
    STAGE_BYTES,
    scene_two_classes,
)
register_scene(
    b"zs.two-zspages",
    b"two classes make a zspage each: each has a descriptor of its own",
    b"",
    2,
    STAGE_BYTES,
    scene_two_zspages,
)
register_scene(
    b"zs.read-alloc",
    b"an object is read the moment it is there: it is whole",
    b"",
    2,
    STAGE_BYTES,
    scene_read_alloc,
)
register_scene(
    b"zs.table",
    b"a table grows while somebody looks into the new part",
    b"",
    2,
    STAGE_BYTES,
    scene_table,
)
register_scene(
    b"zs.two-tables",
    b"two make the same new part of a table",
    b"",
    2,
    STAGE_BYTES,
    scene_tables,
)
