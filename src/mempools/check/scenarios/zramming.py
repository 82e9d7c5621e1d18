"""Scenarios of a Zram: writers, readers, writebacks and discards of one page beside each other, and their deaths.

Each writer has its new object from the start; what it does is the change of the page. A device of two pages and eight blocks of a
backing file; page 0 has an object. CPU n plays process n + 1, as everywhere, but where two play threads of the first.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zramming is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_await_end, engine_cpu, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    NR_FOUND,
    Actor,
    Stage,
    me,
    play,
    post,
    read_block,
    recover,
    recover_both,
    recover_dead,
    recover_the_first,
    set_arena,
    set_pool,
    set_stage,
    slot_of,
    stage_of,
    take_post,
)
from cython.cimports.mempools.check.scenarios.zsstage import (
    MARK,
    free_object,
    geometry,
    new_object,
    pool_wrong,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.structs import KIND_ZRAM
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, write_once, xchg
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.ownermap import count_owner
from cython.cimports.mempools.parts.status import BUSY, OK, STALE
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
    ZRAM_WB,
    Held,
    ZramRef,
    ZramEntry,
    ZramRoot,
    entry_of,
    page_lock,
    page_trylock,
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
_MEMORY = cython.declare(uint64_t, 64)  # pages of the scene
_SIZE = cython.declare(uint32_t, 16)  # of an object, as its header says

_held = cython.declare(Held)  # by the first actor, where the setup says so
_z = cython.declare(ZramRef[3])  # of each actor; constant once set

# Actor.found: what an actor looks at or has made
_OLD = cython.declare(cython.int, 3)  # handle of the page's object
_NEW = cython.declare(cython.int, 4)  # of the object that this actor is to put there
_BLOCK = cython.declare(cython.int, 5)  # that this actor has reserved
_WORD = cython.declare(cython.int, 6)  # the page's word at the beginning


# ---- setups


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_pages(e: cython.pointer(Engine), memory: cython.p_char, writers: uint32_t) -> cython.pointer(Stage):
    """A device whose page 0 has an object; each of the first `writers` actors has a new one."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    config: ZramRoot
    held: Held
    pinned: Pinned
    index: uint32_t = 0
    i: uint32_t
    nbytes: uint64_t = zram_nbytes(2, 8)
    stage.nr_pages = _MEMORY
    memset(cython.address(config), 0, cython.sizeof(ZramRoot))
    config.nr_pages = 2
    config.nr_blocks = 8
    if set_arena(stage, 8 + (nbytes >> 12) + 2 + _PAGES + 1, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_ZRAM, ZS_SHIFT, _PAGES << ZS_SHIFT, 0, nbytes, cython.address(index)) != 0:
        return cython.NULL
    if (
        zs_make(cython.address(actor.pool), MIN_CHAIN) != OK
        or zram_make(cython.address(actor.pool), cython.address(config), 0) != OK
    ):
        return cython.NULL
    for i in range(3):
        if zram_load(cython.address(stage.actors[i].pool), cython.address(_z[i])) != OK:
            return cython.NULL
    stage.actors[0].found[_OLD] = new_object(actor, 1, MARK)
    for i in range(3):
        actor = cython.address(stage.actors[i])
        actor.found[_OLD] = stage.actors[0].found[_OLD]
        actor.found[_WORD] = actor.found[_OLD]
        if i < writers:
            actor.found[_NEW] = new_object(actor, i + 1, MARK + 1 + i)
        if zs_pin(
            cython.address(actor.pool), geometry(actor), actor.found[_OLD], cython.address(pinned)
        ) != OK or zs_unpin(cython.address(actor.pool), cython.address(pinned)):
            return cython.NULL
    if page_lock(cython.address(_z[0]), 0, cython.address(held), 0) != OK:
        return cython.NULL
    page_change(cython.address(_z[0]), cython.address(held), held_handle(stage), _SIZE, 1, held_handle(stage), 0)
    return stage if change_finish(cython.address(_z[0]), cython.address(held), 0) == OK else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def held_handle(stage: cython.pointer(Stage)) -> uint64_t:
    return stage.actors[0].found[_OLD]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_chosen(stage: cython.pointer(Stage)) -> cython.int:
    """Post-processing has chosen page 0, and the first process has reserved a block for it."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    actor.found[_BLOCK] = block_claim(cython.address(_z[0]), 0)
    return 0 if page_mark(cython.address(_z[0]), 0, _SIZE, ZRAM_PP) else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_written_back(stage: cython.pointer(Stage)) -> cython.int:
    """Page 0 is in block 0 of the backing file, which says MARK."""
    i: uint32_t
    if set_chosen(stage) != 0 or not write_back(stage, 0):
        return -1
    for i in range(3):
        stage.actors[i].found[_WORD] = read_once(cython.address(_z[0].pages[0].word), b"zramming.setup")
    write_once(cython.address(stage.words[0]), MARK, b"zramming.setup")
    return 0


# ---- what bodies are made of


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def z_of(actor: cython.pointer(Actor)) -> cython.pointer(ZramRef):
    """By the CPU, which may be a thread of another's process."""
    return cython.address(_z[engine_cpu()])


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
    page_change(z, cython.address(held), handle, _SIZE, 2, handle, 0)
    finish(z, cython.address(held))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_back(stage: cython.pointer(Stage), i: uint32_t) -> cython.bint:
    """Actor i has written the page to its block, and says so: False, and the block is free: it is something else by now."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[i])
    z: cython.pointer(ZramRef) = cython.address(_z[i])
    expected: Expected
    held: Held
    expected.any = False
    expected.chosen = True
    expected.word = actor.found[_OLD]
    expected.kind = 0
    lock(z, 0, cython.address(held))
    if not is_expected(cython.address(held), cython.address(expected)):
        page_unlock(z, cython.address(held), held.flags)
        block_release(z, actor.found[_BLOCK])
        return False
    page_change(
        z,
        cython.address(held),
        cython.cast(uint64_t, 1) << 32 | actor.found[_BLOCK],
        _SIZE | cython.cast(uint32_t, ZRAM_WB),
        2,
        0,
        actor.found[_BLOCK] + 1,
    )
    finish(z, cython.address(held))
    return True


# ---- bodies. found[0]: how often it was served, found[1]: what it read


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_it(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    put(z_of(actor), 0, actor.found[_NEW])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_and_tell(arg: cython.p_void) -> cython.void:
    """The end of a process shows what all its threads have done: here a letter tells, for only a death does. None comes if the
    other thread has died with a lock that this one waits for: both are dead then."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    z: cython.pointer(ZramRef) = z_of(actor)
    held: Held
    if page_lock(z, 0, cython.address(held), _A_WHILE) == OK:
        page_change(z, cython.address(held), actor.found[_NEW], _SIZE, 2, actor.found[_NEW], 0)
        if change_finish(z, cython.address(held), _A_WHILE) == OK:
            post(cython.address(stage_of(arg).words[0]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_other(arg: cython.p_void) -> cython.void:
    """A thread of the first process writes the other page."""
    stage: cython.pointer(Stage) = stage_of(arg)
    put(cython.address(_z[0]), 1, stage.actors[1].found[_NEW])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_it(arg: cython.p_void) -> cython.void:
    """Looks the page up, lets it go, and reads its object: what the page had then, whole, or it has to look again."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    z: cython.pointer(ZramRef) = z_of(actor)
    held: Held
    pinned: Pinned
    status: cython.int
    tries: cython.int
    for tries in range(3):
        while zram_look(z, 0, 2, True, cython.address(held), _A_WHILE) != OK:
            pass
        if held.word == 0 or held.flags & cython.cast(uint32_t, ZRAM_WB):
            return
        if held.word != actor.found[_OLD] and held.word != stage.actors[0].found[_NEW]:
            engine_fail(b"a page names what nobody has put there")
        status = zs_pin(z.pool, z.g, held.word, cython.address(pinned))
        if status == OK:
            if read_block(pinned.object) != (MARK if held.word == actor.found[_OLD] else MARK + 1):
                engine_fail(b"a reader finds the bytes of another page")
            if zs_unpin(z.pool, cython.address(pinned)):
                free_object(actor, held.word)
            actor.found[0] += 1
            return
        if status != STALE:
            engine_fail(b"a page names no object")
    engine_fail(b"a page names an object that has ended")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_it_back(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    me(stage).found[0] = write_back(stage, engine_cpu())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def trydiscard(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    z: cython.pointer(ZramRef) = z_of(actor)
    held: Held
    actor.status = page_trylock(z, 0, cython.address(held))
    if actor.status == OK:
        page_change(z, cython.address(held), 0, 0, 2, 0, 0)
        finish(z, cython.address(held))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def discard_and_recover(arg: cython.p_void) -> cython.void:
    """As the objects of L4 do: whoever waits for a lock in vain lets recovery look."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    z: cython.pointer(ZramRef) = z_of(actor)
    held: Held
    lock(z, 0, cython.address(held))
    page_change(z, cython.address(held), 0, 0, 2, 0, 0)
    while change_finish(z, cython.address(held), _A_WHILE) != OK:
        recover_the_first(arg)
    if actor.found[NR_FOUND - 1] == 0:
        recover_the_first(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish_it(arg: cython.p_void) -> cython.void:
    """The end of the change that the setup has begun."""
    held: Held = _held
    finish(z_of(me(stage_of(arg))), cython.address(held))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_at_it(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    held: Held
    while zram_look(z_of(me(stage)), 0, 2, True, cython.address(held), _A_WHILE) != OK:
        pass
    if held.word != stage.actors[0].found[_OLD] and held.word != stage.actors[0].found[_NEW]:
        engine_fail(b"a page names what nobody has put there")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rewrite_and_reuse(arg: cython.p_void) -> cython.void:
    """Writes the page, whose block is free then; and gives the block to something else, if it gets that one."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    z: cython.pointer(ZramRef) = z_of(actor)
    put(z, 0, actor.found[_NEW])
    if block_claim(z, 0) != 0:
        engine_fail(b"a block is lost that a page had")
    # As pwrite does: the file's pages have a lock.
    xchg(cython.address(stage.words[0]), MARK + 5, b"F:zramming.file")
    block_release(z, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_it_back(arg: cython.p_void) -> cython.void:
    """Reads the page's block without the lock; what it finds counts if the page is the same afterwards."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    z: cython.pointer(ZramRef) = z_of(actor)
    held: Held
    word: uint64_t
    mark: uint64_t
    while zram_look(z, 0, 2, True, cython.address(held), _A_WHILE) != OK:
        pass
    if not held.flags & cython.cast(uint32_t, ZRAM_WB):
        return
    word = held.word
    mark = xchg(cython.address(stage.words[1]), 0, b"F:zramming.file")
    mark = read_once(cython.address(stage.words[0]), b"zramming.file")
    while zram_look(z, 0, 2, True, cython.address(held), _A_WHILE) != OK:
        pass
    if held.word == word and held.flags & cython.cast(uint32_t, ZRAM_WB) and mark != MARK:
        engine_fail(b"a reader takes another page's block for its own")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_threads(arg: cython.p_void) -> cython.void:
    """Of the first process, whose two threads are CPU 0, which lives, and CPU 1, which may not."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    engine_await_end(0)
    if engine_await_end(1):
        actor.found[NR_FOUND - 1] = 2
        if take_post(cython.address(stage.words[0])):
            actor.found[NR_FOUND - 1] = 1
            recover(actor, 1)


# ---- end conditions


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
    z: cython.pointer(ZramRef) = cython.address(_z[2])
    slot: uint32_t
    i: uint32_t
    memset(cython.address(report), 0, cython.sizeof(PageReport))
    for slot in range(1, 4):
        for i in range(NR_ENTRIES):
            if read_once(cython.address(entry_of(z, slot, i).page), b"zramming.final"):
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
    return read_once(cython.address(_z[2].pages[0].word), b"zramming.final")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one(arg: cython.p_void) -> cython.p_const_char:
    """One of the writers' objects is the page's; no other is left."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = page_word()
    if word != stage.actors[0].found[_NEW] and (word != stage.actors[1].found[_NEW] or word == 0):
        return b"the page is none that was written last"
    return device_wrong(stage, 1, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died(arg: cython.p_void) -> cython.p_const_char:
    """Old or new."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = page_word()
    if word != stage.actors[0].found[_NEW] and (word != stage.actors[0].found[_OLD] or not died(stage)):
        return b"the page is neither the old one nor the new one"
    return device_wrong(stage, 1, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_unwritten(arg: cython.p_void) -> cython.p_const_char:
    """The one who lives has discarded the page."""
    if page_word() != 0:
        return b"a page that was discarded is there"
    return device_wrong(stage_of(arg), 0, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_threads(arg: cython.p_void) -> cython.p_const_char:
    """Each thread's page is what it wrote, or was not written."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = read_once(cython.address(_z[2].pages[1].word), b"zramming.final")
    if stage.actors[2].found[NR_FOUND - 1] == 2:
        return cython.NULL  # the letter has not arrived
    if page_word() != stage.actors[0].found[_NEW]:
        return b"a page that was written is not what was written"
    if word != stage.actors[1].found[_NEW] and (word != 0 or not died(stage)):
        return b"a page is neither what was written nor unwritten"
    return device_wrong(stage, 1 + (word != 0), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_discarded(arg: cython.p_void) -> cython.p_const_char:
    """Written, or discarded after that; a busy page is one that is being written."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = page_word()
    if word != stage.actors[0].found[_NEW] and (word != 0 or stage.actors[1].status == BUSY):
        return b"the page is neither what was written nor unwritten"
    return device_wrong(stage, word != 0, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_written(arg: cython.p_void) -> cython.p_const_char:
    """The second has written the page, whatever became of it before; no old data came back."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if page_word() != stage.actors[1].found[_NEW]:
        return b"what was written back hides what was written"
    return device_wrong(stage, 1, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_touched(arg: cython.p_void) -> cython.p_const_char:
    """In memory if it was read in time, else in the file."""
    stage: cython.pointer(Stage) = stage_of(arg)
    back: cython.bint = page_word() != stage.actors[0].found[_OLD]
    if back != stage.actors[0].found[0] and not died(stage):
        return b"a page is not where its writeback says"
    return device_wrong(stage, 0 if back else 1, 1 if back else 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_rewritten(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    old: cython.bint = page_word() == stage.actors[2].found[_WORD]
    if not old and page_word() != stage.actors[0].found[_NEW]:
        return b"the page is neither the old one nor the new one"
    return device_wrong(stage, 0 if old else 1, 1 if old else 0)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_write_write(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 2) == cython.NULL:
        return -1
    return play(e, final_one, write_it, write_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_write_read(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 1) == cython.NULL:
        return -1
    return play(e, final_one, write_it, read_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_discard_write(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 1) == cython.NULL:
        return -1
    return play(e, final_discarded, write_it, trydiscard, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_writeback_write(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, 2)
    if (
        stage == cython.NULL
        or free_object(cython.address(stage.actors[0]), stage.actors[0].found[_NEW]) != OK
        or set_chosen(stage) != 0
    ):
        return -1
    return play(e, final_written, write_it_back, write_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_writeback_read(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, 0)
    if stage == cython.NULL or set_chosen(stage) != 0:
        return -1
    return play(e, final_touched, write_it_back, read_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_read_back(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, 1)
    if stage == cython.NULL or set_written_back(stage) != 0:
        return -1
    return play(e, final_one, rewrite_and_reuse, read_it_back, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_writer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_died, write_it, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_writer_dies_late(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, 1)
    if stage == cython.NULL or page_lock(cython.address(_z[0]), 0, cython.address(_held), 0) != OK:
        return -1
    page_change(
        cython.address(_z[0]),
        cython.address(_held),
        stage.actors[0].found[_NEW],
        _SIZE,
        2,
        stage.actors[0].found[_NEW],
        0,
    )
    e.may_die = 1
    return play(e, final_unwritten, finish_it, discard_and_recover, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_writer_dies_looked_at(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_died, write_it, recover_the_first, look_at_it)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_threads(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, 1)
    if stage == cython.NULL:
        return -1
    stage.actors[1].found[_NEW] = new_object(cython.address(stage.actors[0]), 1, MARK + 2)
    e.may_die = 2
    return play(e, final_threads, write_and_tell, write_other, recover_threads)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_writeback_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, 0)
    if stage == cython.NULL or set_chosen(stage) != 0:
        return -1
    e.may_die = 1
    return play(e, final_touched, write_it_back, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_rewriter_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, 1)
    if stage == cython.NULL or set_written_back(stage) != 0:
        return -1
    e.may_die = 1
    return play(e, final_rewritten, write_it, recover_the_first, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_recovery_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 1) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_died, write_it, recover_the_first, recover_both)


register_scene(
    b"zram.write-write",
    b"two write a page: it is one of the two, and the objects of the other and of the old one are free",
    b"I23",
    2,
    _MEMORY << 12,
    scene_write_write,
)
register_scene(
    b"zram.write-read",
    b"a page is written while another reads it: the old one or the new one, whole",
    b"I23 I20",
    2,
    _MEMORY << 12,
    scene_write_read,
)
register_scene(
    b"zram.discard-write",
    b"a page is discarded by one who may not wait, while another writes it",
    b"I23",
    2,
    _MEMORY << 12,
    scene_discard_write,
)
register_scene(
    b"zram.writeback-write",
    b"a page is written while it is being written back: the old data does not come again, no block is lost",
    b"I24",
    2,
    _MEMORY << 12,
    scene_writeback_write,
)
register_scene(
    b"zram.writeback-read",
    b"a page is read while it is being written back: it stays in memory, or is in the file",
    b"I24",
    2,
    _MEMORY << 12,
    scene_writeback_read,
)
register_scene(
    b"zram.read-back",
    b"a page is read from the file, while it is written and its block given to another",
    b"I25",
    2,
    _MEMORY << 12,
    scene_read_back,
)
register_scene(
    b"zram.writer-dies",
    b"whoever writes a page is killed anywhere: it is the old one or the new one, and nothing is lost",
    b"I28",
    2,
    _MEMORY << 12,
    scene_writer_dies,
)
register_scene(
    b"zram.writer-dies-late",
    b"whoever has written a page is killed before it has ended the old one, while another discards the new one",
    b"I23 I28",
    2,
    _MEMORY << 12,
    scene_writer_dies_late,
)
register_scene(
    b"zram.writer-dies-looked-at",
    b"whoever writes a page is killed anywhere, while another looks at it and a third recovers",
    b"I28",
    3,
    _MEMORY << 12,
    scene_writer_dies_looked_at,
)
register_scene(
    b"zram.threads",
    b"two threads of a process write a page each; one is killed anywhere: the journal of the other does not hide its own",
    b"I28",
    3,
    _MEMORY << 12,
    scene_threads,
)
register_scene(
    b"zram.writeback-dies",
    b"whoever writes a page back is killed anywhere: it is in memory or in the file, no block is lost",
    b"I24 I28",
    2,
    _MEMORY << 12,
    scene_writeback_dies,
)
register_scene(
    b"zram.rewriter-dies",
    b"whoever writes a page that was in the file is killed anywhere: it is in one of the two, no block is lost",
    b"I24 I28",
    2,
    _MEMORY << 12,
    scene_rewriter_dies,
)
register_scene(
    b"zram.recovery-dies",
    b"whoever writes a page is killed, and its recovery too, at any two points",
    b"I28",
    3,
    _MEMORY << 12,
    scene_recovery_dies,
)
