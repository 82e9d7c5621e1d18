"""Scenarios of GenPool: allocations and frees beside each other, by every algorithm, in an interrupt, in processes that die.

The pool has one chunk of a page: 7 granules of 512 bytes in one word of map, or 15 of 256 bytes in two. Most of them are
taken from the start, so that those who want the rest meet.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.allocating is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_cpu, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    STAGE_BYTES,
    Actor,
    Stage,
    arena_wrong,
    me,
    nr_owned,
    play,
    recover_both,
    recover_the_first,
    set_arena,
    set_pool,
    set_stage,
    set_taken,
    stage_of,
    use_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.layout.structs import KIND_GENPOOL
from cython.cimports.mempools.machine.atomics import this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import EXHAUSTED, OK
from cython.cimports.mempools.pools.genbulk import genpool_alloc_bulk, genpool_free_bulk
from cython.cimports.mempools.pools.genpool import (
    BEST_FIT,
    FIRST_FIT,
    FIXED,
    genpool_alloc,
    genpool_alloc_algo,
    genpool_free,
)

register_module(cython.address(this_module_step))


# ---- stages


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_chunk(
    e: cython.pointer(Engine), memory: cython.p_char, shift: uint64_t, first: uint64_t, nr: uint64_t
) -> cython.pointer(Stage):
    """A pool of one page in granules of 1 << shift bytes, all of them taken but `nr` from `first` on."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    chunk: cython.pointer(ChunkRef) = cython.address(stage.actors[0].pool.chunks[0])
    index: uint32_t = 0
    if set_arena(stage, 9, 3) != 0:
        return cython.NULL
    if set_pool(stage, KIND_GENPOOL, shift, 1 << shift, 0, 0, cython.address(index)) != 0:
        return cython.NULL
    if first and set_taken(chunk, 0, first, OWNER_STRUCT) != 0:
        return cython.NULL
    if first + nr < chunk.nr and set_taken(chunk, first + nr, chunk.nr - first - nr, OWNER_STRUCT) != 0:
        return cython.NULL
    stage.param = nr
    return stage


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give(actor: cython.pointer(Actor), address: uint64_t, nr: uint64_t) -> cython.void:
    if genpool_free(cython.address(actor.pool), address, nr << actor.pool.shift) != OK:
        engine_fail(b"an owner cannot free its block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def use_ends(actor: cython.pointer(Actor), address: uint64_t, nr: uint64_t) -> cython.void:
    use_block(actor.arena.base + address, actor.slot[0])
    if nr > 1:
        use_block(actor.arena.base + address + ((nr - 1) << actor.pool.shift), actor.slot[0])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_and_give(actor: cython.pointer(Actor), nr: uint64_t) -> cython.void:
    address: uint64_t = 0
    status: cython.int = genpool_alloc(
        cython.address(actor.pool), cython.address(actor.hint), nr << actor.pool.shift, cython.address(address)
    )
    if status == OK:
        use_ends(actor, address, nr)
        give(actor, address, nr)
    elif status != EXHAUSTED:
        engine_fail(b"an allocation ends with an unexpected status")
    actor.status = status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def one(arg: cython.p_void) -> cython.void:
    take_and_give(me(stage_of(arg)), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def two(arg: cython.p_void) -> cython.void:
    take_and_give(me(stage_of(arg)), 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def three(arg: cython.p_void) -> cython.void:
    take_and_give(me(stage_of(arg)), 3)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def one_again(arg: cython.p_void) -> cython.void:
    """From where it was before: the fast path."""
    take_and_give(me(stage_of(arg)), 1)
    take_and_give(me(stage_of(arg)), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def use_and_give(arg: cython.p_void) -> cython.void:
    """Process 1 has all that can be had."""
    stage: cython.pointer(Stage) = stage_of(arg)
    use_ends(me(stage), me(stage).address, stage.param)
    give(me(stage), me(stage).address, stage.param)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def bulk(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    nr: uint64_t = 3
    i: uint64_t
    granule: uint64_t = cython.cast(uint64_t, 1) << actor.pool.shift
    genpool_alloc_bulk(cython.address(actor.pool), cython.address(actor.hint), granule, actor.found, cython.address(nr))
    for i in range(nr):
        use_ends(actor, actor.found[i], 1)
    if genpool_free_bulk(cython.address(actor.pool), actor.found, cython.address(nr), granule) != OK:
        engine_fail(b"an owner cannot free its blocks")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def by_algorithm(arg: cython.p_void) -> cython.void:
    """Each CPU by another one: two granules at a place, two that fit best, one on an even place."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = me(stage)
    cpu: cython.int = engine_cpu()
    address: uint64_t = 0
    nr: uint64_t = 1 if cpu == 2 else 2
    algorithm: uint32_t = FIXED if cpu == 0 else BEST_FIT if cpu == 1 else FIRST_FIT
    data: uint64_t = actor.pool.chunks[0].base + (2 << actor.pool.shift) if cpu == 0 else 0 if cpu == 1 else 1024
    actor.status = genpool_alloc_algo(
        cython.address(actor.pool),
        cython.address(actor.hint),
        nr << actor.pool.shift,
        algorithm,
        data,
        cython.address(address),
    )
    if actor.status == OK:
        if (cpu == 0 and address != data) or (cpu == 2 and address & 1023):
            engine_fail(b"a block is not where the algorithm puts it")
        use_ends(actor, address, nr)
        give(actor, address, nr)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_algorithm(arg: cython.p_void) -> cython.void:
    """What GenPool.set_algo does: from "at this place" to "aligned to 1024"."""
    write_once(
        cython.address(me(stage_of(arg)).pool.entry.algo),
        cython.cast(uint64_t, FIRST_FIT) << 56 | 1024,
        b"allocating.set_algo",
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def by_the_pools(arg: cython.p_void) -> cython.void:
    actor: cython.pointer(Actor) = me(stage_of(arg))
    address: uint64_t = 0
    if genpool_alloc(cython.address(actor.pool), cython.address(actor.hint), 512, cython.address(address)) != OK:
        engine_fail(b"an allocation fails by a pair of algorithm and data that nobody set")
    if address != actor.pool.chunks[0].base + 5 * 512 and address & 1023:
        engine_fail(b"a block is where neither algorithm puts it")
    give(actor, address, 1)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_free(arg: cython.p_void) -> cython.p_const_char:
    """All that could be had is free again, and can be had."""
    stage: cython.pointer(Stage) = stage_of(arg)
    actor: cython.pointer(Actor) = cython.address(stage.actors[2])
    wrong: cython.p_const_char
    if nr_owned(cython.address(actor.pool), 0) != stage.param:
        return b"granules are free that should not be, or the other way round"
    wrong = arena_wrong(stage, actor)
    if wrong != cython.NULL:
        return wrong
    if (
        genpool_alloc(
            cython.address(actor.pool),
            cython.address(actor.hint),
            stage.param << actor.pool.shift,
            cython.address(actor.address),
        )
        != OK
    ):
        return b"what is free cannot be allocated"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_somebody(arg: cython.p_void) -> cython.p_const_char:
    """Not everybody failed for another's sake."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if stage.actors[0].status != OK and stage.actors[1].status != OK and stage.actors[2].status != OK:
        return b"all allocations failed, though there was room for one"
    return final_free(arg)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_pairs(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 9, 3, 1) == cython.NULL:
        return -1
    return play(e, final_somebody, one, one, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_room(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 9, 3, 4) == cython.NULL:
        return -1
    return play(e, final_somebody, one_again, two, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_hand_over(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_chunk(e, memory, 9, 3, 2)
    if stage == cython.NULL or set_taken(cython.address(stage.actors[0].pool.chunks[0]), 3, 2, 1) != 0:
        return -1
    stage.actors[0].address = stage.actors[0].pool.chunks[0].base + 3 * 512
    return play(e, final_free, use_and_give, two, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_words(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 8, 6, 3) == cython.NULL:
        return -1
    return play(e, final_somebody, three, one, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_algorithms(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 9, 2, 3) == cython.NULL:
        return -1
    return play(e, final_somebody, by_algorithm, by_algorithm, by_algorithm)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_set_algo(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_chunk(e, memory, 9, 0, 7)
    if stage == cython.NULL:
        return -1
    stage.actors[0].pool.entry.algo = cython.cast(uint64_t, FIXED) << 56 | (
        stage.actors[0].pool.chunks[0].base + 5 * 512
    )
    stage.param = 7
    return play(e, final_set_algo, set_algorithm, by_the_pools, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_set_algo(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if nr_owned(cython.address(stage.actors[0].pool), 0) != stage.param:
        return b"a granule is lost"
    return arena_wrong(stage, cython.address(stage.actors[0]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_bulk(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 8, 6, 3) == cython.NULL:
        return -1
    return play(e, final_free, bulk, one, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_interrupted(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 9, 3, 3) == cython.NULL:
        return -1
    e.handlers[0] = one
    return play(e, final_somebody, two, one, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 8, 6, 3) == cython.NULL:
        return -1
    e.may_die = 1
    return play(e, final_free, three, recover_the_first, one)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_dies_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    if set_chunk(e, memory, 8, 6, 3) == cython.NULL:
        return -1
    e.may_die = 3
    e.max_deaths = 2
    return play(e, final_free, three, recover_the_first, recover_both)


register_scene(
    b"genpool.pairs",
    b"two processes want the last granule: one has it at a time, and it is free in the end",
    b"I14 I15",
    2,
    STAGE_BYTES,
    scene_pairs,
)
register_scene(
    b"genpool.room",
    b"two processes allocate and free beside each other in one word, by the fast path too",
    b"I14",
    2,
    STAGE_BYTES,
    scene_room,
)
register_scene(
    b"genpool.hand-over",
    b"a block is used and freed; another process allocates and uses it",
    b"I14",
    2,
    STAGE_BYTES,
    scene_hand_over,
)
register_scene(
    b"genpool.two-words",
    b"a block over two words and a single granule, where only one of them fits",
    b"I14 I15",
    2,
    STAGE_BYTES,
    scene_two_words,
)
register_scene(
    b"genpool.algorithms",
    b"blocks at a place, of the best fit and aligned, where they overlap",
    b"I14",
    3,
    STAGE_BYTES,
    scene_algorithms,
)
register_scene(
    b"genpool.set-algo",
    b"algorithm and data are replaced while another process allocates: it uses the old pair or the new one",
    b"I16",
    2,
    STAGE_BYTES,
    scene_set_algo,
)
register_scene(
    b"genpool.bulk",
    b"many blocks are allocated and freed at once beside one of them",
    b"I14",
    2,
    STAGE_BYTES,
    scene_bulk,
)
register_scene(
    b"genpool.interrupted",
    b"an allocation is interrupted anywhere by a handler on the same CPU that allocates and frees",
    b"I7 I14",
    2,
    STAGE_BYTES,
    scene_interrupted,
)
register_scene(
    b"genpool.dies",
    b"a process that allocates and frees is killed anywhere, and swept beside another's allocation",
    b"I14 I28",
    3,
    STAGE_BYTES,
    scene_dies,
)
register_scene(
    b"genpool.dies-twice",
    b"a process that allocates and frees is killed anywhere, its recovery is killed anywhere, and a third process sweeps both",
    b"I28",
    3,
    STAGE_BYTES,
    scene_dies_twice,
)
