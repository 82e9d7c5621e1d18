"""Scenarios of PerCpuRef: users, kills, changes of mode, lives one after another; one release, when nobody uses the object.

The count lies in words[0..15], two units; the object is words[16], words[17] and on are what users write under their references.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.counting is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_await_end, engine_fail
from cython.cimports.mempools.check.scenarios.stage import (
    Stage,
    me,
    play,
    read_block,
    set_stage,
    slot_of,
    stage_of,
    write_block,
)
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, NOT_FOUND, OK
from cython.cimports.mempools.pools.percpuref import (
    REF_ATOMIC,
    REF_BIASED,
    REF_DEAD,
    REF_INITIAL,
    REF_OVER,
    REF_REINIT,
    REF_ZERO,
    Ref,
    ref_claim_release,
    ref_count,
    ref_fold,
    ref_get,
    ref_init,
    ref_is_zero,
    ref_kill,
    ref_put,
    ref_reinit,
    ref_released,
    ref_releaser,
    ref_resurrect,
    ref_shared,
    ref_to_atomic,
    ref_to_percpu,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_of(stage: cython.pointer(Stage), ref: cython.pointer(Ref)) -> cython.void:
    ref.first = cython.cast(cython.p_char, stage.words)
    ref.stride = 64
    ref.nr_units = 2


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def word(stage: cython.pointer(Stage), i: uint64_t) -> cython.p_char:
    return cython.cast(cython.p_char, stage.words + 16 + i)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def use(stage: cython.pointer(Stage)) -> cython.void:
    """Under a reference: plain accesses, which race with those of a release that comes too early."""
    if read_block(word(stage, 0)):
        engine_fail(b"an object is used after its release")
    write_block(word(stage, slot_of(me(stage))), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def release(stage: cython.pointer(Stage), ref: cython.pointer(Ref), dead: uint64_t) -> cython.void:
    i: uint64_t
    if ref_claim_release(ref, slot_of(me(stage)), dead) != OK:
        return
    me(stage).found[0] += 1
    for i in range(1, 4):
        read_block(word(stage, i))
    write_block(word(stage, 0), 1)
    ref_released(ref)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_on(stage: cython.pointer(Stage), ref: cython.pointer(Ref), unit: uint64_t) -> cython.void:
    status: cython.int = ref_put(ref, unit, 1)
    if status == REF_ZERO:
        release(stage, ref, 0)
    elif status != OK:
        engine_fail(b"a reference that is held cannot be put")


# ---- bodies


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def kill(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    status: cython.int
    count_of(stage, cython.address(ref))
    status = ref_kill(cython.address(ref))
    if status == BUSY:
        return
    me(stage).found[1] = 1
    if ref_fold(cython.address(ref)) == REF_ZERO:
        release(stage, cython.address(ref), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_first(arg: cython.p_void) -> cython.void:
    """One who holds a reference, and runs on unit 0."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    use(stage)
    put_on(stage, cython.address(ref), 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_second(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    use(stage)
    put_on(stage, cython.address(ref), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_and_put(arg: cython.p_void) -> cython.void:
    """Got on one CPU, put on another."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if ref_get(cython.address(ref), 0, 1, False) == NOT_FOUND:
        me(stage).found[2] = 1
        return
    use(stage)
    put_on(stage, cython.address(ref), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_live(arg: cython.p_void) -> cython.void:
    """A live reference is not got when the killer has said so: words[20] is how he says it."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    late: uint64_t = read_once(stage.words + 20, b"counting.confirmed")
    count_of(stage, cython.address(ref))
    if ref_get(cython.address(ref), 1, 1, True) == NOT_FOUND:
        return
    if late:
        engine_fail(b"a live reference after the kill was confirmed")
    use(stage)
    put_on(stage, cython.address(ref), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def to_atomic(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if ref_to_atomic(cython.address(ref)) != OK:
        engine_fail(b"a living count came to zero")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def there_and_back(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if ref_to_atomic(cython.address(ref)) != OK or ref_to_percpu(cython.address(ref)) != OK:
        engine_fail(b"a living count cannot change its mode")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def to_percpu(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if ref_to_percpu(cython.address(ref)) != OK:
        engine_fail(b"a living count cannot change its mode")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def overtake(arg: cython.p_void) -> cython.void:
    """To atomic, back in the next epoch, and a reference that stays."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    there_and_back(arg)
    if ref_get(cython.address(ref), 0, 1, False) != OK:
        engine_fail(b"a living count is not got")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def resurrect(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if ref_resurrect(cython.address(ref)) == OK:
        me(stage).found[1] = 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reinit(arg: cython.p_void) -> cython.void:
    """The object is made anew, then its count."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if ref_releaser(cython.address(ref)) != REF_OVER:
        return
    if read_block(word(stage, 0)) != 1:
        engine_fail(b"what the release did is not there")
    write_block(word(stage, 0), 0)
    if ref_reinit(cython.address(ref)) == OK:
        me(stage).found[1] = 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reap(arg: cython.p_void) -> cython.void:
    """Process 1 has died, or has done its work: whatever is left of it is finished."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    shared: uint64_t
    dead: uint64_t
    count_of(stage, cython.address(ref))
    if not engine_await_end(0):
        return
    shared = read_once(ref_shared(cython.address(ref)), b"counting.reap")
    if shared & REF_DEAD and shared & REF_BIASED:
        ref_fold(cython.address(ref))
    shared = read_once(ref_shared(cython.address(ref)), b"counting.reap")
    dead = ref_releaser(cython.address(ref))
    if ref_is_zero(shared) and dead <= 1:
        release(stage, cython.address(ref), dead)


# ---- end conditions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def releases(stage: cython.pointer(Stage)) -> uint64_t:
    return stage.actors[0].found[0] + stage.actors[1].found[0] + stage.actors[2].found[0]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_released(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if releases(stage) != 1:
        return b"a killed object that nobody uses is released once"
    if not ref_is_zero(read_once(ref_shared(cython.address(ref)), b"counting.final")):
        return b"the count of an object without users is not zero"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_reaped(arg: cython.p_void) -> cython.p_const_char:
    """A release that died half way is done again."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    shared: uint64_t
    count_of(stage, cython.address(ref))
    shared = read_once(ref_shared(cython.address(ref)), b"counting.final")
    if shared & REF_DEAD and not ref_is_zero(shared):
        return b"an object without users is not zero, and its killer dead"
    if ref_is_zero(shared) and (releases(stage) == 0 or read_block(word(stage, 0)) == 0):
        return b"nobody has released the object"
    if ref_is_zero(shared) and releases(stage) - stage.actors[0].found[0] > 1:
        return b"an object is released by two who live"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_living(arg: cython.p_void) -> cython.p_const_char:
    """The initial reference, and `param` more."""
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if releases(stage):
        return b"a living object was released"
    if ref_count(cython.address(ref)) != 1 + stage.param:
        return b"references were lost, or counted twice"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_resurrected(arg: cython.p_void) -> cython.p_const_char:
    stage: cython.pointer(Stage) = stage_of(arg)
    ref: Ref
    count_of(stage, cython.address(ref))
    if stage.actors[0].found[1] + releases(stage) != 1:
        return b"an object lives again, or it is released, and not both"
    if ref_count(cython.address(ref)) != cython.cast(cython.longlong, stage.actors[0].found[1]):
        return b"references were lost, or counted twice"
    return cython.NULL


# ---- the scenes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_count(e: cython.pointer(Engine), memory: cython.p_char, flags: uint64_t, nr: uint64_t) -> cython.pointer(Stage):
    """A count with `nr` references more than the initial one, got on unit 0."""
    stage: cython.pointer(Stage) = set_stage(e, memory)
    ref: Ref
    count_of(stage, cython.address(ref))
    ref_init(cython.address(ref), flags)
    if nr:
        ref_get(cython.address(ref), 0, nr, False)
    return stage


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_killed(e: cython.pointer(Engine), memory: cython.p_char) -> cython.void:
    """Killed and folded, with one user."""
    stage: cython.pointer(Stage) = set_count(e, memory, REF_DEAD | REF_REINIT, 0)
    stage.words[1] += 1
    stage.words[2] = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_kill(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_BIASED | REF_INITIAL, 2)
    return play(e, final_released, kill, put_first, put_second)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_kill_atomic(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_ATOMIC | REF_INITIAL, 2)
    return play(e, final_released, kill, put_first, put_second)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_two_kills(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_BIASED | REF_INITIAL, 1)
    return play(e, final_released, kill, kill, put_second)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_live(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_BIASED | REF_INITIAL, 0)
    return play(e, final_released, kill, get_live, get_and_put)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_atomic(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_BIASED | REF_INITIAL, 1).param = 0
    return play(e, final_living, to_atomic, to_atomic, put_second)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_switch(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_BIASED | REF_INITIAL, 1).param = 1
    return play(e, final_living, there_and_back, to_atomic, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_switch_use(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_BIASED | REF_INITIAL, 0).param = 0
    return play(e, final_living, there_and_back, get_and_put, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_opener(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_INITIAL, 0).param = 1
    return play(e, final_living, to_percpu, overtake, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_closer(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_BIASED | REF_INITIAL, 1).param = 2
    return play(e, final_living, to_atomic, overtake, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_resurrect(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_killed(e, memory)
    return play(e, final_resurrected, resurrect, put_second, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_reinit(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_count(e, memory, REF_DEAD | REF_REINIT, 0)
    stage.words[16] = 1
    return play(e, cython.NULL, reinit, get_and_put, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_reinit_atomic(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_count(e, memory, REF_DEAD | REF_REINIT | REF_ATOMIC, 0)
    stage.words[16] = 1
    return play(e, cython.NULL, reinit, get_and_put, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_again(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    """A user's last put, its release, and the next life."""
    set_killed(e, memory)
    return play(e, cython.NULL, put_second, reinit, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_killer_dies(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    set_count(e, memory, REF_BIASED | REF_INITIAL, 1)
    e.may_die = 1
    return play(e, final_reaped, kill, reap, put_second)


register_scene(
    b"percpuref.kill",
    b"a count is killed while two users put their references, on either unit: one release, after both",
    b"I13",
    3,
    4096,
    scene_kill,
)
register_scene(b"percpuref.kill-atomic", b"likewise, a count without parts", b"I13", 3, 4096, scene_kill_atomic)
register_scene(
    b"percpuref.two-kills",
    b"two kill beside a put: one kills, and there is one release",
    b"I13",
    3,
    4096,
    scene_two_kills,
)
register_scene(
    b"percpuref.live",
    b"a kill beside one who wants a live reference, and one who got his on another unit than he puts it",
    b"I13",
    3,
    4096,
    scene_live,
)
register_scene(
    b"percpuref.atomic",
    b"two switch to atomic beside a put: nothing is lost, or counted twice",
    b"I13",
    3,
    4096,
    scene_atomic,
)
register_scene(
    b"percpuref.switch",
    b"one switches to atomic and back, another to atomic: the held reference is counted once",
    b"I13",
    2,
    4096,
    scene_switch,
)
register_scene(
    b"percpuref.switch-use",
    b"a switch to atomic and back beside one who gets on one unit and puts on another",
    b"I13",
    2,
    4096,
    scene_switch_use,
)
register_scene(
    b"percpuref.opener-overtaken",
    b"whoever opens the parts is overtaken by two changes of mode: he touches nothing of the next epoch",
    b"I13",
    2,
    4096,
    scene_opener,
)
register_scene(
    b"percpuref.closer-overtaken",
    b"likewise, whoever closes them",
    b"I13",
    2,
    4096,
    scene_closer,
)
register_scene(
    b"percpuref.resurrect",
    b"a killed count lives again beside its last user's put: one of the two comes first",
    b"I13",
    2,
    4096,
    scene_resurrect,
)
register_scene(
    b"percpuref.reinit",
    b"a count begins its next life; who gets a reference sees the object made",
    b"I13",
    2,
    4096,
    scene_reinit,
)
register_scene(b"percpuref.reinit-atomic", b"likewise, a count without parts", b"I13", 2, 4096, scene_reinit_atomic)
register_scene(
    b"percpuref.again",
    b"the next life begins when the release is over, and sees what it did",
    b"I13",
    2,
    4096,
    scene_again,
)
register_scene(
    b"percpuref.killer-dies",
    b"the killer is killed anywhere, also in its release; who reaps finishes what it began",
    b"I13 I28",
    3,
    4096,
    scene_killer_dies,
)
