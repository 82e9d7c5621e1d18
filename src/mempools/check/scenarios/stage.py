"""The stage on which scenarios play, and what their functions share.

A scenario is a few simulated CPUs, each with a body of one to three operations of the core, on a stage so small that every
execution can be visited: one or two words of map, a handful of pages. Its setup builds the stage with the core's own
functions, natively; the bodies run in the simulated machine, where a block's content is written and read by declared plain
accesses (a hand-over that is not ordered is then a data race); its end condition looks, after each execution, at what is left.

The modules of this folder register their scenarios when they are imported. A CPU with number n plays the process with slot
n + 1, unless its body says otherwise. Nobody waits for a message: whoever finds a mailbox empty goes home, for there is an
execution in which the letter was there.

The stage's own struct lies in ordinary memory; there is one, and each exploration puts its own back before each execution.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.stage is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_await_end, engine_cpu, engine_fail
from cython.cimports.mempools.check.regions import engine_region
from cython.cimports.mempools.check.state import Engine, body_fn, final_fn
from cython.cimports.mempools.layout.chunks import pool_load
from cython.cimports.mempools.layout.directory import PoolConfig, directory_open
from cython.cimports.mempools.layout.pages import pages_format
from cython.cimports.mempools.layout.proctable import slot_set_free, slot_set_live
from cython.cimports.mempools.layout.recovery import sweep_slot
from cython.cimports.mempools.layout.refs import ArenaRef, ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import (
    NAME_BYTES,
    NR_POOLS,
    PAGE_SHIFT,
    STATE_LIVE,
    PoolEntry,
    ProcSlot,
    Superblock,
)
from cython.cimports.mempools.layout.superblock import (
    POOLS_OFFSET,
    SLOTS_OFFSET,
    superblock_format,
    superblock_publish,
)
from cython.cimports.mempools.machine.atomics import (
    copy,
    cpu_relax,
    load_acquire,
    read_once,
    store_release,
    this_module_step,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import free_lanes, has_free_lane, popcount64
from cython.cimports.mempools.parts.ownermap import claim, count_owner, owner_at
from cython.cimports.mempools.parts.robustlock import robust_holder
from cython.cimports.mempools.parts.status import BUSY, OK
from cython.cimports.mempools.pools.mapcheck import (
    FALSELY_FULL,
    LOST_PAGES,
    LOST_RUN,
    LOST_SHARE,
    NOBODY,
    ORPHAN,
    UNSHARED,
    map_check,
    pages_check,
)

register_module(cython.address(this_module_step))

_stage = cython.declare(Stage)


# ---- for setups: natively, nobody else there


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_stage(e: cython.pointer(Engine), memory: cython.p_char) -> cython.pointer(Stage):
    """An empty stage; its shared words are the whole memory until there is an arena."""
    stage: cython.pointer(Stage) = cython.address(_stage)
    i: uint32_t
    memset(stage, 0, cython.sizeof(Stage))
    stage.memory = memory
    stage.nr_pages = STAGE_PAGES
    stage.words = cython.cast(cython.pointer(uint64_t), memory)
    for i in range(NR_ACTORS):
        stage.actors[i].slot[0] = i + 1
    e.arg = stage
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def play(e: cython.pointer(Engine), final: final_fn, first: body_fn, second: body_fn, third: body_fn) -> cython.int:
    """The stage is set: who plays (NULL: nobody)."""
    e.bodies[0] = first
    e.bodies[1] = second
    if third != cython.NULL:
        e.bodies[2] = third
    e.final = final
    return engine_region(e, cython.address(_stage), cython.sizeof(Stage), False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_file(stage: cython.pointer(Stage), nr_pages: uint64_t) -> cython.int:
    """The file of an arena of nr_pages pages, mapped by everybody: there is only the constant part of its superblock in it.
    The mailboxes lie behind it."""
    i: uint32_t
    super: cython.pointer(Superblock) = cython.cast(cython.pointer(Superblock), stage.memory)
    arena: cython.pointer(ArenaRef)
    if nr_pages >= stage.nr_pages:
        return -1
    stage.nbytes = nr_pages << PAGE_SHIFT
    stage.words = cython.cast(cython.pointer(uint64_t), stage.memory + stage.nbytes)
    superblock_format(super, stage.nbytes, 0x1234, 0x5678, 0, 1)
    for i in range(NR_ACTORS):
        arena = cython.address(stage.actors[i].arena)
        arena.base = stage.memory
        arena.nbytes = stage.nbytes
        arena.fd = -1
        arena.super = super
        arena.slots = cython.cast(cython.pointer(ProcSlot), stage.memory + SLOTS_OFFSET)
        arena.pools = cython.cast(cython.pointer(PoolEntry), stage.memory + POOLS_OFFSET)
        arena.slot = stage.actors[i].slot
        arena.pages = cython.address(stage.actors[i].pages)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_arena(stage: cython.pointer(Stage), nr_pages: uint64_t, nr_processes: uint32_t) -> cython.int:
    """An arena of nr_pages pages, header included, in the stage's memory, used by processes 1..nr_processes; the mailboxes
    lie behind it. Its free pages are full of rubbish."""
    i: uint32_t
    arena: cython.pointer(ArenaRef) = cython.address(stage.actors[0].arena)
    if nr_processes > NR_ACTORS or set_file(stage, nr_pages) != 0 or pages_format(arena) != OK:
        return -1
    for i in range(NR_ACTORS):
        if pool_load(cython.address(stage.actors[i].arena), 0, cython.address(stage.actors[i].pages)) != OK:
            return -1
        if i < nr_processes:
            slot_set_live(cython.address(arena.slots[i + 1]), 0, 101 + i, 1, 1)
    superblock_publish(arena.super)
    for i in range(nr_pages):
        if owner_at(stage.actors[0].pages.chunks[0].map, i) == 0:
            memset(stage.memory + (cython.cast(uint64_t, i) << PAGE_SHIFT), 0xA5, 1 << PAGE_SHIFT)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_pool(
    stage: cython.pointer(Stage),
    kind: uint64_t,
    shift: uint64_t,
    limit: uint64_t,
    nr_shares: uint64_t,
    root_nbytes: uint64_t,
    index: cython.pointer(uint32_t),
) -> cython.int:
    """A pool that every actor has open."""
    config: PoolConfig
    name: uint8_t[NAME_BYTES]
    i: uint32_t
    memset(name, 0, NAME_BYTES)
    name[0] = 112
    config.kind = kind
    config.shift = shift
    config.limit = limit
    config.foreign = 0
    config.root_nbytes = root_nbytes
    config.nr_shares = nr_shares
    for i in range(NR_ACTORS):
        if directory_open(cython.address(stage.actors[i].arena), name, cython.address(config), True, index) != OK:
            return -1
        if set_ref(stage, i, index[0]) != 0:
            return -1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_ref(stage: cython.pointer(Stage), actor: uint32_t, index: uint32_t) -> cython.int:
    """The actor's reference to a pool as it is now."""
    return (
        0
        if pool_load(cython.address(stage.actors[actor].arena), index, cython.address(stage.actors[actor].pool)) == OK
        else -1
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_taken(chunk: cython.pointer(ChunkRef), first: uint64_t, nr: uint64_t, owner: uint32_t) -> cython.int:
    """A block that is there from the start."""
    return 0 if claim(chunk.map, chunk.summary, first, nr, owner) == OK else -1


# ---- for bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def stage_of(arg: cython.p_void) -> cython.pointer(Stage):
    return cython.cast(cython.pointer(Stage), arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def me(stage: cython.pointer(Stage)) -> cython.pointer(Actor):
    return cython.address(stage.actors[engine_cpu()])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def slot_of(actor: cython.pointer(Actor)) -> uint32_t:
    return cython.cast(uint32_t, actor.slot[0])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_block(block: cython.p_char, mark: uint64_t) -> cython.void:
    """What an owner does to its block: a plain write."""
    copy(block, cython.address(mark), 8, b"stage.write_block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_block(block: cython.p_char) -> uint64_t:
    mark: uint64_t = 0
    copy(cython.address(mark), block, 8, b"stage.read_block")
    return mark


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def use_block(block: cython.p_char, mark: uint64_t) -> cython.void:
    """Reads (the last owner is done with it), writes, and reads again: whoever else has the block gives itself away, by a
    data race or another mark."""
    read_block(block)
    write_block(block, mark)
    if read_block(block) != mark:
        engine_fail(b"another CPU wrote into this CPU's block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def post(word: cython.pointer(uint64_t), value: uint64_t) -> cython.void:
    """Into a mailbox, as through a pipe."""
    # [R:stage.post] release; pairs with [A:stage.take_post]: whoever has the letter sees what its sender did before.
    store_release(word, value, b"R:stage.post")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_post(word: cython.pointer(uint64_t)) -> uint64_t:
    """0: nothing there yet."""
    # [A:stage.take_post] acquire; pairs with [R:stage.post].
    return load_acquire(word, b"A:stage.take_post")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover(actor: cython.pointer(Actor), slot: uint32_t) -> cython.void:
    """What proctable does with a dead process's slot, while it holds the slot's mend lock."""
    while sweep_slot(cython.address(actor.arena), slot) == BUSY:
        cpu_relax(b"stage.recover")
    slot_set_free(cython.address(actor.arena.slots[slot]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_dead(stage: cython.pointer(Stage), cpu: cython.int) -> cython.void:
    """Waits for the end of a CPU; if it was a death, sweeps up. `found[NR_FOUND - 1]`: whether."""
    actor: cython.pointer(Actor) = me(stage)
    if engine_await_end(cpu):
        actor.found[NR_FOUND - 1] = 1
        recover(actor, cpu + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_the_first(arg: cython.p_void) -> cython.void:
    recover_dead(stage_of(arg), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_the_second(arg: cython.p_void) -> cython.void:
    recover_dead(stage_of(arg), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recover_both(arg: cython.p_void) -> cython.void:
    """For CPU 2, where CPU 1 recovers CPU 0 and is killed itself: it leaves the first one's remains too."""
    if engine_await_end(1):
        recover_dead(stage_of(arg), 0)
        recover(me(stage_of(arg)), 2)


# ---- for end conditions: nobody else runs, every read sees the newest


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def full_bits_wrong(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), nr_words: uint64_t
) -> cython.p_const_char:
    """A full bit over a word with a free lane: no search would ever look there again."""
    w: uint64_t
    for w in range(nr_words):
        if read_once(cython.address(summary[w >> 6]), b"stage.full") >> (w & 63) & 1 and has_free_lane(
            read_once(cython.address(map[w]), b"stage.full")
        ):
            return b"a full bit stays on a word that has a free granule"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def map_wrong(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), nr_words: uint64_t, nr_taken: uint64_t
) -> cython.p_const_char:
    """The map of a scene without an arena, where nr_taken granules are taken."""
    w: uint64_t
    nr: uint64_t = 0
    for w in range(nr_words):
        nr += 8 - popcount64(free_lanes(read_once(cython.address(map[w]), b"stage.map")))
    if nr > nr_taken:
        return b"granules are taken that nobody holds"
    if nr < nr_taken:
        return b"granules are free that somebody holds"
    return full_bits_wrong(map, summary, nr_words)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def told(what: uint64_t) -> cython.p_const_char:
    if what == ORPHAN:
        return b"a granule without a start follows another owner's"
    if what == NOBODY:
        return b"a granule's owner is no live process and no structure"
    if what == FALSELY_FULL:
        return b"a full bit stays on a word that has a free granule"
    if what == UNSHARED:
        return b"granules are shared, and no record names them"
    if what == LOST_SHARE:
        return b"a share record names no shared block, or nobody holds it"
    if what == LOST_RUN:
        return b"a pool's pages are not the pool's in the page map"
    if what == LOST_PAGES:
        return b"pages are a pool's that no pool names"
    return b"the core's own check finds a contradiction"


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def arena_wrong(stage: cython.pointer(Stage), actor: cython.pointer(Actor)) -> cython.p_const_char:
    """The core's own check() over all pools, and the full bits, which it only looks at beside free granules."""
    pool: PoolRef
    index: uint32_t
    i: uint64_t
    wrong: cython.p_const_char
    for index in range(NR_POOLS):
        if read_once(cython.address(actor.arena.pools[index].state), b"stage.check") & 0xFF != STATE_LIVE:
            continue
        if pool_load(cython.address(actor.arena), index, cython.address(pool)) != OK:
            return b"a pool cannot be loaded"
        if map_check(cython.address(pool), stage.problems, 4):
            return told(stage.problems[0].what)
        for i in range(pool.nr_chunks):
            wrong = full_bits_wrong(pool.chunks[i].map, pool.chunks[i].summary, pool.chunks[i].nr_words)
            if wrong != cython.NULL:
                return wrong
        if index == 0 and pages_check(cython.address(pool), stage.problems, 4):
            return told(stage.problems[0].what)
    if robust_holder(cython.address(actor.arena.super.directory_lock)):
        return b"the directory's lock is still held"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nr_owned(pool: cython.pointer(PoolRef), owner: uint32_t) -> uint64_t:
    """Granules of an owner (0: free ones), in all chunks that the pool's entry has."""
    fresh: PoolRef
    i: uint64_t
    nr: uint64_t = 0
    if pool_load(pool.arena, pool.index, cython.address(fresh)) != OK:
        return ~cython.cast(uint64_t, 0)
    for i in range(fresh.nr_chunks):
        nr += count_owner(fresh.chunks[i].map, fresh.chunks[i].summary, fresh.chunks[i].nr_words, owner)
    return nr
