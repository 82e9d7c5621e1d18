"""Scenarios of a Zram: writers, readers, discards and writebacks of a page beside each other (zramdying.py has the deaths)."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zramming is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import Actor, Stage, me, play, read_block, stage_of
from cython.cimports.mempools.check.scenarios.zramstage import (
    PAGE_NEW,
    PAGE_OLD,
    SCENE_BYTES,
    device_wrong,
    final_made,
    final_repeats,
    final_touched,
    finish,
    load_it,
    look_at_word,
    make_another,
    make_it,
    page_word,
    put,
    repeat_word,
    set_chosen,
    set_device,
    set_pages,
    set_written_back,
    write_it,
    write_it_back,
    z_of,
)
from cython.cimports.mempools.check.scenarios.zsstage import MARK, free_object
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.machine.atomics import read_once, read_once32, smp_mb, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, OK, STALE
from cython.cimports.mempools.pools.zramslot import (
    block_claim,
    block_release,
    page_change,
    page_mark,
    page_unmark,
    zram_look,
)
from cython.cimports.mempools.pools.zramtable import ZRAM_PP, ZRAM_WB, Held, ZramRef, page_trylock
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin

register_module(cython.address(this_module_step))

_A_WHILE = cython.declare(uint64_t, 20_000_000)


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
        if held.word != actor.found[PAGE_OLD] and held.word != stage.actors[0].found[PAGE_NEW]:
            engine_fail(b"a page names what nobody has put there")
        status = zs_pin(z.pool, z.g, held.word, cython.address(pinned))
        if status == OK:
            if read_block(pinned.object) != (MARK if held.word == actor.found[PAGE_OLD] else MARK + 1):
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
def mark_it(arg: cython.p_void) -> cython.void:
    """Post-processing chooses page 1, and gives it up."""
    z: cython.pointer(ZramRef) = z_of(me(stage_of(arg)))
    flags: uint32_t = read_once32(cython.address(z.pages[1].flags), b"zramming.mark")
    if page_mark(z, 1, flags, ZRAM_PP):
        page_unmark(z, 1, ZRAM_PP)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rewrite_and_reuse(arg: cython.p_void) -> cython.void:
    """Writes the page, whose block is free then; and gives the block to something else, if it gets that one."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    z: cython.pointer(ZramRef) = z_of(actor)
    put(z, 0, actor.found[PAGE_NEW])
    if block_claim(z, 0) != 0:
        engine_fail(b"a block is lost that a page had")
    # [F:zramming.file] full; pairs with itself: a file is read and written by system calls, past which no access goes.
    smp_mb(b"F:zramming.file")
    write_once(cython.address(stage.words[0]), MARK + 5, b"zramming.file")
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
    mark = read_once(cython.address(stage.words[0]), b"zramming.file")
    # [F:zramming.file] full; pairs with itself: see above.
    smp_mb(b"F:zramming.file")
    while zram_look(z, 0, 2, True, cython.address(held), _A_WHILE) != OK:
        pass
    if held.word == word and held.flags & cython.cast(uint32_t, ZRAM_WB) and mark != MARK:
        engine_fail(b"a reader takes another page's block for its own")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one(arg: cython.p_void) -> cython.p_const_char:
    """One of the writers' objects is the page's; no other is left."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = page_word()
    if word != stage.actors[0].found[PAGE_NEW] and (word != stage.actors[1].found[PAGE_NEW] or word == 0):
        return b"the page is none that was written last"
    return device_wrong(stage, 1, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_discarded(arg: cython.p_void) -> cython.p_const_char:
    """Written, or discarded after that; a busy page is one that is being written."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = page_word()
    if word != stage.actors[0].found[PAGE_NEW] and (word != 0 or stage.actors[1].status == BUSY):
        return b"the page is neither what was written nor unwritten"
    return device_wrong(stage, word != 0, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_written(arg: cython.p_void) -> cython.p_const_char:
    """The second has written the page, whatever became of it before; no old data came back."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if page_word() != stage.actors[1].found[PAGE_NEW]:
        return b"what was written back hides what was written"
    return device_wrong(stage, 1, 0)


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
def scene_mark(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 0) == cython.NULL:
        return -1
    return play(e, final_repeats, repeat_word, mark_it, look_at_word)


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
        or free_object(cython.address(stage.actors[0]), stage.actors[0].found[PAGE_NEW]) != OK
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
def scene_same(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 0) == cython.NULL:
        return -1
    return play(e, final_repeats, repeat_word, look_at_word, look_at_word)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_make(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_device(e, memory) == cython.NULL:
        return -1
    return play(e, final_made, make_it, load_it, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_make(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_device(e, memory) == cython.NULL:
        return -1
    return play(e, final_made, make_it, make_another, cython.NULL)


register_scene(
    b"zram.write-write",
    b"two write a page: it is one of the two, and the objects of the other and of the old one are free",
    b"I23",
    2,
    SCENE_BYTES,
    scene_write_write,
)
register_scene(
    b"zram.write-read",
    b"a page is written while another reads it: the old one or the new one, whole",
    b"I23 I20",
    2,
    SCENE_BYTES,
    scene_write_read,
)
register_scene(
    b"zram.discard-write",
    b"a page is discarded by one who may not wait, while another writes it",
    b"I23",
    2,
    SCENE_BYTES,
    scene_discard_write,
)
register_scene(
    b"zram.writeback-write",
    b"a page is written while it is being written back: the old data does not come again, no block is lost",
    b"I24",
    2,
    SCENE_BYTES,
    scene_writeback_write,
)
register_scene(
    b"zram.writeback-read",
    b"a page is read while it is being written back: it stays in memory, or is in the file",
    b"I24",
    2,
    SCENE_BYTES,
    scene_writeback_read,
)
register_scene(
    b"zram.read-back",
    b"a page is read from the file, while it is written and its block given to another",
    b"I25",
    2,
    SCENE_BYTES,
    scene_read_back,
)
register_scene(
    b"zram.same",
    b"a page is made to repeat a word while two look at it: its flags are about its word",
    b"",
    3,
    SCENE_BYTES,
    scene_same,
)
register_scene(
    b"zram.make",
    b"a device is opened while it is being made: it is what it is to be, or not yet there",
    b"",
    2,
    SCENE_BYTES,
    scene_make,
)
register_scene(
    b"zram.two-make",
    b"two make a device, of different sizes: it has one of them",
    b"",
    2,
    SCENE_BYTES,
    scene_two_make,
)
register_scene(
    b"zram.mark",
    b"a page is chosen and given up while another changes it and a third looks at it: its flags are about its word",
    b"I24",
    3,
    SCENE_BYTES,
    scene_mark,
)
