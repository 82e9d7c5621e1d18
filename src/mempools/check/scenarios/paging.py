"""Scenarios of PerCpu's pages: requests that may wait and that may not, beside the return of pages.

The pool has one chunk of one unit of one page (indexing.py sets it up). Memory of the stage is not a file's: to give a page back
is to write to it, so that whoever touches it meanwhile gives itself away by a data race.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.paging is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.indexing import load, set_chunk
from cython.cimports.mempools.check.scenarios.stage import (
    NR_FOUND,
    STAGE_BYTES,
    Stage,
    me,
    play,
    recover_dead,
    set_stage,
    slot_of,
    stage_of,
    use_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine, body_fn
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import EXHAUSTED, OK
from cython.cimports.mempools.pools.percpu import (
    alloc_lock,
    alloc_unlock,
    index_lock,
    index_unlock,
    percpu_alloc,
    percpu_load,
)
from cython.cimports.mempools.pools.percpuindex import (
    BLOCK_GRANULES,
    ChunkIndex,
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
    if not load(stage, cython.address(units)):
        return
    if alloc_lock(cython.address(units)) != OK:
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
    alloc_unlock(cython.address(units))


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


# ---- the scenes


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
