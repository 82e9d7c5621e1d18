"""Scenarios of pins: threads of one process, which share its line of them (zsmoving.py has readers beside movers)."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.scenarios.zspinning is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.check.scenarios.stage import STAGE_BYTES, Actor, Stage, play, slot_of, stage_of
from cython.cimports.mempools.check.scenarios.zsstage import OBJECT, OTHER, final_two, geometry, set_objects
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.zspin import Pinned, is_pinned, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zstable import NR_FIRST_PINS, index_of, zs_root

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pin_as_the_first(stage: cython.pointer(Stage), which: cython.int, pinned: cython.pointer(Pinned)) -> cython.void:
    actor: cython.pointer(Actor) = cython.address(stage.actors[0])
    if zs_pin(cython.address(actor.pool), geometry(actor), actor.found[which], pinned) != OK:
        engine_fail(b"an object that is there cannot be pinned")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def thread_pins(arg: cython.p_void) -> cython.void:
    pinned: Pinned
    pin_as_the_first(stage_of(arg), OBJECT, cython.address(pinned))
    zs_unpin(cython.address(stage_of(arg).actors[0].pool), cython.address(pinned))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def thread_pins_two(arg: cython.p_void) -> cython.void:
    stage: cython.pointer(Stage) = stage_of(arg)
    pool: cython.pointer(PoolRef) = cython.address(stage.actors[0].pool)
    pinned: Pinned[2]
    pin_as_the_first(stage, OBJECT, cython.address(pinned[0]))
    pin_as_the_first(stage, OTHER, cython.address(pinned[1]))
    if not is_pinned(pool, index_of(stage.actors[0].found[OTHER])):
        engine_fail(b"movers do not see a pin")
    zs_unpin(pool, cython.address(pinned[1]))
    zs_unpin(pool, cython.address(pinned[0]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scene_threads_pin(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    stage: cython.pointer(Stage) = set_objects(e, memory, OWNER_STRUCT)
    line: uint64_t
    if stage == cython.NULL:
        return -1
    line = slot_of(cython.address(stage.actors[0])) * (NR_FIRST_PINS + 1)
    # The process has not pinned anything yet.
    write_once(cython.address(zs_root(cython.address(stage.actors[0].pool)).first_pins[line]), 0, b"zspinning.high")
    return play(e, final_two, thread_pins, thread_pins_two, cython.NULL)


register_scene(
    b"zs.threads-pin",
    b"two threads of a process pin objects for the first time: who looks for pins sees each",
    b"I20",
    2,
    STAGE_BYTES,
    scene_threads_pin,
)
