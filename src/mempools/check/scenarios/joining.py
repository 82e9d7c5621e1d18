"""Scenarios of the process table: processes that register, leave and are looked at; the kernel's locks are modelled.

The lock of a slot's owner is words[0], that of its registration words[1], as kernel locks; words[8] is what the owner of the
slot has done in the arena. Slot 1 is free, or process 1's with something left to sweep.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.joining is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_await_end, engine_cpu, engine_fail, engine_op
from cython.cimports.mempools.check.ops import OP_TRYLOCK, OP_UNLOCK, Op
from cython.cimports.mempools.check.scenarios.stage import (
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    recover,
    set_arena,
    set_pool,
    set_stage,
    set_taken,
    stage_of,
    use_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.proctable import (
    proctable_leave,
    slot_is_live,
    slot_set_free,
    slot_set_live,
    slot_state,
)
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.layout.structs import KIND_GENPOOL, STATE_FREE, STATE_LIVE, ProcSlot
from cython.cimports.mempools.machine.atomics import cmpxchg_relaxed, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import claim
from cython.cimports.mempools.parts.status import OK

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def first_slot(stage: cython.pointer(Stage)) -> cython.pointer(ProcSlot):
    return cython.address(stage.actors[0].arena.slots[1])


# ---- kernel locks


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ask_kernel(word: cython.pointer(uint64_t), kind: cython.int) -> cython.bint:
    op: Op
    memset(cython.address(op), 0, cython.sizeof(Op))
    op.kind = kind
    op.size = 8
    op.addr = cython.cast(uint64_t, word)
    op.site = b"joining.kernel_lock"
    op.dst = -1
    return engine_op(cython.address(op)) != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_slot(stage: cython.pointer(Stage)) -> cython.bint:
    """layout/proctable.py's _take."""
    slot: cython.pointer(ProcSlot) = first_slot(stage)
    state: uint64_t
    taken: cython.bint = False
    if read_once(cython.address(slot.state), b"joining.look") & 0xFF == STATE_LIVE:
        return False
    if not ask_kernel(stage.words + 1, OP_TRYLOCK):
        return False
    if ask_kernel(stage.words, OP_TRYLOCK):
        state = slot_state(slot)
        if state & 0xFF == STATE_LIVE:
            ask_kernel(stage.words, OP_UNLOCK)
        else:
            slot_set_live(slot, state, 201 + engine_cpu(), 1, 1)
            me(stage).found[0] = state >> 8
            taken = True
    ask_kernel(stage.words + 1, OP_UNLOCK)
    return taken


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def join(arg: cython.p_void) -> cython.void:
    """Registers, and goes on as the slot's owner."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if take_slot(stage):
        me(stage).found[1] = 1
        use_block(cython.cast(cython.p_char, stage.words + 8), 201 + engine_cpu())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave(arg: cython.p_void) -> cython.void:
    """The owner of the slot goes: what it held is swept, then the kernel drops its lock."""
    stage: cython.pointer(Stage) = stage_of(arg)
    use_block(cython.cast(cython.p_char, stage.words + 8), 1)
    slot_set_free(first_slot(stage))
    ask_kernel(stage.words, OP_UNLOCK)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave_unordered(arg: cython.p_void) -> cython.void:
    """As leave, with kernel locks that order nothing: FREE itself must."""
    stage: cython.pointer(Stage) = stage_of(arg)
    use_block(cython.cast(cython.p_char, stage.words + 8), 1)
    slot_set_free(first_slot(stage))
    write_once(stage.words, 0, b"joining.unlock")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def join_unordered(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    if cmpxchg_relaxed(stage.words, 0, 1, b"joining.lock") == 0:
        if slot_state(first_slot(stage)) & 0xFF == STATE_FREE:
            use_block(cython.cast(cython.p_char, stage.words + 8), 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look(arg: cython.p_void) -> cython.void:
    """Recovery's first look, without a lock: whose is the slot?"""
    slot: cython.pointer(ProcSlot) = first_slot(stage_of(arg))
    if slot_is_live(slot) and read_once(cython.address(slot.pid), b"joining.pid") != 201:
        engine_fail(b"a slot is live before it says whose it is")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave_for_good(arg: cython.p_void) -> cython.void:
    """The whole of leaving, with a block left."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = proctable_leave(cython.address(actor.arena), 1)
    if actor.status != OK:
        engine_fail(b"a process cannot leave")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_the_dead(arg: cython.p_void) -> cython.void:
    """Recovery under the slot's mend lock, which finds it swept, half swept or not at all."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if engine_await_end(0) and slot_is_live(first_slot(stage_of(arg))):
        recover(actor, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_the_unlocked(arg: cython.p_void) -> cython.void:
    """Recovery of a slot that is LIVE though the kernel has dropped its owner's lock; what it held has been swept."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if not slot_is_live(first_slot(stage)) or not ask_kernel(stage.words + 1, OP_TRYLOCK):
        return
    if slot_is_live(first_slot(stage)) and ask_kernel(stage.words, OP_TRYLOCK):
        slot_set_free(first_slot(stage))
        ask_kernel(stage.words, OP_UNLOCK)
    ask_kernel(stage.words + 1, OP_UNLOCK)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def join_and_take(arg: cython.p_void) -> cython.void:
    """Registers, and takes the first page that is free, without a search."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    chunk: cython.pointer(ChunkRef) = cython.address(actor.pages.chunks[0])
    if not take_slot(stage_of(arg)) or claim(chunk.map, chunk.summary, 8, 1, 1) != OK:
        engine_fail(b"a process cannot register, or take a page, though nobody else is there")


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_one_owner(arg: cython.p_void) -> cython.p_const_char:
    """At most one has the slot, and no two registrations have one generation."""
    stage: cython.pointer(Stage) = stage_of(arg)
    state: uint64_t = read_once(cython.address(first_slot(stage).state), b"joining.final")
    nr: uint64_t = stage.actors[0].found[1] + stage.actors[1].found[1] + stage.actors[2].found[1]
    if nr > 1:
        return b"two processes have one slot"
    if state >> 8 != stage.param + nr:
        return b"a generation was used twice"
    if (state & 0xFF == STATE_LIVE) != (nr == 1):
        return b"a slot is live and nobody's, or free and somebody's"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_nothing(arg: cython.p_void) -> cython.p_const_char:
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_left(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if read_once(cython.address(first_slot(stage).state), b"joining.final") & 0xFF != STATE_FREE:
        return b"a slot stays taken by a process that has gone"
    if nr_owned(cython.address(stage.actors[1].pool), 1):
        return b"a block is still a process's that has gone"
    return arena_wrong(stage, cython.address(stage.actors[1]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_registered(arg: cython.p_void) -> cython.p_const_char:
    """A page is a live process's, or free."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if read_once(cython.address(first_slot(stage).state), b"joining.final") & 0xFF != STATE_LIVE and nr_owned(
        cython.address(stage.actors[1].pages), 1
    ):
        return b"a page is a process's whose slot is free: nobody will sweep it"
    return arena_wrong(stage, cython.address(stage.actors[1]))


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_table(e: cython.pointer(Engine), memory: cython.p_char, live: cython.bint) -> cython.pointer(Stage):
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_arena(stage, 9, 1) != 0:
        return cython.NULL
    stage.param = 1
    if live:
        stage.words[0] = 1  # the owner's kernel lock
    else:
        slot_set_free(first_slot(stage))
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_both(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory, False) == cython.NULL:
        return -1
    return play(e, final_one_owner, join, join, join)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_leave(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory, True) == cython.NULL:
        return -1
    return play(e, final_one_owner, leave, join, join)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_unordered(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory, True) == cython.NULL:
        return -1
    return play(e, final_nothing, leave_unordered, join_unordered, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_look(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory, False) == cython.NULL:
        return -1
    return play(e, final_one_owner, join, look, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_leave_recover(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory, True) == cython.NULL:
        return -1
    return play(e, final_one_owner, leave, free_the_unlocked, join)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_register_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_table(e, memory, False) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_registered, join_and_take, free_the_dead, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_leave_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    index: uint32_t = 0
    if set_arena(stage, 9, 3) != 0 or set_pool(stage, KIND_GENPOOL, 9, 512, 0, 0, cython.address(index)) != 0:
        return -1
    if set_taken(cython.address(stage.actors[0].pool.chunks[0]), 1, 2, 1) != 0:
        return -1
    e.may_die = 1
    return play(e, final_left, leave_for_good, free_the_dead, cython.NULL)


register_scene(
    b"proctable.register",
    b"three processes want one free slot: one has it, under a generation of its own",
    b"I28",
    3,
    STAGE_BYTES,
    scene_both,
)
register_scene(
    b"proctable.leave",
    b"a slot's owner leaves while two want its slot: one has it then, or nobody",
    b"I28",
    3,
    STAGE_BYTES,
    scene_leave,
)
register_scene(
    b"proctable.unordered",
    b"whoever finds a slot free sees all that its last owner did, even if kernel locks ordered nothing",
    b"",
    2,
    STAGE_BYTES,
    scene_unordered,
)
register_scene(
    b"proctable.look",
    b"a slot is looked at without a lock while a process registers in it: whoever sees it live sees whose it is",
    b"",
    2,
    STAGE_BYTES,
    scene_look,
)
register_scene(
    b"proctable.leave-dies",
    b"a process that leaves is killed anywhere: recovery sweeps the rest and frees its slot",
    b"I28",
    2,
    STAGE_BYTES,
    scene_leave_dies,
)
register_scene(
    b"proctable.leave-recover",
    b"a slot's owner leaves while another sweeps the dead and a third wants its slot: it is freed once, and stays the third's",
    b"I28",
    3,
    STAGE_BYTES,
    scene_leave_recover,
)
register_scene(
    b"proctable.register-dies",
    b"a process that registers and takes a page is killed anywhere: recovery finds whatever it took",
    b"I28",
    2,
    STAGE_BYTES,
    scene_register_dies,
)
