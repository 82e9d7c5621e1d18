"""Scenarios of shared blocks: tickets that are redeemed once or twice, holds that are dropped, records that are used again.

The pool has one chunk of 7 granules, of which one or two can be had, and one share record. Only one holder writes the
block; whoever gets its granule next must come after that.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.sharing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    NR_FOUND,
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    post,
    recover_both,
    recover_dead,
    recover_the_first,
    recover_the_second,
    set_arena,
    set_pool,
    set_stage,
    set_taken,
    slot_of,
    stage_of,
    take_post,
    use_block,
    write_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.layout.structs import KIND_GENPOOL, STATE_FREE
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import OK, STALE, TABLE_FULL
from cython.cimports.mempools.pools.genpool import genpool_alloc, genpool_free
from cython.cimports.mempools.pools.shares import (
    share_create,
    share_drop,
    share_recall,
    share_redeem,
    share_ticket,
)

register_module(cython.address(this_module_step))

_GRANULE = cython.declare(uint64_t, 512)
_FIRST = cython.declare(uint64_t, 3)  # the granule of the block that is shared


# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_pool_of(e: cython.pointer(Engine), memory: cython.p_char, nr_shares: uint64_t, nr: uint64_t) -> cython.pointer(
    Stage
):
    """All granules are taken but `nr` from _FIRST on; process 1 has the first of them."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    chunk: cython.pointer(ChunkRef) = cython.address(stage.actors[0].pool.chunks[0])
    index: uint32_t = 0
    i: uint32_t
    if set_arena(stage, 10, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_GENPOOL, 9, _GRANULE, nr_shares, 0, cython.address(index)) != 0:
        return cython.NULL
    if set_taken(chunk, 0, _FIRST, OWNER_STRUCT) != 0 or set_taken(chunk, _FIRST, 1, 1) != 0:
        return cython.NULL
    if set_taken(chunk, _FIRST + nr, chunk.nr - _FIRST - nr, OWNER_STRUCT) != 0:
        return cython.NULL
    stage.param = nr
    for i in range(3):
        stage.actors[i].address = chunk.base + _FIRST * _GRANULE
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_ticket(stage: cython.pointer(Stage)) -> cython.int:
    """Process 1 shares its block, and everybody has the ticket."""
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    i: uint32_t
    if share_create(cython.address(actor.pool), actor.address, _GRANULE, 0, cython.address(actor.held)) != OK:
        return -1
    if share_ticket(cython.address(actor.pool), cython.address(actor.held), cython.address(actor.ticket)) != OK:
        return -1
    for i in range(1, 3):
        stage.actors[i].ticket = actor.ticket
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_two_holders(stage: cython.pointer(Stage)) -> cython.int:
    """As set_ticket, and process 2 has redeemed it."""
    if set_ticket(stage) != 0:
        return -1
    return 0 if redeem(cython.address(stage.actors[1])) == OK else -1


