"""Scenarios of PerCpu's pages: requests that may wait and that may not, beside the return of pages; two frees; a pool is set up.

The pool has one chunk of one unit. Memory of the stage is not a file's: to give a page back is to write to it, so
that whoever touches it meanwhile gives itself away by a data race.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.paging is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    FOREVER,
    NR_FOUND,
    STAGE_BYTES,
    Stage,
    me,
    play,
    recover_dead,
    set_arena,
    set_pool,
    set_ref,
    set_stage,
    slot_of,
    stage_of,
    use_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine, body_fn
from cython.cimports.mempools.layout.structs import KIND_PERCPU
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import EXHAUSTED, NOT_FOUND, OK
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
    BLOCK_GRANULES,
    PERCPU_SHIFT,
    ChunkIndex,
    PerCpuTable,
    Units,
    block_free,
    index_of,
    refresh,
    scan_block,
)
from cython.cimports.mempools.pools.percpumaintain import depopulate

register_module(cython.address(this_module_step))

_PAGE = cython.declare(uint64_t, 1)  # the bit of the only page


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
def claim_page(stage: cython.pointer(Stage), wait: cython.bint) -> cython.void:
    units: Units
    address: uint64_t = 0
    status: cython.int
    if not load(stage, cython.address(units)):
        return
    status = percpu_alloc(cython.address(units), 16, 4, wait, cython.address(address))
    if status == OK:
        me(stage).found[0] = 1
        use_block(units.pool.arena.base + address, 40 + slot_of(me(stage)))
    elif wait:
        engine_fail(b"a page that is free is not had by one who may wait")
    elif status != EXHAUSTED:
        engine_fail(b"a request that may not wait failed for another reason than room")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim_waiting(arg: cython.p_void) -> cython.void:
    claim_page(stage_of(arg), True)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim_at_once(arg: cython.p_void) -> cython.void:
    claim_page(stage_of(arg), False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_back(arg: cython.p_void) -> cython.void:
    """What maintenance does with an empty page that is too many."""
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    index: cython.pointer(ChunkIndex)
    slot: uint32_t = slot_of(me(stage))
    if not load(stage, cython.address(units)):
        return
    if robust_lock(cython.address(units.table.alloc_lock), slot, FOREVER) != OK:
        engine_fail(b"the alloc lock was not had, though nothing limits the wait")
        return
    if index_lock(cython.address(units)) == OK:
        refresh(cython.address(units))
        index = index_of(cython.address(units), 0)
        if (
            read_once(cython.address(index.populated), b"paging.look") & _PAGE
            and block_free(read_once(cython.address(index.blocks[0]), b"paging.look")) == BLOCK_GRANULES
        ):
            me(stage).found[0] = 1
            if depopulate(cython.address(units), 0, _PAGE) != OK:
                engine_fail(b"a page could not be given back")
                return
        index_unlock(cython.address(units))
    robust_unlock(cython.address(units.table.alloc_lock), slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_and_claim(arg: cython.p_void) -> cython.void:
    """Process 1 has died: what it held comes back, and the page is there for one who may wait."""
    stage: cython.pointer(Stage) = stage_of(arg)
    recover_dead(stage, 0)
    if me(stage).found[NR_FOUND - 1]:
        claim_page(stage, True)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_populated(arg: cython.p_void) -> cython.p_const_char:
    """An area lies on populated pages."""
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    index: cython.pointer(ChunkIndex)
    if percpu_load(cython.address(stage.actors[2].pool), cython.address(units)) != OK:
        return b"the pool is not ready"
    index = index_of(cython.address(units), 0)
    if (
        block_free(scan_block(units.pool.chunks[0].map, 0)) != BLOCK_GRANULES
        and not read_once(cython.address(index.populated), b"paging.final") & _PAGE
    ):
        return b"an area lies on a page that was given back"
    return cython.NULL


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
    for b in range(2):
        if read_once(cython.address(index.stale), b"paging.final") >> b & 1 == 0 and read_once(
            cython.address(index.blocks[b]), b"paging.final"
        ) != scan_block(units.pool.chunks[0].map, b):
            return b"room was freed that the index does not know of, and nothing says that it is stale"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_area(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    units: Units
    if load(stage, cython.address(units)) and percpu_free(cython.address(units), me(stage).address) != OK:
        engine_fail(b"an owner cannot free its area")


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
def play_page(
    e: cython.pointer(Engine), memory: cython.p_char, may_die: cython.bint, first: body_fn, second: body_fn
) -> cython.int:
    """One page, and who wants it or gives it back."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    e.timeouts = 0
    e.may_die = may_die
    if set_chunk(stage, 1) != 0:
        return -1
    return play(e, final_populated, first, second, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_at_once(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play_page(e, memory, False, claim_at_once, give_back)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_waiting(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play_page(e, memory, False, claim_waiting, give_back)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play_page(e, memory, False, give_back, give_back)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play_page(e, memory, True, give_back, recover_and_claim)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_claimer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    return play_page(e, memory, True, claim_waiting, recover_and_claim)


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
    b"percpu.set-up",
    b"two processes set a pool up, a third one looks: one configuration, whole when it is ready",
    b"",
    3,
    STAGE_BYTES,
    scene_set_up,
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
    b"percpumaintain.at-once",
    b"a page is given back beside a request that may not wait: it has the page, or not, but never one that is gone",
    b"I9",
    2,
    STAGE_BYTES,
    scene_at_once,
)
register_scene(
    b"percpumaintain.waiting",
    b"a page is given back beside a request that may wait: it gets the page, made again if it was gone",
    b"I8",
    2,
    STAGE_BYTES,
    scene_waiting,
)
register_scene(
    b"percpumaintain.two",
    b"two processes maintain a pool: one gives the page back, the other finds it gone",
    b"I10",
    2,
    STAGE_BYTES,
    scene_two,
)
register_scene(
    b"percpumaintain.dies",
    b"maintenance is killed anywhere while it gives a page back; whoever may wait gets the page",
    b"I8 I28",
    2,
    STAGE_BYTES,
    scene_dies,
)
register_scene(
    b"percpumaintain.claimer-dies",
    b"a request is killed anywhere; recovery frees what it had, and the page is had again",
    b"I8 I28",
    2,
    STAGE_BYTES,
    scene_claimer_dies,
)
