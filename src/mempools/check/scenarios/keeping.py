"""Scenarios of a Mempool over blocks whose processes die: while they take, give, wait, make, recover, or share an element.

The pool is its own backend: one chunk, of which as many granules can be had as there are elements. Time runs out only when
nobody else can go on.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.keeping is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    recover_both,
    recover_dead,
    recover_the_first,
    set_arena,
    set_pool,
    set_stage,
    set_taken,
    slot_of,
    stage_of,
    use_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import KIND_MEMPOOL
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_RESERVE, OWNER_STRUCT
from cython.cimports.mempools.parts.status import BUSY, EXHAUSTED, OK, TIMED_OUT
from cython.cimports.mempools.pools.genpool import genpool_free
from cython.cimports.mempools.pools.mempool import (
    TAKE_QUEUES,
    mempool_give,
    mempool_take,
)
from cython.cimports.mempools.pools.mempoolmake import MempoolConfig, mempool_make, mempool_room, mempool_set_min
from cython.cimports.mempools.pools.mempoolmend import mempool_check
from cython.cimports.mempools.pools.reserve import NO_TICKET, NR_INLINE, Reserve, reserve_of, waiter_sleep
from cython.cimports.mempools.pools.shares import share_create, share_drop, share_redeem, share_ticket

register_module(cython.address(this_module_step))

_A_WHILE = cython.declare(uint64_t, 20_000_000)
_ELEMENT = cython.declare(uint64_t, 512)  # bytes, and a granule
_FIRST = cython.declare(uint64_t, 3)  # the first element's granule


# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_pool_of_blocks(
    e: cython.pointer(Engine), memory: cython.p_char, owner: uint32_t, nr_free: uint64_t
) -> cython.pointer(Stage):
    """A pool that nobody has made yet. One element is the owner's, in everybody's `address`, and nr_free granules after it are
    free; the others, `param` of them, are structures."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    chunk: cython.pointer(ChunkRef) = cython.address(stage.actors[0].pool.chunks[0])
    index: uint32_t = 0
    i: uint32_t
    rest: uint64_t
    if set_arena(stage, 16, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_MEMPOOL, 9, _ELEMENT, 1, cython.sizeof(Reserve), cython.address(index)) != 0:
        return cython.NULL
    rest = chunk.nr - _FIRST - 1 - nr_free
    if set_taken(chunk, 0, _FIRST, OWNER_STRUCT) != 0 or set_taken(chunk, _FIRST, 1, owner) != 0:
        return cython.NULL
    if set_taken(chunk, _FIRST + 1 + nr_free, rest, OWNER_STRUCT) != 0:
        return cython.NULL
    for i in range(3):
        stage.actors[i].address = chunk.base + _FIRST * _ELEMENT
    stage.param = _FIRST + rest
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make(actor: cython.pointer(Actor)) -> cython.int:
    config: MempoolConfig
    config.nbytes = _ELEMENT
    config.min_nr = 1
    config.backend = actor.pool.index
    config.fifo = 0
    config.poison = 0
    return mempool_make(cython.address(actor.pool), cython.address(actor.pool), cython.address(config))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_blocks(e: cython.pointer(Engine), memory: cython.p_char, owner: uint32_t) -> cython.pointer(Stage):
    """A pool that is to keep one element, which is the owner's, process 1's or 2's. CPU 0 may die."""
    stage: cython.pointer(Stage) = set_pool_of_blocks(e, memory, owner, 0)
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    surplus: uint64_t = 0
    if stage == cython.NULL or make(actor) != OK:
        return cython.NULL
    if mempool_set_min(cython.address(actor.pool), cython.address(actor.pool), 1, cython.address(surplus), 0) != OK:
        return cython.NULL
    e.may_die = 1
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_full(e: cython.pointer(Engine), memory: cython.p_char) -> cython.pointer(Stage):
    """As set_blocks, the element being in the reserve."""
    stage: cython.pointer(Stage) = set_blocks(e, memory, 1)
    if stage != cython.NULL:
        give(cython.address(stage.actors[0]), stage.actors[0].address)
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_shared(e: cython.pointer(Engine), memory: cython.p_char) -> cython.pointer(Stage):
    """As set_blocks, but processes 1 and 2 share the element."""
    stage: cython.pointer(Stage) = set_blocks(e, memory, 1)
    first: cython.pointer(Actor) = cython.address(stage.actors[0])
    second: cython.pointer(Actor) = cython.address(stage.actors[1])
    if stage == cython.NULL:
        return cython.NULL
    if (
        share_create(cython.address(first.pool), first.address, _ELEMENT, first.pool.index, cython.address(first.held))
        != OK
    ):
        return cython.NULL
    if share_ticket(cython.address(first.pool), cython.address(first.held), cython.address(second.ticket)) != OK:
        return cython.NULL
    if (
        share_redeem(
            cython.address(second.pool),
            cython.address(second.ticket),
            second.address,
            _ELEMENT,
            cython.address(second.held),
        )
        != OK
    ):
        return cython.NULL
    return stage