# ---- what bodies are made of


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_of(actor: cython.pointer(Actor)) -> cython.p_char:
    return actor.arena.base + actor.address


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def redeem(actor: cython.pointer(Actor)) -> cython.int:
    return share_redeem(
        cython.address(actor.pool),
        cython.address(actor.ticket),
        actor.address,
        _GRANULE,
        cython.address(actor.held),
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drop(actor: cython.pointer(Actor)) -> cython.void:
    if share_drop(cython.address(actor.pool), cython.address(actor.held), False) != OK:
        engine_fail(b"a holder cannot drop its hold")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_next(actor: cython.pointer(Actor)) -> cython.void:
    """If the granule is free: its next owner's use comes after all that the holders did."""
    address: uint64_t = 0
    if genpool_alloc(cython.address(actor.pool), cython.address(actor.hint), _GRANULE, cython.address(address)) == OK:
        use_block(actor.arena.base + address, slot_of(actor) + 10)
        if genpool_free(cython.address(actor.pool), address, _GRANULE) != OK:
            engine_fail(b"an owner cannot free its block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def send(actor: cython.pointer(Actor), word: cython.pointer(uint64_t)) -> cython.void:
    """A ticket, as a pickle carries it."""
    status: cython.int = share_ticket(
        cython.address(actor.pool), cython.address(actor.held), cython.address(actor.ticket)
    )
    if status != OK:
        engine_fail(b"a holder cannot make a ticket")
    actor.found[1] = 1
    post(word, 1 + (actor.ticket.generation << 16 | actor.ticket.record << 8 | actor.ticket.lane))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def receive(actor: cython.pointer(Actor), word: cython.pointer(uint64_t)) -> cython.bint:
    letter: uint64_t = take_post(word)
    if letter == 0:
        return False
    letter -= 1
    actor.ticket.generation = letter >> 16
    actor.ticket.record = letter >> 8 & 0xFF
    actor.ticket.lane = letter & 0xFF
    return True


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nothing(arg: cython.p_void) -> cython.void:
    """Process 1 has sent its ticket and dropped its hold before."""


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_and_drop(arg: cython.p_void) -> cython.void:
    """A holder that has written the block."""
    write_block(block_of(me(stage_of(arg))), 7)
    drop(me(stage_of(arg)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def just_drop(arg: cython.p_void) -> cython.void:
    drop(me(stage_of(arg)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drop_and_take(arg: cython.p_void) -> cython.void:
    drop(me(stage_of(arg)))
    take_next(me(stage_of(arg)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def just_take(arg: cython.p_void) -> cython.void:
    take_next(me(stage_of(arg)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def redeem_and_drop(arg: cython.p_void) -> cython.void:
    """With a ticket that others may have, or that may be used up."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = redeem(actor)
    if actor.status == OK:
        drop(actor)
    elif actor.status != STALE:
        engine_fail(b"a ticket ends with an unexpected status")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def redeem_write_drop(arg: cython.p_void) -> cython.void:
    """As redeem_and_drop, and the holder writes the block."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = redeem(actor)
    if actor.status == OK:
        write_block(block_of(actor), 8)
        drop(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_send_drop(arg: cython.p_void) -> cython.void:
    """Process 1, which has written its block."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    write_block(block_of(actor), 7)
    actor.status = share_create(cython.address(actor.pool), actor.address, _GRANULE, 0, cython.address(actor.held))
    if actor.status == OK:
        send(actor, stage.words)
        drop(actor)
    elif actor.status != TABLE_FULL:
        engine_fail(b"a block cannot be shared, though there is a record")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def receive_and_drop(arg: cython.p_void) -> cython.void:
    """Process 2, with the ticket from the mailbox."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    actor.status = STALE
    if receive(actor, stage.words):
        actor.found[0] = 1
        actor.status = redeem(actor)
        if actor.status == OK:
            use_block(block_of(actor), 8)
            drop(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def redeem_and_hold(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = redeem(actor)
    if actor.status == OK:
        use_block(block_of(actor), 8)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_and_take(arg: cython.p_void) -> cython.void:
    recover_dead(stage_of(arg), 1)
    take_next(me(stage_of(arg)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drop_and_share_again(arg: cython.p_void) -> cython.void:
    """Process 1, the only holder: the record ends, and is used again for the same granule."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    drop(actor)
    if (
        genpool_alloc(cython.address(actor.pool), cython.address(actor.hint), _GRANULE, cython.address(actor.address))
        == OK
    ):
        if share_create(cython.address(actor.pool), actor.address, _GRANULE, 0, cython.address(actor.held)) != OK:
            engine_fail(b"a block cannot be shared, though there is a record")
        send(actor, stage.words)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def redeem_stale(arg: cython.p_void) -> cython.void:
    """With a ticket that was used up long ago: it joins while the block lives."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = redeem(actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_and_tell(arg: cython.p_void) -> cython.void:
    """Process 1; where the ticket lies can be guessed."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if share_create(cython.address(actor.pool), actor.address, _GRANULE, 0, cython.address(actor.held)) != OK:
        engine_fail(b"a block cannot be shared, though there is a record")
    if share_ticket(cython.address(actor.pool), cython.address(actor.held), cython.address(actor.ticket)) != OK:
        engine_fail(b"a holder cannot make a ticket")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def redeem_guessed(arg: cython.p_void) -> cython.void:
    """A ticket that came without any order: worth a hold or nothing, but the record that it names is whole."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.ticket.generation = 0
    actor.ticket.record = 0
    actor.ticket.lane = 1
    actor.status = redeem(actor)
    if actor.status != OK and actor.status != STALE:
        engine_fail(b"a record is live before it is whole")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_guessed(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    share_recall(cython.address(actor.pool))
    drop(actor)
    if stage.actors[1].status == OK:
        drop(cython.address(stage.actors[1]))
    return final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recall(arg: cython.p_void) -> cython.void:
    """Process 1 calls its tickets back and drops its hold."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.found[0] = share_recall(cython.address(actor.pool))
    drop(actor)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_free(arg: cython.p_void) -> cython.p_const_char:
    """Nothing is shared any more, and all granules that could be had are free."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    i: uint64_t
    wrong: cython.p_const_char
    for i in range(actor.pool.nr_shares):
        if read_once(cython.address(actor.pool.shares[i].state), b"sharing.final") & 0xFF != STATE_FREE:
            return b"a share record that nobody holds is not free"
    wrong = arena_wrong(stage, actor)
    if wrong != cython.NULL:
        return wrong
    if nr_owned(cython.address(actor.pool), 0) != stage.param:
        return b"a shared block was lost"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_once(arg: cython.p_void) -> cython.p_const_char:
    """A ticket is worth a hold to one at least."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[1].status != OK and stage.actors[2].status != OK:
        return b"nobody got the block for a ticket that was good"
    return final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_recalled(arg: cython.p_void) -> cython.p_const_char:
    """A ticket is called back or redeemed."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[1].status != OK and stage.actors[0].found[0] == 0:
        return b"a ticket was neither redeemed nor called back"
    return final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_in_flight(arg: cython.p_void) -> cython.p_const_char:
    """A ticket that nobody took is still the sender's: it is called back, and then nothing is left."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    if stage.actors[2].found[NR_FOUND - 1] == 0 and stage.actors[1].found[0] and stage.actors[1].status != OK:
        return b"a ticket of a living process was worth nothing"
    if share_recall(cython.address(actor.pool)) > 1:
        return b"there are more tickets than were sent"
    return final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_held(arg: cython.p_void) -> cython.p_const_char:
    """Process 3 holds the block, if it could join."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    if actor.status == OK and share_drop(cython.address(actor.pool), cython.address(actor.held), False) != OK:
        return b"a block was freed under its holder"
    return final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_new(arg: cython.p_void) -> cython.p_const_char:
    """The new ticket is worth a hold; when the holders have dropped, nothing is left."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    joiner: cython.pointer(Actor) = cython.address(stage.actors[1])
    receiver: cython.pointer(Actor) = cython.address(stage.actors[2])
    if actor.found[1]:
        if not receive(receiver, stage.words) or redeem(receiver) != OK:
            return b"a ticket of a living process was worth nothing"
        drop(receiver)
    if share_recall(cython.address(actor.pool)):
        return b"a ticket stays that nobody has"
    if actor.found[1] and share_drop(cython.address(actor.pool), cython.address(actor.held), False) != OK:
        return b"a block was freed under its holder"
    if joiner.status == OK and share_drop(cython.address(joiner.pool), cython.address(joiner.held), False) != OK:
        return b"a block was freed under its holder"
    return final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_died_twice(arg: cython.p_void) -> cython.p_const_char:
    """The ticket is the sender's: called back, if that is alive."""
    share_recall(cython.address(stage_of(arg).actors[0].pool))
    return final_free(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_last_holder(stage: cython.pointer(Stage), holder: uint32_t) -> cython.int:
    """A ticket was redeemed by process 2; only one of the two holders is left."""
    if set_two_holders(stage) != 0:
        return -1
    drop(cython.address(stage.actors[1 if holder == 1 else 0]))
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_end_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_last_holder(stage, 2) != 0:
        return -1
    e.may_die = 2
    return play(e, final_held, recover_and_take, just_drop, redeem_and_hold)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_stale(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_last_holder(stage, 1) != 0:
        return -1
    return play(e, final_new, drop_and_share_again, redeem_stale, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_stale_thread(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_last_holder(stage, 1) != 0:
        return -1
    stage.actors[1].slot[0] = 1
    return play(e, final_new, drop_and_share_again, redeem_stale, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_redeem_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_ticket(stage) != 0:
        return -1
    drop(cython.address(stage.actors[0]))
    return play(e, final_once, nothing, redeem_write_drop, redeem_and_drop)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_drop_both(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_two_holders(stage) != 0:
        return -1
    return play(e, final_free, drop_and_take, write_and_drop, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_join_end(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_two_holders(stage) != 0:
        return -1
    drop(cython.address(stage.actors[0]))
    return play(e, final_held, just_take, just_drop, redeem_and_hold)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_sent(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pool_of(e, memory, 1, 1) == cython.NULL:
        return -1
    return play(e, final_in_flight, share_send_drop, receive_and_drop, just_take)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_recall(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_ticket(stage) != 0:
        return -1
    return play(e, final_recalled, recall, redeem_write_drop, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_guessed(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pool_of(e, memory, 1, 1) == cython.NULL:
        return -1
    return play(e, final_guessed, share_and_tell, redeem_guessed, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_own(arg: cython.p_void) -> cython.void:
    """Shares its granule, if a record is free."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    actor.status = share_create(cython.address(actor.pool), actor.address, _GRANULE, 0, cython.address(actor.held))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_not_shared(actor: cython.pointer(Actor)) -> cython.p_const_char:
    """Drops the block of one who has tried to share it."""
    if actor.status == OK:
        drop(actor)
    elif actor.status != TABLE_FULL or genpool_free(cython.address(actor.pool), actor.address, _GRANULE) != OK:
        return b"a block that could not be shared is not its owner's any more"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_reused(arg: cython.p_void) -> cython.p_const_char:
    wrong: cython.p_const_char = final_not_shared(cython.address(stage_of(arg).actors[1]))
    return wrong if wrong != cython.NULL else final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_second(stage: cython.pointer(Stage)) -> cython.int:
    """Process 2 has the second granule."""
    stage.actors[1].address += _GRANULE
    return set_taken(cython.address(stage.actors[0].pool.chunks[0]), _FIRST + 1, 1, 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_reused(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """No block's content is used: here stores may go before loads."""
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 2)
    if stage == cython.NULL or set_last_holder(stage, 1) != 0 or set_second(stage) != 0:
        return -1
    e.load_buffering = True
    e.memory.preserved = False
    return play(e, final_reused, just_drop, share_own, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_sender_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pool_of(e, memory, 1, 1) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_in_flight, share_send_drop, receive_and_drop, recover_the_first)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_receiver_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of(e, memory, 1, 1)
    if stage == cython.NULL or set_ticket(stage) != 0:
        return -1
    e.may_die = 2
    return play(e, final_receiver_died, just_drop, redeem_write_drop, recover_the_second)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_receiver_died(arg: cython.p_void) -> cython.p_const_char:
    share_recall(cython.address(stage_of(arg).actors[0].pool))
    return final_free(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pool_of(e, memory, 1, 1) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_died_twice, share_send_drop, recover_the_first, recover_both)


register_scene(
    b"shares.redeem-twice",
    b"two processes redeem one ticket: a hold for one of them at least; the block is freed once, after all holders' accesses",
    b"I28",
    3,
    STAGE_BYTES,
    scene_redeem_twice,
)
register_scene(
    b"shares.drop-both",
    b"the last two holders drop at once: one of them frees the block, whose next owner comes after both",
    b"",
    2,
    STAGE_BYTES,
    scene_drop_both,
)
register_scene(
    b"shares.join-end",
    b"a ticket that is used up is redeemed while the last holder drops: it joins, or is stale, never both",
    b"",
    3,
    STAGE_BYTES,
    scene_join_end,
)
register_scene(
    b"shares.sent",
    b"a block is shared, sent, received and dropped by both; it is freed once",
    b"",
    3,
    STAGE_BYTES,
    scene_sent,
)
register_scene(
    b"shares.recall",
    b"a sender calls its ticket back while the receiver redeems it: one of the two",
    b"",
    2,
    STAGE_BYTES,
    scene_recall,
)
register_scene(
    b"shares.sender-dies",
    b"a process that shares, sends and drops a block is killed anywhere and swept: nothing is lost, or freed too early",
    b"I28",
    3,
    STAGE_BYTES,
    scene_sender_dies,
)
register_scene(
    b"shares.receiver-dies",
    b"a process that redeems a ticket and drops is killed anywhere and swept; what it did not take stays the sender's",
    b"I28",
    3,
    STAGE_BYTES,
    scene_receiver_dies,
)
register_scene(
    b"shares.end-dies",
    b"the last holder is killed while it ends a share that another is joining: the block is freed, or the other's",
    b"I28",
    3,
    STAGE_BYTES,
    scene_end_dies,
)
register_scene(
    b"shares.stale",
    b"a record ends and is used again while a stale ticket of it is redeemed: the new ticket is worth a hold, nothing is left",
    b"",
    2,
    STAGE_BYTES,
    scene_stale,
)
register_scene(
    b"shares.stale-thread",
    b"as stale, and the stale ticket is redeemed by a thread of the process that uses the record again",
    b"",
    2,
    STAGE_BYTES,
    scene_stale_thread,
)
register_scene(
    b"shares.guessed",
    b"a ticket is redeemed before anything says that it was made: it is worth a hold or nothing, its record is whole",
    b"",
    2,
    STAGE_BYTES,
    scene_guessed,
)
register_scene(
    b"shares.dies-twice",
    b"a process that shares, sends and drops a block is killed anywhere, and so is its recovery; a third process sweeps both",
    b"I28",
    3,
    STAGE_BYTES,
    scene_dies_twice,
)
register_scene(
    b"shares.reused",
    b"a record ends while another block takes it: who ends it reads what it says before, not after",
    b"",
    2,
    STAGE_BYTES,
    scene_reused,
)
