"""Scenarios of a Zram in which processes die: writers, readers, writebacks, makers, recovery (zramming.py has the living)."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zramdying is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_await_end, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    NR_FOUND,
    Actor,
    Stage,
    me,
    play,
    post,
    recover,
    recover_both,
    recover_the_first,
    stage_of,
    take_post,
)
from cython.cimports.mempools.check.scenarios.zramstage import (
    PAGE_NEW,
    PAGE_OLD,
    PAGE_WORD,
    SCENE_BYTES,
    SIZE,
    device_wrong,
    died,
    final_made,
    final_repeats,
    final_touched,
    finish,
    load_it,
    lock,
    look_at_word,
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
    z_at,
    z_of,
)
from cython.cimports.mempools.check.scenarios.zsstage import MARK, new_object
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.zramslot import change_finish, page_change, zram_look
from cython.cimports.mempools.pools.zramtable import Held, ZramRef, page_lock

register_module(cython.address(this_module_step))

_A_WHILE = cython.declare(uint64_t, 20_000_000)  # for a lock whose holder may die
_held = cython.declare(Held)  # by the first actor, where the setup says so


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_and_tell(arg: cython.p_void) -> cython.void:
    """The end of a process shows what all its threads have done: here a letter tells, for only a death does. None comes if the
    other thread has died with a lock that this one waits for: both are dead then."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    z: cython.pointer(ZramRef) = z_of(actor)
    held: Held
    if page_lock(z, 1, cython.address(held), _A_WHILE) == OK:
        page_change(z, cython.address(held), actor.found[PAGE_NEW], SIZE, 2, actor.found[PAGE_NEW], 0)
        if change_finish(z, cython.address(held), _A_WHILE) == OK:
            post(cython.address(stage_of(arg).words[0]), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_other(arg: cython.p_void) -> cython.void:
    """A thread of the first process writes page 0."""
    stage: cython.pointer(Stage) = stage_of(arg)
    put(z_at(0), 0, stage.actors[1].found[PAGE_NEW])


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
    me(stage).found[1] = held.word
    if held.word != stage.actors[0].found[PAGE_OLD] and held.word != stage.actors[0].found[PAGE_NEW]:
        engine_fail(b"a page names what nobody has put there")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_and_recover(arg: cython.p_void) -> cython.void:
    recover_the_first(arg)
    make_it(arg)
    load_it(arg)


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


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died(arg: cython.p_void) -> cython.p_const_char:
    """Old or new."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = page_word()
    if word != stage.actors[0].found[PAGE_NEW] and (word != stage.actors[0].found[PAGE_OLD] or not died(stage)):
        return b"the page is neither the old one nor the new one"
    return device_wrong(stage, 1, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_looked_at(arg: cython.p_void) -> cython.p_const_char:
    """Who has seen the new one has seen what is there for good."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[2].found[1] == stage.actors[0].found[PAGE_NEW] and page_word() != stage.actors[0].found[PAGE_NEW]:
        return b"a page was seen that was put back"
    return final_died(arg)


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
    """Each thread's page is what it wrote, or, of the dead one, as it was."""
    stage: cython.pointer(Stage) = stage_of(arg)
    word: uint64_t = page_word()
    if stage.actors[2].found[NR_FOUND - 1] == 2:
        return cython.NULL  # the letter has not arrived
    if read_once(cython.address(z_at(2).pages[1].word), b"zramdying.final") != stage.actors[0].found[PAGE_NEW]:
        return b"a page that was written is not what was written"
    if word != stage.actors[1].found[PAGE_NEW] and (word != stage.actors[0].found[PAGE_OLD] or not died(stage)):
        return b"a page is neither the old one nor the new one"
    return device_wrong(stage, 2, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_rewritten(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    old: cython.bint = page_word() == stage.actors[2].found[PAGE_WORD]
    if not old and page_word() != stage.actors[0].found[PAGE_NEW]:
        return b"the page is neither the old one nor the new one"
    return device_wrong(stage, 0 if old else 1, 1 if old else 0)


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
    if stage == cython.NULL or page_lock(z_at(0), 0, cython.address(_held), 0) != OK:
        return -1
    page_change(
        z_at(0),
        cython.address(_held),
        stage.actors[0].found[PAGE_NEW],
        SIZE,
        2,
        stage.actors[0].found[PAGE_NEW],
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
    return play(e, final_looked_at, write_it, recover_the_first, look_at_it)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_same_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 0) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_repeats, repeat_word, recover_the_first, look_at_word)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_looker_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pages(e, memory, 0) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_repeats, look_at_word, recover_the_first, look_at_word)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_maker_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_device(e, memory) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_made, make_it, make_and_recover, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_threads(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pages(e, memory, 1)
    if stage == cython.NULL:
        return -1
    stage.actors[1].found[PAGE_NEW] = new_object(cython.address(stage.actors[0]), 1, MARK + 2)
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
    b"zram.writer-dies",
    b"whoever writes a page is killed anywhere: it is the old one or the new one, and nothing is lost",
    b"I28",
    2,
    SCENE_BYTES,
    scene_writer_dies,
)
register_scene(
    b"zram.writer-dies-late",
    b"whoever has written a page is killed before it has ended the old one, while another discards the new one",
    b"I23 I28",
    2,
    SCENE_BYTES,
    scene_writer_dies_late,
)
register_scene(
    b"zram.writer-dies-looked-at",
    b"whoever writes a page is killed anywhere, while another looks at it and a third recovers",
    b"I28",
    3,
    SCENE_BYTES,
    scene_writer_dies_looked_at,
)
register_scene(
    b"zram.threads",
    b"two threads of a process write a page each; one is killed anywhere: the journal of the other does not hide its own",
    b"I28",
    3,
    SCENE_BYTES,
    scene_threads,
)
register_scene(
    b"zram.writeback-dies",
    b"whoever writes a page back is killed anywhere: it is in memory or in the file, no block is lost",
    b"I24 I28",
    2,
    SCENE_BYTES,
    scene_writeback_dies,
)
register_scene(
    b"zram.rewriter-dies",
    b"whoever writes a page that was in the file is killed anywhere: it is in one of the two, no block is lost",
    b"I24 I28",
    2,
    SCENE_BYTES,
    scene_rewriter_dies,
)
register_scene(
    b"zram.recovery-dies",
    b"whoever writes a page is killed, and its recovery too, at any two points",
    b"I28",
    3,
    SCENE_BYTES,
    scene_recovery_dies,
)
register_scene(
    b"zram.same-dies",
    b"whoever makes a page repeat a word is killed anywhere, while another looks at it and a third recovers",
    b"I28",
    3,
    SCENE_BYTES,
    scene_same_dies,
)
register_scene(
    b"zram.looker-dies",
    b"whoever looks at a page is killed anywhere: nobody has it locked afterwards",
    b"I28",
    3,
    SCENE_BYTES,
    scene_looker_dies,
)
register_scene(
    b"zram.maker-dies",
    b"whoever makes a device is killed anywhere: another makes it",
    b"I28",
    2,
    SCENE_BYTES,
    scene_maker_dies,
)
