"""Scenarios of PerCpu's index: a free without a lock beside the index's holder, who looks at what was freed, and beside
another free; two processes set a pool up.

The pool has one chunk of one unit, of one page or two.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.indexing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    STAGE_BYTES,
    Stage,
    me,
    play,
    set_arena,
    set_pool,
    set_ref,
    set_stage,
    slot_of,
    stage_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.structs import KIND_PERCPU
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import NOT_FOUND, OK
from cython.cimports.mempools.pools.percpu import (
    PerCpuConfig,
    index_lock,
    index_unlock,
    percpu_alloc,
    percpu_free,
    percpu_load,
    percpu_setup,
)
from cython.cimports.mempools.pools.percpuindex import (
    PERCPU_SHIFT,
    ChunkIndex,
    PerCpuTable,
    Units,
    index_of,
    refresh,
    scan_block,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load(stage: cython.pointer(Stage), units: cython.pointer(Units)) -> cython.bint:
    if percpu_load(cython.address(me(stage).pool), units) == OK:
        return True
    engine_fail(b"the pool is not ready")
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_marked(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    index: cython.pointer(ChunkIndex)
    b: uint64_t
    if percpu_load(cython.address(stage.actors[2].pool), cython.address(units)) != OK:
        return b"the pool is not ready"
    index = index_of(cython.address(units), 0)
    for b in range(units.nr_blocks):
        if read_once(cython.address(index.stale), b"indexing.final") >> b & 1 == 0 and read_once(
            cython.address(index.blocks[b]), b"indexing.final"
        ) != scan_block(units.pool.chunks[0].map, b):
            return b"room was freed that the index does not know of, and nothing says that it is stale"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_areas(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    if not load(stage, cython.address(units)):
        return
    if percpu_free(cython.address(units), me(stage).address) != OK:
        engine_fail(b"an owner cannot free its area")
    elif percpu_free(cython.address(units), me(stage).found[0]) != OK:
        engine_fail(b"an owner cannot free its second area")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_area(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    if load(stage, cython.address(units)) and percpu_free(cython.address(units), me(stage).address) != OK:
        engine_fail(b"an owner cannot free its area")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look(arg: cython.p_void) -> cython.void:
    """What every allocation begins with."""
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    if load(stage, cython.address(units)) and index_lock(cython.address(units)) == OK:
        refresh(cython.address(units))
        index_unlock(cython.address(units))


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_chunk(stage: cython.pointer(Stage), nr_pages: uint64_t) -> cython.int:
    want: PerCpuConfig
    units: Units
    index: uint32_t = 0
    i: uint32_t
    address: uint64_t = 0
    want.nr_units = 1
    want.unit_nbytes = nr_pages << 12
    want.by_process = 0
    want.given = 0
    if set_arena(stage, 13, 3) != 0:
        return -1
    if set_pool(stage, KIND_PERCPU, PERCPU_SHIFT, 0, 0, cython.sizeof(PerCpuTable), cython.address(index)) != 0:
        return -1
    if percpu_setup(cython.address(stage.actors[2].pool), cython.address(want), cython.address(units)) != OK:
        return -1
    if percpu_alloc(cython.address(units), 4, 4, True, cython.address(address)) != OK:
        return -1
    if percpu_free(cython.address(units), address) != OK:
        return -1
    for i in range(4):
        if set_ref(stage, i, index) != 0:
            return -1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_free(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    units: Units
    if set_chunk(stage, 1) != 0:
        return -1
    if percpu_load(cython.address(stage.actors[0].pool), cython.address(units)) != OK:
        return -1
    if percpu_alloc(cython.address(units), 16, 4, True, cython.address(stage.actors[0].address)) != OK:
        return -1
    if percpu_alloc(cython.address(units), 16, 4, True, cython.address(stage.actors[0].found[0])) != OK:
        return -1
    return play(e, final_marked, free_areas, look, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_frees(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    units: Units
    i: uint32_t
    if set_chunk(stage, 2) != 0:
        return -1
    # Process 1's area is at the end of the first page, process 2's on the second.
    if percpu_load(cython.address(stage.actors[2].pool), cython.address(units)) != OK:
        return -1
    if percpu_alloc(cython.address(units), 4096 - 16, 4, False, cython.address(stage.actors[2].address)) != OK:
        return -1
    for i in range(2):
        if percpu_load(cython.address(stage.actors[i].pool), cython.address(units)) != OK:
            return -1
        if percpu_alloc(cython.address(units), 16, 4, False, cython.address(stage.actors[i].address)) != OK:
            return -1
    return play(e, final_marked, free_area, free_area, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_up(arg: cython.p_void) -> cython.void:
    """Each process has its own wishes; the first one's hold."""
    stage: cython.pointer(Stage) = stage_of(arg)
    want: PerCpuConfig
    units: Units
    want.nr_units = slot_of(me(stage))
    want.unit_nbytes = 4096 * want.nr_units
    want.by_process = 0
    want.given = 0
    if percpu_setup(cython.address(me(stage).pool), cython.address(want), cython.address(units)) != OK:
        engine_fail(b"a pool cannot be set up")
    elif units.unit_nbytes != 4096 * units.nr_units:
        engine_fail(b"a pool of two processes' wishes")
    me(stage).found[0] = units.nr_units


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_at_setup(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    status: cython.int = percpu_load(cython.address(me(stage).pool), cython.address(units))
    if status != OK and status != NOT_FOUND:
        engine_fail(b"a pool is ready before its constants are")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_set_up(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].found[0] != stage.actors[1].found[0]:
        return b"two processes have two different pools"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_set_up(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    index: uint32_t = 0
    e.timeouts = 0
    if set_arena(stage, 11, 3) != 0:
        return -1
    if set_pool(stage, KIND_PERCPU, PERCPU_SHIFT, 0, 0, cython.sizeof(PerCpuTable), cython.address(index)) != 0:
        return -1
    return play(e, final_set_up, set_up, set_up, look_at_setup)


register_scene(
    b"percpuindex.free",
    b"two areas are freed without a lock while another looks for room: the room is found, or the page stays marked as stale",
    b"I7",
    2,
    STAGE_BYTES,
    scene_free,
)
register_scene(
    b"percpuindex.two-frees",
    b"two processes free areas in the two pages of a unit: each marks its own",
    b"I7",
    2,
    STAGE_BYTES,
    scene_frees,
)
register_scene(
    b"percpu.set-up",
    b"two processes set a pool up, a third one looks: one configuration, whole when it is ready",
    b"",
    3,
    STAGE_BYTES,
    scene_set_up,
)
