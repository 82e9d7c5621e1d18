"""Scenarios for the checker itself: programs whose answer is known.

toys.claim-N is the stand-alone two-word claim that other checkers were measured with: N CPUs each claim a bit of word a, then
the bit of word b, roll back if the second is taken, and release both. Compare-and-swap loops that read first; acquire to
claim, release to clear. 12, 276 and 11,024 execution graphs for 2, 3 and 4 CPUs, as GenMC counts them.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.toys is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_cpu, engine_fail, engine_op
from cython.cimports.mempools.check.ops import MAX_CPUS, OP_CMPXCHG, OP_READ, Op
from cython.cimports.mempools.check.regions import engine_name
from cython.cimports.mempools.check.scenes import register_scene
from cython.cimports.mempools.check.state import Engine, body_fn
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cmpxchg_release,
    cpu_relax,
    futex_wait,
    futex_wake,
    load_acquire,
    read_once,
    read_once32,
    store_release,
    this_module_step,
    write_once,
    xchg_release32,
)
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))

_MAX_OPS = cython.declare(cython.int, 8)
_programs = cython.declare(Op[8][8])
_nr_ops = cython.declare(cython.int[8])


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def word(arg: cython.p_void, i: cython.int) -> cython.pointer(uint64_t):
    """The i-th word, each on a cache line of its own."""
    return cython.cast(cython.pointer(uint64_t), arg) + 8 * i


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cast_all(e: cython.pointer(Engine), memory: cython.p_char, body: body_fn) -> cython.void:
    c: cython.int
    for c in range(e.nr_cpus):
        e.bodies[c] = body
    e.arg = memory
    engine_name(e, word(memory, 0), 8, b"a")
    engine_name(e, word(memory, 1), 8, b"b")


# ---- two-word claims


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_bit(w: cython.pointer(uint64_t)) -> cython.bint:
    old: uint64_t = read_once(w, b"toys.look")
    seen: uint64_t
    while not old & 1:
        # [A:toys.claim] acquire; pairs with [R:toys.clear]: the next owner comes after the last.
        seen = cmpxchg_acquire(w, old, old | 1, b"A:toys.claim")
        if seen == old:
            return True
        old = seen
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def clear_bit(w: cython.pointer(uint64_t)) -> cython.void:
    old: uint64_t = read_once(w, b"toys.look")
    seen: uint64_t
    while True:
        if not old & 1:
            engine_fail(b"a bit that is to be cleared is not set")
        # [R:toys.clear] release; pairs with [A:toys.claim].
        seen = cmpxchg_release(w, old, old & ~cython.cast(uint64_t, 1), b"R:toys.clear")
        if seen == old:
            return
        old = seen


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claimer(arg: cython.p_void) -> cython.void:
    if not set_bit(word(arg, 0)):
        return
    if set_bit(word(arg, 1)):
        clear_bit(word(arg, 0))
        clear_bit(word(arg, 1))
    else:
        clear_bit(word(arg, 0))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def both_clear(arg: cython.p_void) -> cython.p_const_char:
    if read_once(word(arg, 0), b"toys.end") or read_once(word(arg, 1), b"toys.end"):
        return b"a bit is left set"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim_setup(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    cast_all(e, memory, claimer)
    e.final = both_clear
    return 0


# ---- message passing, a spin loop, a wake-up, an access that is no step


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def passer(arg: cython.p_void) -> cython.void:
    if engine_cpu() == 0:
        write_once(word(arg, 0), 1, b"toys.data")
        # [R:toys.flag] release; pairs with [A:toys.flag]: who sees the flag sees the data.
        store_release(word(arg, 1), 1, b"R:toys.flag")
    # [A:toys.flag] acquire; pairs with [R:toys.flag].
    elif load_acquire(word(arg, 1), b"A:toys.flag") and not read_once(word(arg, 0), b"toys.data"):
        engine_fail(b"the flag is set, the data are old")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def passing_setup(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    cast_all(e, memory, passer)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def spinner(arg: cython.p_void) -> cython.void:
    """Each waits for the one before it; the first one's word is never set in toys.livelock."""
    c: cython.int = engine_cpu()
    while c and not load_acquire(word(arg, c - 1), b"A:toys.turn"):
        cpu_relax(b"toys.turn")
    # [R:toys.turn] release; pairs with [A:toys.turn]: turns are taken one after the other.
    store_release(word(arg, c), 1, b"R:toys.turn")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def spin_setup(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    # [A:toys.turn] acquire; pairs with [R:toys.turn].
    cast_all(e, memory, spinner)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def waiter(arg: cython.p_void) -> cython.void:
    w: cython.pointer(uint32_t) = cython.cast(cython.pointer(uint32_t), arg)
    if engine_cpu() == 0:
        while read_once32(w, b"toys.asleep") == 0:
            futex_wait(w, 0, 0, b"toys.asleep")
    else:
        # [R:toys.wake] release; pairs with nothing here: the sleeper reads no data.
        xchg_release32(w, 1, b"R:toys.wake")
        futex_wake(w, 1, b"toys.wakeup")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wake_setup(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    cast_all(e, memory, waiter)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def bypasser(arg: cython.p_void) -> cython.void:
    read_once(word(arg, 0), b"toys.look")
    word(arg, 1)[0] = 1  # plain, and no step


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def bypass_setup(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    cast_all(e, memory, bypasser)
    return 0


# ---- any program: to compare searches


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def performer(arg: cython.p_void) -> cython.void:
    """Does the operations of the CPU's program; an RMW-like one that fails, or a read of 0, skips the next."""
    c: cython.int = engine_cpu()
    i: cython.int = 0
    op: Op
    value: uint64_t
    while i < _nr_ops[c]:
        op = _programs[c][i]
        op.addr += cython.cast(uint64_t, arg)
        value = engine_op(cython.address(op))
        i += 1
        if (op.kind == OP_READ and value == 0 and op.b) or (op.kind == OP_CMPXCHG and value != op.a):
            i += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def program_setup(e: cython.pointer(Engine), memory: cython.p_char, nbytes: uint64_t) -> cython.int:
    cast_all(e, memory, performer)
    return 0


def set_program(cpus: object) -> object:
    """What toys.program-N does: for each CPU a list of (kind, order, function, word, a, b), numbers of ops.pxd; words are 4
    bytes. A read with b = 1 that reads 0, and a compare-and-swap that fails, skip the next operation."""
    c: cython.int
    i: cython.int
    for c in range(MAX_CPUS):
        ops: list = cpus[c] if c < len(cpus) else []
        if len(ops) > _MAX_OPS:
            raise ValueError(f"at most {_MAX_OPS} operations a CPU")
        _nr_ops[c] = len(ops)
        for i in range(len(ops)):
            kind, order, fn, word_, a, b = ops[i]
            memset(cython.address(_programs[c][i]), 0, cython.sizeof(Op))
            _programs[c][i].kind = kind
            _programs[c][i].order = order
            _programs[c][i].fn = fn
            _programs[c][i].size = 4
            _programs[c][i].addr = word_ * 64
            _programs[c][i].a = a
            _programs[c][i].b = b
            _programs[c][i].ctrl_deps = 1
            _programs[c][i].site = b"toys.program"


register_scene(b"toys.claim-2", b"two CPUs claim two words", b"", 2, 4096, claim_setup)
register_scene(b"toys.claim-3", b"three CPUs claim two words", b"", 3, 4096, claim_setup)
register_scene(b"toys.claim-4", b"four CPUs claim two words", b"", 4, 4096, claim_setup)
register_scene(b"toys.passing", b"who sees the flag sees the data", b"", 2, 4096, passing_setup)
register_scene(b"toys.spin", b"three CPUs take turns, each spinning for the one before", b"", 3, 4096, spin_setup)
register_scene(b"toys.wake", b"a wake-up is not lost", b"", 2, 4096, wake_setup)
register_scene(
    b"toys.bypass", b"a plain access of shared memory, which the checker must catch", b"", 1, 4096, bypass_setup
)
register_scene(b"toys.program-2", b"two CPUs run set_program's", b"", 2, 4096, program_setup)
register_scene(b"toys.program-3", b"three CPUs run set_program's", b"", 3, 4096, program_setup)
