"""The stage of a Zram's scenarios: a device of two pages and eight blocks of a backing file; page 0 has an object.

Each writer has its new object from the start; what it does is the change of the page. CPU n plays process n + 1, as everywhere,
but where two play threads of the first.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zramstage is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_cpu, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    NR_FOUND,
    Actor,
    Stage,
    me,
    set_arena,
    set_pool,
    set_stage,
    stage_of,
)
from cython.cimports.mempools.check.scenarios.zsstage import MARK, geometry, new_object, pool_wrong
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.structs import KIND_ZRAM
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import count_owner
from cython.cimports.mempools.parts.robustlock import robust_holder
from cython.cimports.mempools.parts.status import NOT_FOUND, OK
from cython.cimports.mempools.pools.zramcheck import PageReport, zram_blocks, zram_check
from cython.cimports.mempools.pools.zramslot import (
    Expected,
    block_claim,
    block_release,
    change_finish,
    is_expected,
    page_change,
    page_mark,
    zram_look,
)
from cython.cimports.mempools.pools.zramtable import (
    NR_ENTRIES,
    ZRAM_PP,
    ZRAM_SAME,
    ZRAM_WB,
    Held,
    ZramRef,
    ZramRoot,
    entry_of,
    page_lock,
    page_unlock,
    zram_load,
    zram_make,
    zram_nbytes,
)
from cython.cimports.mempools.pools.zsgeometry import MIN_CHAIN
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zstable import ZS_SHIFT, zs_make

register_module(cython.address(this_module_step))

_A_WHILE = cython.declare(uint64_t, 20_000_000)  # for a lock whose holder may die: then again, for somebody recovers it
_PAGES = cython.declare(uint64_t, 8)  # of the pool: zspages, three pages of pins, some that are free

_config = cython.declare(ZramRoot)  # constant
_z = cython.declare(ZramRef[3])  # of each actor; constant once set


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_device(e: cython.pointer(Engine), memory: cython.p_char) -> cython.pointer(Stage):
    """A pool that is to be a device: its constants have not been made."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    index: uint32_t = 0
    nbytes: uint64_t = zram_nbytes(2, 8)
    stage.nr_pages = MEMORY_PAGES
    memset(cython.address(_config), 0, cython.sizeof(ZramRoot))
    _config.nr_pages = 2
    _config.nr_blocks = 8
    if set_arena(stage, 8 + (nbytes >> 12) + 2 + _PAGES + 1, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_ZRAM, ZS_SHIFT, _PAGES << ZS_SHIFT, 0, nbytes, cython.address(index)) != 0:
        return cython.NULL
    return stage if zs_make(cython.address(stage.actors[0].pool), MIN_CHAIN) == OK else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_pages(e: cython.pointer(Engine), memory: cython.p_char, writers: uint32_t) -> cython.pointer(Stage):
    """A device whose page 0 has an object; each of the first `writers` actors has a new one."""
    stage: cython.pointer(Stage) = set_device(e, memory)
    actor: cython.pointer(Actor)
    held: Held
    pinned: Pinned
    i: uint32_t
    if stage == cython.NULL:
        return cython.NULL
    actor = cython.address(stage.actors[0])
    if zram_make(cython.address(actor.pool), cython.address(_config), 0) != OK:
        return cython.NULL
    for i in range(3):
        if zram_load(cython.address(stage.actors[i].pool), z_at(i)) != OK:
            return cython.NULL
    stage.actors[0].found[PAGE_OLD] = new_object(actor, 1, MARK)
    for i in range(3):
        actor = cython.address(stage.actors[i])
        actor.found[PAGE_OLD] = stage.actors[0].found[PAGE_OLD]
        actor.found[PAGE_WORD] = actor.found[PAGE_OLD]
        if i < writers:
            actor.found[PAGE_NEW] = new_object(actor, i + 1, MARK + 1 + i)
        if zs_pin(
            cython.address(actor.pool), geometry(actor), actor.found[PAGE_OLD], cython.address(pinned)
        ) != OK or zs_unpin(cython.address(actor.pool), cython.address(pinned)):
            return cython.NULL
    if page_lock(z_at(0), 0, cython.address(held), 0) != OK:
        return cython.NULL
    page_change(z_at(0), cython.address(held), held_handle(stage), SIZE, 1, held_handle(stage), 0)
    return stage if change_finish(z_at(0), cython.address(held), 0) == OK else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def held_handle(stage: cython.pointer(Stage)) -> uint64_t:
    return stage.actors[0].found[PAGE_OLD]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_chosen(stage: cython.pointer(Stage)) -> cython.int:
    """Post-processing has chosen page 0, and the first process has reserved a block for it."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    actor.found[PAGE_BLOCK] = block_claim(z_at(0), 0)
    return 0 if page_mark(z_at(0), 0, SIZE, ZRAM_PP) else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_written_back(stage: cython.pointer(Stage)) -> cython.int:
    """Page 0 is in block 0 of the backing file, which says MARK."""
    i: uint32_t
    if set_chosen(stage) != 0 or not write_back(stage, 0):
        return -1
    for i in range(3):
        stage.actors[i].found[PAGE_WORD] = read_once(cython.address(z_at(0).pages[0].word), b"zramstage.setup")
    write_once(cython.address(stage.words[0]), MARK, b"zramstage.setup")
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def z_of(actor: cython.pointer(Actor)) -> cython.pointer(ZramRef):
    """By the CPU, which may be a thread of another's process."""
    return z_at(engine_cpu())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lock(z: cython.pointer(ZramRef), index: uint64_t, held: cython.pointer(Held)) -> cython.void:
    while page_lock(z, index, held, _A_WHILE) != OK:
        pass


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish(z: cython.pointer(ZramRef), held: cython.pointer(Held)) -> cython.void:
    while change_finish(z, held, _A_WHILE) != OK:
        pass


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put(z: cython.pointer(ZramRef), index: uint64_t, handle: uint64_t) -> cython.void:
    held: Held
    lock(z, index, cython.address(held))
    page_change(z, cython.address(held), handle, SIZE, 2, handle, 0)
    finish(z, cython.address(held))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_back(stage: cython.pointer(Stage), i: uint32_t) -> cython.bint:
    """Actor i has written the page to its block, and says so: False, and the block is free: it is something else by now."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[i])
    z: cython.pointer(ZramRef) = z_at(i)
    expected: Expected
    held: Held
    expected.any = False
    expected.chosen = True
    expected.word = actor.found[PAGE_OLD]
    expected.kind = 0
    lock(z, 0, cython.address(held))
    if not is_expected(cython.address(held), cython.address(expected)):
        page_unlock(z, cython.address(held), held.flags)
        block_release(z, actor.found[PAGE_BLOCK])
        return False
    page_change(
        z,
        cython.address(held),
        cython.cast(uint64_t, 1) << 32 | actor.found[PAGE_BLOCK],
        SIZE | cython.cast(uint32_t, ZRAM_WB),
        2,
        0,
        actor.found[PAGE_BLOCK] + 1,
    )
    finish(z, cython.address(held))
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    put(z_of(actor), 0, actor.found[PAGE_NEW])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def repeat_word(arg: cython.p_void) -> cython.void:
    """Page 1, which was never written, repeats a word from now on."""
    z: cython.pointer(ZramRef) = z_of(me(stage_of(arg)))
    held: Held
    lock(z, 1, cython.address(held))
    page_change(z, cython.address(held), MARK, ZRAM_SAME, 2, 0, 0)
    finish(z, cython.address(held))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_at_word(arg: cython.p_void) -> cython.void:
    held: Held
    while zram_look(z_of(me(stage_of(arg))), 1, 2, True, cython.address(held), _A_WHILE) != OK:
        pass
    if held.word != (MARK if held.flags & cython.cast(uint32_t, ZRAM_SAME) else 0):
        engine_fail(b"the flags of a page are not about its word")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_it_back(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    me(stage).found[0] = write_back(stage, engine_cpu())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_it(arg: cython.p_void) -> cython.void:
    """The setup has made all but the device's constants."""
    stage: cython.pointer(Stage) = stage_of(arg)
    while zram_make(cython.address(me(stage).pool), cython.address(_config), _A_WHILE) != OK:
        pass


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_another(arg: cython.p_void) -> cython.void:
    """One of half the size, and looks which of the two it has become."""
    stage: cython.pointer(Stage) = stage_of(arg)
    config: ZramRoot
    memset(cython.address(config), 0, cython.sizeof(ZramRoot))
    config.nr_pages = 1
    config.nr_blocks = 4
    while zram_make(cython.address(me(stage).pool), cython.address(config), _A_WHILE) != OK:
        pass
    load_it(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_it(arg: cython.p_void) -> cython.void:
    z: ZramRef
    status: cython.int = zram_load(cython.address(me(stage_of(arg)).pool), cython.address(z))
    if status != NOT_FOUND and (status != OK or z.nr_blocks != 4 * z.nr_pages):
        engine_fail(b"a device is found that is not what it is to be")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def died(stage: cython.pointer(Stage)) -> cython.bint:
    return stage.actors[1].found[NR_FOUND - 1] != 0 or stage.actors[2].found[NR_FOUND - 1] != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def device_wrong(stage: cython.pointer(Stage), objects: uint64_t, blocks: uint64_t) -> cython.p_const_char:
    """Does anything contradict itself, or have pages not that many objects and blocks, or are there others?"""
    report: PageReport
    z: cython.pointer(ZramRef) = z_at(2)
    slot: uint32_t
    i: uint32_t
    memset(cython.address(report), 0, cython.sizeof(PageReport))
    for slot in range(1, 4):
        for i in range(NR_ENTRIES):
            if read_once(cython.address(entry_of(z, slot, i).page), b"zramstage.final"):
                return b"an entry of a journal is left"
    zram_check(z, 0, 2, cython.address(report), 0)
    if report.locked:
        return b"a page is still locked"
    if report.bad_flags or report.bad_words:
        return b"a page names no object of its size, or no block"
    if report.objects != objects:
        return b"the pages do not have the objects that they should"
    if report.blocks != blocks or zram_blocks(z) != blocks:
        return b"the pages do not have the blocks that they should"
    if count_owner(z.blocks, z.full, z.nr_words, 0) + blocks != z.nr_blocks:
        return b"a block is lost"
    return pool_wrong(stage, cython.address(stage.actors[2]), objects)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def page_word() -> uint64_t:
    return read_once(cython.address(z_at(2).pages[0].word), b"zramstage.final")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_repeats(arg: cython.p_void) -> cython.p_const_char:
    return device_wrong(stage_of(arg), 1, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_made(arg: cython.p_void) -> cython.p_const_char:
    z: ZramRef
    stage: cython.pointer(Stage) = stage_of(arg)
    if zram_load(cython.address(stage.actors[2].pool), cython.address(z)) != OK:
        return b"the device is not made"
    if robust_holder(cython.address(z.root.making)):
        return b"the lock of making is held"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_touched(arg: cython.p_void) -> cython.p_const_char:
    """In memory if it was read in time, else in the file."""
    stage: cython.pointer(Stage) = stage_of(arg)
    back: cython.bint = page_word() != stage.actors[0].found[PAGE_OLD]
    if back != stage.actors[0].found[0] and not died(stage):
        return b"a page is not where its writeback says"
    return device_wrong(stage, 0 if back else 1, 1 if back else 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def z_at(i: uint32_t) -> cython.pointer(ZramRef):
    """The device as an actor sees it."""
    return cython.address(_z[i])
