"""The simulated CPUs: bodies on stacks of their own, or on fibers that somebody else provides.

A body stops where it asks for an operation (`submit`): what it wants to do next is written down, explore.advance does steps
until some CPU has had its own done and runs on, and if that is another one, stacks are switched. So a step costs one call,
and a switch where the CPU changes.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.cpus is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uintptr_t
from cython.cimports.mempools.check.explore import advance
from cython.cimports.mempools.check.mutate import release_held
from cython.cimports.mempools.check.ops import OP_FUTEX_WAIT, OP_FUTEX_WAKE, OP_MB, OP_RELAX, OP_RMB, OP_WMB, Op
from cython.cimports.mempools.check.perform import fail
from cython.cimports.mempools.check.record import record
from cython.cimports.mempools.check.regions import locate
from cython.cimports.mempools.check.rules import do_rmb, do_wmb
from cython.cimports.mempools.check.stacks import mp_stack_prepare, mp_stack_switch
from cython.cimports.mempools.check.state import (
    BOUND_MESSAGES,
    BOUND_SPINS,
    CPU_FINISHED,
    ENDED_BOUND,
    FRAME_FINAL,
    NR_FRAMES,
    STACK_BYTES,
    Cpu,
    Engine,
)

_engine = cython.declare(cython.pointer(Engine), cython.NULL)  # for a stack's first function, and after a fault


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cpus_of(e: cython.pointer(Engine)) -> cython.void:
    global _engine
    _engine = e


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def prepare(e: cython.pointer(Engine), c: cython.int, frame: cython.int) -> cython.p_void:
    """A stack on which a CPU starts: frame 0 its body, 1 its handler; FRAME_FINAL the end condition."""
    i: cython.int = e.nr_cpus * NR_FRAMES if frame == FRAME_FINAL else c * NR_FRAMES + frame
    return mp_stack_prepare(
        e.stacks + (i + 1) * STACK_BYTES, enter, cython.cast(cython.p_void, cython.cast(uintptr_t, c << 2 | frame))
    )


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def switch_to(e: cython.pointer(Engine), left: cython.pointer(cython.p_void), c: cython.int) -> cython.void:
    """Goes on with CPU c, -1: with the explorer; the stack that runs now is kept in `left`."""
    if e.fibers.switch_to != cython.NULL:
        e.fibers.switch_to(e, c)
    else:
        mp_stack_switch(left, e.main_sp if c < 0 else e.cpus[c].sp[e.cpus[c].frame])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave_for_good(e: cython.pointer(Engine)) -> cython.void:
    """Back to engine_run. A stack is not gone on with; a fiber is, when it is drained."""
    switch_to(e, cython.address(e.left_sp), -1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def enter(arg: cython.p_void) -> cython.void:
    """The first function on a stack."""
    e: cython.pointer(Engine) = _engine
    c: cython.int = cython.cast(cython.int, cython.cast(uintptr_t, arg)) >> 2
    frame: cython.int = cython.cast(cython.int, cython.cast(uintptr_t, arg)) & 3
    if frame == FRAME_FINAL:
        e.why = e.final(e.arg)
    else:
        if frame == 0:
            e.bodies[c](e.arg)
        else:
            e.handlers[c](e.arg)
        engine_body_ended(e, c, frame)
    leave_for_good(e)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_body_ended(e: cython.pointer(Engine), c: cython.int, frame: cython.int) -> cython.void:
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    if frame == 0:
        if cpu.holds:
            release_held(cpu)
            submit(e, c)
        cpu.state = CPU_FINISHED
    else:
        cpu.op = cpu.saved
        cpu.loc = cpu.saved_loc
        cpu.frame = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fault_landing() -> cython.void:
    fail(_engine, _engine.current, b"an access that is no step: it bypasses the machine layer")
    leave_for_good(_engine)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def submit(e: cython.pointer(Engine), c: cython.int) -> uint64_t:
    """CPU c, which runs, wants to do its `op`: returns when it has been done, with the value."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    op: cython.pointer(Op) = cython.address(cpu.op)
    frame: cython.int = cpu.frame
    next: cython.int
    if e.draining:
        return 0
    cpu.loc = -1
    if op.kind == OP_RMB or op.kind == OP_WMB:
        if op.kind == OP_RMB:
            do_rmb(cython.address(e.memory), c)
        else:
            do_wmb(cython.address(e.memory), c)
        if e.logging:
            record(e, c, op, -1)
        return 0
    if op.kind == OP_RELAX:
        if cpu.spin_wrote:
            cpu.spins += 1
            if cpu.spins > e.max_spins:
                e.bounds |= BOUND_SPINS
                e.ending = ENDED_BOUND
                leave_for_good(e)
                return 0
            cpu.spin_wrote = False
            cpu.nr_spin_locs = 0
            return 0
    elif op.kind < OP_MB or op.kind == OP_FUTEX_WAIT or op.kind == OP_FUTEX_WAKE:
        cpu.loc = locate(e, op.addr, op.size)
        if cpu.loc < 0:
            if e.ending < 0:
                e.bounds |= BOUND_MESSAGES
                e.ending = ENDED_BOUND
            leave_for_good(e)
            return 0
    next = -1
    if not e.booting:
        next = advance(e)
        if next == c and cpu.frame == frame:
            return cpu.result
        if next >= 0:
            e.current = next
    switch_to(e, cython.address(cpu.sp[frame]), next)
    return cpu.result


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run_cpus(e: cython.pointer(Engine)) -> cython.void:
    """Each body to its first operation, then one step after the other; back here when a body has ended, or all is over."""
    c: cython.int
    for c in range(e.nr_cpus):
        if e.fibers.switch_to == cython.NULL:
            e.cpus[c].sp[0] = prepare(e, c, 0)
            e.cpus[c].sp[1] = prepare(e, c, 1)
    e.booting = True
    for c in range(e.nr_cpus):
        e.current = c
        if e.ending < 0:
            switch_to(e, cython.address(e.main_sp), c)
    e.booting = False
    while e.ending < 0:
        c = advance(e)
        if c >= 0:
            e.current = c
            switch_to(e, cython.address(e.main_sp), c)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run_final(e: cython.pointer(Engine)) -> cython.void:
    """The end condition, on a stack of its own as a body."""
    e.in_final = True
    e.final_sp = prepare(e, 0, FRAME_FINAL)
    mp_stack_switch(cython.address(e.main_sp), e.final_sp)
    e.in_final = False
