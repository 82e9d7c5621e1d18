"""Scenarios of the owner map: claims that overlap, roll back and are handed on; full bits; sweeps and transfers cut short.

The stage is three words of map at words[0], their full bits at words[8], and a word of content per granule from words[16].
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.claiming is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_await_end, engine_cpu, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    Actor,
    Stage,
    full_bits_wrong,
    map_wrong,
    me,
    play,
    set_stage,
    slot_of,
    stage_of,
    use_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.parts.ownermap import (
    claim,
    claim_singles,
    count_owner,
    forget_full,
    inspect,
    release,
    release_singles,
    sweep,
    transfer,
)
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.search import NOWHERE, find_run
from cython.cimports.mempools.parts.status import BUSY, OK

_WORDS = cython.declare(uint64_t, 3)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def summary_of(stage: cython.pointer(Stage)) -> cython.pointer(uint64_t):
    return stage.words + 8


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def content(stage: cython.pointer(Stage), granule: uint64_t) -> cython.p_char:
    return cython.cast(cython.p_char, stage.words + 16 + granule)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take(stage: cython.pointer(Stage), first: uint64_t, nr: uint64_t) -> cython.int:
    """Claims a block for this CPU's process and uses its ends."""
    actor: cython.pointer(Actor) = me(stage)
    status: cython.int = claim(stage.words, summary_of(stage), first, nr, slot_of(actor))
    actor.status = status  # a handler may come in between and overwrite it
    if status == OK:
        use_block(content(stage, first), slot_of(actor))
        if nr > 1:
            use_block(content(stage, first + nr - 1), slot_of(actor))
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give(stage: cython.pointer(Stage), first: uint64_t, nr: uint64_t) -> cython.void:
    if release(stage.words, summary_of(stage), _WORDS, first, nr, slot_of(me(stage))) != OK:
        engine_fail(b"an owner cannot release its block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_and_give(stage: cython.pointer(Stage), first: uint64_t, nr: uint64_t) -> cython.void:
    if take(stage, first, nr) == OK:
        give(stage, first, nr)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_for_one(stage: cython.pointer(Stage)) -> uint64_t:
    """A search of the first word, which marks it if it is full."""
    return find_run(stage.words, summary_of(stage), 0, 8, 1, 1, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fill_word(stage: cython.pointer(Stage), nr_own: uint64_t) -> cython.int:
    """The first word full: its last granules are process 1's, a block each."""
    i: uint64_t
    if claim(stage.words, summary_of(stage), 0, 8 - nr_own, OWNER_STRUCT) != OK:
        return -1
    for i in range(8 - nr_own, 8):
        if claim(stage.words, summary_of(stage), i, 1, 1) != OK:
            return -1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_free(arg: cython.p_void) -> cython.p_const_char:
    """Everything was given back."""
    return map_wrong(stage_of(arg).words, summary_of(stage_of(arg)), _WORDS, 0)


# ---- claims that overlap: process 1 wants 4..11, process 2 wants 11..18, process 3 wants 18..19


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def overlap(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    cpu: cython.int = engine_cpu()
    first: uint64_t = 4 + 7 * cython.cast(uint64_t, cpu)
    if stage.param:
        take_and_give(stage, first, 8 if cpu < 2 else 2)
    else:
        take(stage, first, 8 if cpu < 2 else 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_overlap(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    nr: uint64_t = 0
    cpu: uint32_t
    size: uint64_t
    for cpu in range(3):
        size = 8 if cpu < 2 else 2
        if stage.actors[cpu].status == OK:
            if inspect(stage.words, _WORDS, 4 + 7 * cython.cast(uint64_t, cpu), size, cpu + 1) != OK:
                return b"a claim that succeeded is not one whole block"
            nr += size
    if nr == 0:
        return b"no claim succeeded, though each fails for another's sake only"
    return map_wrong(stage.words, summary_of(stage), _WORDS, nr)


# ---- one granule that goes from hand to hand


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_held(stage: cython.pointer(Stage)) -> cython.int:
    """Process 1 has 4..11."""
    return 0 if claim(stage.words, summary_of(stage), 4, 8, 1) == OK else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def use_and_give(arg: cython.p_void) -> cython.void:
    use_block(content(stage_of(arg), 4), 1)
    use_block(content(stage_of(arg), 11), 1)
    give(stage_of(arg), 4, 8)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_the_first(arg: cython.p_void) -> cython.void:
    take_and_give(stage_of(arg), 4, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_the_last(arg: cython.p_void) -> cython.void:
    take_and_give(stage_of(arg), 11, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_as_the_first(arg: cython.p_void) -> cython.void:
    """Threads of process 1 that free the same block."""
    stage: cython.pointer(Stage) = stage_of(arg)
    me(stage).status = release(stage.words, summary_of(stage), _WORDS, 4, 8, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_given_once(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if (stage.actors[0].status == OK) == (stage.actors[1].status == OK):
        return b"of two releases of one block, not exactly one succeeded"
    return map_wrong(stage.words, summary_of(stage), _WORDS, 0)


# ---- full bits


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_the_seventh(arg: cython.p_void) -> cython.void:
    give(stage_of(arg), 7, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_two_singles(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    if release_singles(stage.words, summary_of(stage), _WORDS, 0, 0xC0, 1) != OK:
        engine_fail(b"an owner cannot release its single granules")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sweep_the_first(arg: cython.p_void) -> cython.void:
    sweep(stage_of(arg).words, summary_of(stage_of(arg)), _WORDS, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search(arg: cython.p_void) -> cython.void:
    look_for_one(stage_of(arg))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search_take_search(arg: cython.p_void) -> cython.void:
    """Takes what it finds, so that the word is full again, and gives it back."""
    stage: cython.pointer(Stage) = stage_of(arg)
    found: uint64_t = look_for_one(stage)
    if found != NOWHERE and take(stage, found, 1) == OK:
        look_for_one(stage)
        give(stage, found, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_full(arg: cython.p_void) -> cython.p_const_char:
    return full_bits_wrong(stage_of(arg).words, summary_of(stage_of(arg)), _WORDS)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_roll_back(stage: cython.pointer(Stage)) -> cython.int:
    """The first word has one free granule, its last, and process 3 has its first; the second word's first is taken."""
    if claim(stage.words, summary_of(stage), 0, 1, 3) != OK or claim(stage.words, summary_of(stage), 1, 6, 4) != OK:
        return -1
    return 0 if claim(stage.words, summary_of(stage), 8, 1, OWNER_STRUCT) == OK else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def roll_back(arg: cython.p_void) -> cython.void:
    if take(stage_of(arg), 7, 2) != BUSY:
        engine_fail(b"a claim succeeded over a granule that is taken")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_the_zeroth(arg: cython.p_void) -> cython.void:
    give(stage_of(arg), 0, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_rolled_back(arg: cython.p_void) -> cython.p_const_char:
    return map_wrong(stage_of(arg).words, summary_of(stage_of(arg)), _WORDS, 7)


# ---- single granules, several a swap


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_singles(stage: cython.pointer(Stage)) -> cython.int:
    """Process 1 has the first two granules, one by one; the others of the word are taken but for 2 and 3."""
    if claim(stage.words, summary_of(stage), 0, 1, 1) != OK or claim(stage.words, summary_of(stage), 1, 1, 1) != OK:
        return -1
    return 0 if claim(stage.words, summary_of(stage), 4, 4, OWNER_STRUCT) == OK else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_singles(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    use_block(content(stage, 0), 1)
    use_block(content(stage, 1), 1)
    if release_singles(stage.words, summary_of(stage), _WORDS, 0, 3, 1) != OK:
        engine_fail(b"an owner cannot release its single granules")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_singles(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    lanes: uint64_t = claim_singles(stage.words, 0, 3, slot_of(me(stage)))
    i: uint64_t
    for i in range(8):
        if lanes >> i & 1:
            use_block(content(stage, i), slot_of(me(stage)))
    if lanes and release_singles(stage.words, summary_of(stage), _WORDS, 0, lanes, slot_of(me(stage))) != OK:
        engine_fail(b"an owner cannot release its single granules")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_the_second(arg: cython.p_void) -> cython.void:
    take_and_give(stage_of(arg), 1, 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_four(arg: cython.p_void) -> cython.p_const_char:
    return map_wrong(stage_of(arg).words, summary_of(stage_of(arg)), _WORDS, 4)


# ---- deaths


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sweep_after_the_first(arg: cython.p_void) -> cython.void:
    """Recovery of process 1, if it dies."""
    stage: cython.pointer(Stage) = stage_of(arg)
    if engine_await_end(0):
        sweep(stage.words, summary_of(stage), _WORDS, 1)
        forget_full(summary_of(stage), _WORDS)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_across(arg: cython.p_void) -> cython.void:
    take_and_give(stage_of(arg), 4, 8)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_a_neighbour(arg: cython.p_void) -> cython.void:
    take_and_give(stage_of(arg), 11, 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sweep_and_forget(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    sweep(stage.words, summary_of(stage), _WORDS, 1)
    forget_full(summary_of(stage), _WORDS)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hand_over(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    if transfer(stage.words, _WORDS, 4, 8, 1, OWNER_STRUCT) != OK:
        engine_fail(b"an owner cannot hand over its block")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hand_over_again(arg: cython.p_void) -> cython.void:
    if engine_await_end(0):
        hand_over(arg)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_around(arg: cython.p_void) -> cython.void:
    take_and_give(stage_of(arg), 2, 2)
    take_and_give(stage_of(arg), 12, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_handed_over(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    if inspect(stage.words, _WORDS, 4, 8, OWNER_STRUCT) != OK:
        return b"a block that was handed over is not whole"
    if count_owner(stage.words, summary_of(stage), _WORDS, 1):
        return b"a granule still is its last owner's"
    return map_wrong(stage.words, summary_of(stage), _WORDS, 8)


# ---- a crowd: two granules are free, the last of the first word and the first of the second


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_crowd(stage: cython.pointer(Stage)) -> cython.int:
    if claim(stage.words, summary_of(stage), 0, 7, OWNER_STRUCT) != OK:
        return -1
    return 0 if claim(stage.words, summary_of(stage), 9, 7, OWNER_STRUCT) == OK else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_both(arg: cython.p_void) -> cython.void:
    take_and_give(stage_of(arg), 7, 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_and_take(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    found: uint64_t = find_run(stage.words, summary_of(stage), 0, 16, 1, 1, 0)
    if found != NOWHERE:
        take_and_give(stage, found, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_crowd(arg: cython.p_void) -> cython.p_const_char:
    return map_wrong(stage_of(arg).words, summary_of(stage_of(arg)), _WORDS, 14)


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_crowd(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_crowd(stage) != 0:
        return -1
    return play(e, final_crowd, take_both, find_and_take, search)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_crowd_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_crowd(stage) != 0:
        return -1
    e.may_die = 1
    return play(e, final_crowd, take_both, sweep_after_the_first, find_and_take)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_claim_overlap(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    return play(e, final_overlap, overlap, overlap, overlap)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_claim_overlap_release(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    stage.param = 1
    return play(e, final_free, overlap, overlap, overlap)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_claim_after_release(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_held(stage) != 0:
        return -1
    return play(e, final_free, use_and_give, take_the_first, take_the_last)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_release_twice(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_held(stage) != 0:
        return -1
    return play(e, final_given_once, give_as_the_first, give_as_the_first, take_the_last)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_full_release(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if fill_word(stage, 1) != 0:
        return -1
    return play(e, final_full, give_the_seventh, search, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_full_release_claim(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if fill_word(stage, 1) != 0:
        return -1
    return play(e, final_full, give_the_seventh, search, search_take_search)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_full_singles(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if fill_word(stage, 2) != 0:
        return -1
    return play(e, final_full, give_two_singles, search, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_full_sweep(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if fill_word(stage, 1) != 0:
        return -1
    return play(e, final_full, sweep_the_first, search, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_full_roll_back(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_roll_back(stage) != 0:
        return -1
    return play(e, final_rolled_back, roll_back, search, give_the_zeroth)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_singles(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_singles(stage) != 0:
        return -1
    return play(e, final_four, give_singles, take_singles, take_the_second)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_claim_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    e.may_die = 1
    return play(e, final_free, take_across, sweep_after_the_first, take_a_neighbour)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_full_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if fill_word(stage, 1) != 0:
        return -1
    e.may_die = 1
    return play(e, final_full, give_the_seventh, sweep_after_the_first, search)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_search_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if fill_word(stage, 1) != 0:
        return -1
    e.may_die = 1
    return play(e, final_full, search, sweep_after_the_first, search_take_search)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_sweep_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_held(stage) != 0:
        return -1
    e.may_die = 1
    return play(e, final_free, sweep_and_forget, sweep_after_the_first, take_a_neighbour)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_transfer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    if set_held(stage) != 0:
        return -1
    e.may_die = 1
    return play(e, final_handed_over, hand_over, hand_over_again, take_around)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_claim_interrupted(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_stage(e, memory)
    e.handlers[0] = take_a_neighbour
    return play(e, final_free, take_across, take_the_last, cython.NULL)


register_scene(
    b"ownermap.claim-overlap",
    b"three claims over three words, each overlapping the next; who loses its second word rolls back",
    b"I14",
    3,
    4096,
    scene_claim_overlap,
)
register_scene(
    b"ownermap.claim-overlap-release",
    b"as claim-overlap, and the winners release: what was rolled back or released is claimed by others",
    b"I14",
    3,
    4096,
    scene_claim_overlap_release,
)
register_scene(
    b"ownermap.hand-over",
    b"a block of two words is used and released; others claim its ends and use them",
    b"",
    3,
    4096,
    scene_claim_after_release,
)
register_scene(
    b"ownermap.release-twice",
    b"two threads release the same block: one of them succeeds, nobody else's granules change",
    b"",
    3,
    4096,
    scene_release_twice,
)
register_scene(
    b"ownermap.full-release",
    b"a search marks a word full while its last granule is released",
    b"I15",
    2,
    4096,
    scene_full_release,
)
register_scene(
    b"ownermap.full-release-claim",
    b"as full-release, and another takes the granule, finds the word full and releases it again",
    b"I15",
    3,
    4096,
    scene_full_release_claim,
)
register_scene(
    b"ownermap.full-singles",
    b"a search marks a word full while two single granules of it are released with one swap",
    b"I15",
    2,
    4096,
    scene_full_singles,
)
register_scene(
    b"ownermap.full-sweep",
    b"a search marks a word full while the sweep of a dead owner frees a granule of it",
    b"I15",
    2,
    4096,
    scene_full_sweep,
)
register_scene(
    b"ownermap.full-roll-back",
    b"a search marks a word full whose last granule belongs to a claim that is rolled back; another granule of it is released",
    b"I14 I15",
    3,
    4096,
    scene_full_roll_back,
)
register_scene(
    b"ownermap.singles",
    b"single granules are released and claimed with one swap each, beside a claim of two of them",
    b"",
    3,
    4096,
    scene_singles,
)
register_scene(
    b"ownermap.claim-dies",
    b"a process that claims and releases a block of two words is killed anywhere; its granules are swept",
    b"I28",
    3,
    4096,
    scene_claim_dies,
)
register_scene(
    b"ownermap.full-dies",
    b"who makes a full word not full is killed before it has looked at the full bit",
    b"I28",
    3,
    4096,
    scene_full_dies,
)
register_scene(
    b"ownermap.search-dies",
    b"a search is killed between setting a full bit and looking again",
    b"I28",
    3,
    4096,
    scene_search_dies,
)
register_scene(
    b"ownermap.sweep-dies",
    b"the sweep of a dead owner is killed and done again, beside a claim of granules that it frees",
    b"I28",
    3,
    4096,
    scene_sweep_dies,
)
register_scene(
    b"ownermap.transfer-dies",
    b"a block is handed to another owner, cut short by a death and done again, beside claims in the same words",
    b"I28",
    3,
    4096,
    scene_transfer_dies,
)
register_scene(
    b"ownermap.claim-interrupted",
    b"a claim of two words is interrupted anywhere by a handler on the same CPU that claims one of its granules",
    b"I7",
    2,
    4096,
    scene_claim_interrupted,
)
register_scene(
    b"ownermap.crowd",
    b"a claim of two words, one that searches and a search, over the last two free granules; words become full and free again",
    b"I14 I15",
    3,
    4096,
    scene_crowd,
)
register_scene(
    b"ownermap.crowd-dies",
    b"as crowd, and the claim of two words is killed anywhere and swept while another searches",
    b"I28",
    3,
    4096,
    scene_crowd_dies,
)