# ---- what bodies are made of


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give(actor: cython.pointer(Actor), address: uint64_t) -> cython.void:
    """Back to the pool, or to the backend."""
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    taken: uint64_t = 0
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = mempool_give(pool, pool, cython.address(address), 1, cython.address(taken), _A_WHILE)
    if status != OK:
        engine_fail(b"an element cannot be given back")
    if taken == 0 and genpool_free(pool, address, _ELEMENT) != OK:
        engine_fail(b"the backend does not take an element")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take(actor: cython.pointer(Actor), waiter: cython.pointer(uint64_t), flags: uint64_t) -> uint64_t:
    """An element of the reserve, 0: there is none."""
    pool: cython.pointer(PoolRef) = cython.address(actor.pool)
    address: uint64_t = 0
    status: cython.int = TIMED_OUT
    while status == TIMED_OUT:
        status = mempool_take(pool, pool, 1, cython.address(address), waiter, flags, _A_WHILE)
    if status != OK and status != EXHAUSTED:
        engine_fail(b"the reserve cannot be looked into")
    return address if status == OK else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def use_and_give(actor: cython.pointer(Actor), address: uint64_t) -> cython.void:
    use_block(actor.arena.base + address, slot_of(actor))
    give(actor, address)


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_own(arg: cython.p_void) -> cython.void:
    """A process uses the element that it has from the start, and gives it back."""
    use_and_give(me(stage_of(arg)), me(stage_of(arg)).address)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wait_and_give(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    waiter: uint64_t = NO_TICKET
    address: uint64_t = take(actor, cython.address(waiter), TAKE_QUEUES)
    while address == 0:
        waiter_sleep(cython.address(actor.pool), waiter, _A_WHILE)
        address = take(actor, cython.address(waiter), TAKE_QUEUES)
    use_and_give(actor, address)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_and_give(arg: cython.p_void) -> cython.void:
    """Without waiting."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    waiter: uint64_t = NO_TICKET
    address: uint64_t = take(actor, cython.address(waiter), 0)
    if address:
        use_and_give(actor, address)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_and_leave(arg: cython.p_void) -> cython.void:
    make(me(stage_of(arg)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_and_make(arg: cython.p_void) -> cython.void:
    """After the first, alive or not, anybody can make the pool."""
    status: cython.int = BUSY
    recover_dead(stage_of(arg), 0)
    while status == BUSY:
        status = make(me(stage_of(arg)))
    if status != OK:
        engine_fail(b"a pool whose maker has died cannot be made")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_room(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    while mempool_room(cython.address(actor.pool), NR_INLINE + 1) == TIMED_OUT:
        pass


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_and_make_room(arg: cython.p_void) -> cython.void:
    recover_dead(stage_of(arg), 0)
    make_room(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drop(arg: cython.p_void) -> cython.void:
    """One of two holders of an element that is shared has done with it."""
    actor: cython.pointer(Actor) = me(stage_of(arg))
    if share_drop(cython.address(actor.pool), cython.address(actor.held), False) != OK:
        engine_fail(b"a holder cannot drop its hold")


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_whole(arg: cython.p_void) -> cython.p_const_char:
    """The element is in the reserve, nobody has it, nobody waits."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    r: cython.pointer(Reserve) = reserve_of(cython.address(actor.pool))
    named: uint64_t = 0
    wrong: uint64_t = 0
    if (
        mempool_check(
            cython.address(actor.pool), cython.address(actor.pool), cython.address(named), cython.address(wrong)
        )
        != OK
    ):
        return b"the reserve is still locked"
    if named != 1:
        return b"the reserve has lost its element"
    if wrong or nr_owned(cython.address(actor.pool), OWNER_RESERVE) != 1:
        return b"the reserve names a block that is not its own"
    if read_once(cython.address(r.moving), b"keeping.final"):
        return b"an element is still on its way"
    if read_once(cython.address(r.waiting[0]), b"keeping.final"):
        return b"somebody is still in the queue"
    if read_once(cython.address(r.granted), b"keeping.final"):
        return b"elements are promised to nobody"
    return arena_wrong(stage, actor)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_made(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if not read_once(cython.address(reserve_of(cython.address(stage.actors[1].pool)).made), b"keeping.final"):
        return b"nobody has made the pool"
    return arena_wrong(stage, cython.address(stage.actors[1]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_room(arg: cython.p_void) -> cython.p_const_char:
    """One table; nothing else but the stage's own is a structure."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[1])
    r: cython.pointer(Reserve) = reserve_of(cython.address(actor.pool))
    offset: uint64_t = read_once(cython.address(r.segments[1]), b"keeping.final")
    if offset == 0:
        return b"there is no room for more elements"
    if nr_owned(cython.address(actor.pool), OWNER_STRUCT) != stage.param + 1 + ((NR_INLINE << 4) >> 9):
        return b"there are more or fewer cells than the table names"
    return arena_wrong(stage, actor)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_giver_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_blocks(e, memory, 1) == cython.NULL:
        return -1
    return play(e, final_whole, give_own, recover_the_first, wait_and_give)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_taker_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_full(e, memory) == cython.NULL:
        return -1
    return play(e, final_whole, take_and_give, recover_the_first, take_and_give)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_waiter_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_blocks(e, memory, 2) == cython.NULL:
        return -1
    return play(e, final_whole, wait_and_give, give_own, recover_the_first)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_recovery_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_full(e, memory) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_whole, take_and_give, recover_the_first, recover_both)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_maker_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_pool_of_blocks(e, memory, OWNER_STRUCT, 0) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_made, make_and_leave, recover_and_make, make_and_leave)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_room_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_pool_of_blocks(e, memory, OWNER_STRUCT, 2)
    if stage == cython.NULL or make(cython.address(stage.actors[0])) != OK:
        return -1
    e.may_die = 1
    return play(e, final_room, make_room, recover_and_make_room, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_keeper(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_shared(e, memory) == cython.NULL:
        return -1
    e.may_die = 0
    return play(e, final_whole, drop, drop, wait_and_give)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_sharer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_shared(e, memory) == cython.NULL:
        return -1
    return play(e, final_whole, drop, drop, recover_the_first)


register_scene(
    b"mempool.giver-dies",
    b"whoever gives its element back is killed anywhere; another process gets the element",
    b"I28",
    3,
    STAGE_BYTES,
    scene_giver_dies,
)
register_scene(
    b"mempool.taker-dies",
    b"whoever takes an element is killed anywhere, while another takes and gives: it is back in the reserve",
    b"I28",
    3,
    STAGE_BYTES,
    scene_taker_dies,
)
register_scene(
    b"mempool.waiter-dies",
    b"a waiter is killed anywhere, also woken or with its element: that is back in the reserve",
    b"I28",
    3,
    STAGE_BYTES,
    scene_waiter_dies,
)
register_scene(
    b"mempool.recovery-dies",
    b"whoever takes an element is killed, and its recovery too, at any two points",
    b"I28",
    3,
    STAGE_BYTES,
    scene_recovery_dies,
)
register_scene(
    b"mempool.maker-dies",
    b"whoever makes a pool is killed anywhere; another makes it",
    b"I28",
    3,
    STAGE_BYTES,
    scene_maker_dies,
)
register_scene(
    b"mempool.room-dies",
    b"whoever makes room for more elements is killed anywhere; no part of a table is lost",
    b"I28",
    2,
    STAGE_BYTES,
    scene_room_dies,
)
register_scene(
    b"mempool.keeper",
    b"two processes share an element: whoever drops its hold last gives it back, and one who waits gets it",
    b"",
    3,
    STAGE_BYTES,
    scene_keeper,
)
register_scene(
    b"mempool.sharer-dies",
    b"as mempool.keeper, one of them being killed anywhere",
    b"I28",
    3,
    STAGE_BYTES,
    scene_sharer_dies,
)
