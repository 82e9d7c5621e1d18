"""Scenarios of PerCpu: a free without a lock beside the index's holder, who looks at what was freed.

The pool has one chunk of one page; process 1 has two areas in it.
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
    stage_of,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.structs import KIND_PERCPU
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import OK
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
def free_areas(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    if percpu_load(cython.address(me(stage).pool), cython.address(units)) != OK:
        engine_fail(b"the pool is not ready")
    elif percpu_free(cython.address(units), me(stage).address) != OK:
        engine_fail(b"an owner cannot free its area")
    elif percpu_free(cython.address(units), me(stage).found[0]) != OK:
        engine_fail(b"an owner cannot free its second area")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look(arg: cython.p_void) -> cython.void:
    """What every allocation begins with."""
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    if percpu_load(cython.address(me(stage).pool), cython.address(units)) != OK:
        engine_fail(b"the pool is not ready")
    elif index_lock(cython.address(units)) == OK:
        refresh(cython.address(units))
        index_unlock(cython.address(units))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_found(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    index: cython.pointer(ChunkIndex)
    if percpu_load(cython.address(stage.actors[0].pool), cython.address(units)) != OK:
        return b"the pool is not ready"
    index = index_of(cython.address(units), 0)
    if read_once(cython.address(index.stale), b"indexing.final"):
        return cython.NULL
    if read_once(cython.address(index.blocks[0]), b"indexing.final") != scan_block(units.pool.chunks[0].map, 0):
        return b"room was freed that the index does not know of, and nothing says that it is stale"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_free(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    want: PerCpuConfig
    units: Units
    index: uint32_t = 0
    i: uint32_t
    want.nr_units = 1
    want.unit_nbytes = 4096
    want.by_process = 0
    want.given = 0
    if set_arena(stage, 12, 2) != 0:
        return -1
    if set_pool(stage, KIND_PERCPU, PERCPU_SHIFT, 0, 0, cython.sizeof(PerCpuTable), cython.address(index)) != 0:
        return -1
    if percpu_setup(cython.address(stage.actors[0].pool), cython.address(want), cython.address(units)) != OK:
        return -1
    if percpu_alloc(cython.address(units), 16, 4, True, cython.address(stage.actors[0].address)) != OK:
        return -1
    if percpu_alloc(cython.address(units), 16, 4, True, cython.address(stage.actors[0].found[0])) != OK:
        return -1
    for i in range(4):
        if set_ref(stage, i, index) != 0:
            return -1
    return play(e, final_found, free_areas, look, cython.NULL)


register_scene(
    b"percpuindex.free",
    b"two areas are freed without a lock while another looks for room: the room is found, or the page stays marked as stale",
    b"I7",
    2,
    STAGE_BYTES,
    scene_free,
)
