"""The engine: the machine layer's hook, by which each atomic operation of the core is a step, and an execution of such steps.

What bodies run on is in cpus.py, what is explored in explore.py.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.engine is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.errno import EAGAIN
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.check.aftermath import final_move, final_step
from cython.cimports.mempools.check.cpus import cpus_of, fault_landing, leave_for_good, run_cpus, run_final, submit
from cython.cimports.mempools.check.decode import fill_op, hook_op
from cython.cimports.mempools.check.explore import count_graph
from cython.cimports.mempools.check.making import engine_reset
from cython.cimports.mempools.check.mutate import (
    MUTANT_ELIDE,
    MUTANT_REMOVE,
    MUTANT_SPLIT,
    MUTANT_TEAR,
    mutated_op,
    note_site,
    release_held,
)
from cython.cimports.mempools.check.ops import (
    HOOK_COPY,
    HOOK_MB,
    OP_AWAIT_END,
    OP_CHOOSE,
    OP_CMPXCHG,
    OP_READ,
    OP_WRITE,
    PLAIN,
    RELAXED,
    Op,
)
from cython.cimports.mempools.check.perform import fail
from cython.cimports.mempools.check.record import record
from cython.cimports.mempools.check.regions import key_in, locate, piece, protect, region_of
from cython.cimports.mempools.check.rules import dep_set, rmw_result
from cython.cimports.mempools.check.stacks import mp_fault_arm, mp_fault_disarm, mp_fault_taken
from cython.cimports.mempools.check.state import ENDED_BROKEN, ENDED_COMPLETE, Cpu, Engine, Region
from cython.cimports.mempools.check.steps import pthread_self, pthread_t
from cython.cimports.mempools.check.views import memory_known
from cython.cimports.mempools.machine.atomics import perform as perform_natively
from cython.cimports.mempools.machine.hooks import set_step
from cython.cimports.posix.mman import PROT_NONE, PROT_READ, PROT_WRITE

_engine = cython.declare(cython.pointer(Engine), cython.NULL)
_thread = cython.declare(pthread_t, 0)
_others = cython.declare(others_fn, cython.NULL)


# ---- entering ----


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_enter(e: cython.pointer(Engine)) -> cython.int:
    """Takes the hook and closes the protected memory: 0, -1 with errno, -2 if an exploration is under way. This thread
    must not leave engine_run for anything that uses the core until engine_leave."""
    global _engine, _thread
    i: cython.int
    lo: uint64_t = 0
    hi: uint64_t = 0
    if _engine != cython.NULL:
        return -2
    for i in range(e.nr_regions):
        if e.regions[i].protected_:
            lo = e.regions[i].lo if lo == 0 else min(lo, e.regions[i].lo)
            hi = max(hi, e.regions[i].hi)
    if e.fibers.switch_to == cython.NULL and mp_fault_arm(lo, hi, fault_landing):
        return -1
    if protect(e, PROT_NONE):
        mp_fault_disarm()
        return -1
    _engine = e
    cpus_of(e)
    _thread = pthread_self()
    set_step(step)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_leave(e: cython.pointer(Engine)) -> cython.void:
    global _engine
    i: cython.int
    set_step(cython.NULL)
    if e.fibers.switch_to == cython.NULL:
        mp_fault_disarm()
    protect(e, PROT_READ | PROT_WRITE)
    for i in range(e.nr_regions):
        if e.regions[i].shadow == cython.NULL:
            continue
        memcpy(cython.cast(cython.p_void, e.regions[i].lo), e.regions[i].shadow, e.regions[i].hi - e.regions[i].lo)
    _engine = cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_watch_others(others: others_fn) -> cython.void:
    global _others
    _others = others


# ---- a step ----


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def access(e: cython.pointer(Engine)) -> uint64_t:
    """The `op` of the CPU that runs, as its body asks for it: perhaps mutated."""
    c: cython.int = e.current
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    kind: cython.int = cpu.op.kind
    result: uint64_t
    cpu.op.ctrl_deps = e.memory.preserved  # with load buffering nothing that is seen here keeps a store back
    if e.noting:
        note_site(e, cython.address(cpu.op))
    if e.nr_mutations:
        if cpu.holds and cpu.op.addr == cpu.held.addr:
            settle(e, c)
        if mutated_op(e, c):
            return unmade(e, c)
    result = submit(e, c)
    if cpu.holds and kind != OP_READ:
        settle(e, c)
    return result


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def settle(e: cython.pointer(Engine), c: cython.int) -> cython.void:
    """Does the store that a mutation held back, before the operation that is asked for now."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    op: Op = cpu.op
    release_held(cpu)
    submit(e, c)
    cpu.op = op


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unmade(e: cython.pointer(Engine), c: cython.int) -> uint64_t:
    """What a mutation makes of the operation: nothing (a store held back, an elided lock), or a read and a write."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    op: Op = cpu.op
    old: uint64_t
    if e.mutated_by == MUTANT_REMOVE:
        if e.logging:
            record(e, c, cython.address(op), -1)
        return 0
    if e.mutated_by == MUTANT_TEAR:
        tear(e, c)
        return 0
    if e.mutated_by != MUTANT_SPLIT:
        return op.a if e.mutated_by == MUTANT_ELIDE else 0
    cpu.op.kind = OP_READ
    old = submit(e, c)
    if op.kind == OP_CMPXCHG and old != op.a:
        return old
    cpu.op = op
    cpu.op.kind = OP_WRITE
    cpu.op.a = rmw_result(cython.address(op), old)
    submit(e, c)
    return old


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tear(e: cython.pointer(Engine), c: cython.int) -> cython.void:
    """A plain store as a compiler may do it: whole; in two parts at a byte, either part first; the lowest bit last. The
    parts are the highest byte that changes and those below it: where only one changes, there is nothing between."""
    op: Op = e.cpus[c].op
    old: uint64_t = memory_known(cython.address(e.memory), c, locate(e, op.addr, op.size))
    high: uint64_t = cython.cast(uint64_t, 0xFF) << 56
    between: uint64_t[3]
    nr: uint64_t = 0
    i: cython.int
    way: uint64_t
    while high and (old ^ op.a) & high == 0:
        high >>= 8
    between[0] = (old & high) | (op.a & ~high)
    between[1] = (op.a & high) | (old & ~high)
    between[2] = op.a & ~cython.cast(uint64_t, 1)
    for i in range(3):
        if between[i] != old and between[i] != op.a:
            between[nr] = between[i]
            nr += 1
    if nr:
        e.cpus[c].op.kind = OP_CHOOSE
        e.cpus[c].op.a = 1 + nr
        way = submit(e, c)
        if way:
            e.cpus[c].op = op
            e.cpus[c].op.a = between[way - 1]
            submit(e, c)
        e.cpus[c].op = op
    submit(e, c)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_move(
    e: cython.pointer(Engine),
    filled: cython.bint,
    to: uint64_t,
    source: uint64_t,
    nbytes: uint64_t,
    site: cython.p_const_char,
) -> cython.void:
    """A declared plain copy or fill: a plain read and a plain write of each word, where it is shared."""
    done: uint64_t = 0
    size: uint64_t
    value: uint64_t
    region: cython.pointer(Region)
    op: cython.pointer(Op) = cython.address(e.cpus[e.current].op)
    while done < nbytes and not e.draining:
        size = piece(e, 0 if filled else source + done, to + done, nbytes - done)
        region = cython.NULL if filled else region_of(e, source + done)
        value = 0
        if filled:
            memset(cython.address(value), cython.cast(cython.int, source), size)
        elif region != cython.NULL:
            fill_op(op, OP_READ, PLAIN, 0, size, key_in(region, source + done), 0, 0, site)
            value = access(e)
        else:
            memcpy(cython.address(value), cython.cast(cython.p_void, source + done), size)
        region = region_of(e, to + done)
        if region != cython.NULL:
            fill_op(op, OP_WRITE, PLAIN, 0, size, key_in(region, to + done), value, 0, site)
            access(e)
        if region == cython.NULL or not region.protected_:
            # Into memory that is also read plainly: whoever may read it by the order of things sees it there.
            memcpy(cython.cast(cython.p_void, to + done), cython.address(value), size)
        done += size


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def step(
    site: cython.p_const_char, op: cython.int, size: cython.int, addr: cython.p_void, a: uint64_t, b: uint64_t
) -> uint64_t:
    """The hook of the machine layer."""
    e: cython.pointer(Engine) = _engine
    where: uint64_t = cython.cast(uint64_t, addr)
    moves: cython.bint = op == HOOK_COPY or op == HOOK_COPY + 1
    region: cython.pointer(Region) = cython.NULL
    result: uint64_t = 0
    if pthread_self() != _thread:
        if _others != cython.NULL:
            _others(addr)
        return perform_natively(op, size, addr, a, b)
    if e.draining:
        return drained(e, op, size, addr, a, b)
    runs: cython.bint = e.current >= 0 or e.in_final
    if not moves and (op < HOOK_MB or op > HOOK_MB + 4):
        region = region_of(e, where)
        runs = runs and region != cython.NULL
    if not runs:
        if e.fibers.aside != cython.NULL:
            e.fibers.aside(e, site, addr)
        return perform_natively(op, size, addr, a, b)
    if region != cython.NULL:
        where = key_in(region, where)
    if e.fibers.name_site != cython.NULL and (e.logging or e.nr_mutations):
        site = e.fibers.name_site(site)
    if e.in_final:
        return final_move(e, op != HOOK_COPY, where, a, b) if moves else final_step(e, op, size, where, a, b)
    if moves:
        block_move(e, op != HOOK_COPY, where, a, b, site)
    else:
        hook_op(cython.address(e.cpus[e.current].op), op, size, where, a, b, site)
        result = access(e)
    return drained(e, op, size, addr, a, b) if e.draining else result


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def drained(
    e: cython.pointer(Engine), op: cython.int, size: cython.int, addr: cython.p_void, a: uint64_t, b: uint64_t
) -> uint64_t:
    """An operation behind the end of the execution. It waits for nobody."""
    if e.current >= 0:
        e.fibers.late(e)
    if op == HOOK_MB + 5:
        return cython.cast(uint64_t, -EAGAIN)
    return perform_natively(op, size, addr, a, b)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_run(e: cython.pointer(Engine)) -> cython.void:
    """One execution, along the path of the nodes as far as it goes, then on: `ending` says how it ended."""
    engine_reset(e)
    if e.fibers.begin != cython.NULL and e.fibers.begin(e):
        e.halted = True
        e.ending = ENDED_BROKEN
    else:
        run_cpus(e)
    e.current = -1
    if e.ending == ENDED_COMPLETE and e.late_why != cython.NULL:
        fail(e, -1, e.late_why)
    if e.ending == ENDED_COMPLETE:
        if e.graphs:
            count_graph(e)
        if e.final != cython.NULL:
            run_final(e)
            if e.why != cython.NULL:
                fail(e, -1, e.why)
    if e.fibers.finish != cython.NULL:
        e.draining = True
        e.fibers.finish(e)
        e.draining = False
    e.fault_at = mp_fault_taken()


# ---- what bodies call ----


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_op(op: cython.pointer(Op)) -> uint64_t:
    e: cython.pointer(Engine) = _engine
    e.cpus[e.current].op = op[0]
    return submit(e, e.current)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_dep(dst: cython.int, mask: uint64_t) -> cython.void:
    dep_set(cython.address(_engine.memory), _engine.current, dst, mask)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_fail(why: cython.p_const_char) -> cython.void:
    if _engine.outstanding:
        _engine.late_why = why  # if the promise is kept: else this is no execution
        return
    fail(_engine, _engine.current, why)
    leave_for_good(_engine)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_await_end(cpu: cython.int) -> cython.int:
    e: cython.pointer(Engine) = _engine
    fill_op(cython.address(e.cpus[e.current].op), OP_AWAIT_END, RELAXED, 0, 0, cpu, 0, 0, b"the end of a process")
    return cython.cast(cython.int, access(e))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_running() -> cython.bint:
    return _engine != cython.NULL and pthread_self() == _thread and _engine.current >= 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_ask(
    kind: cython.int, order: cython.int, word: cython.p_void, a: uint64_t, b: uint64_t, site: cython.p_const_char
) -> uint64_t:
    e: cython.pointer(Engine) = _engine
    region: cython.pointer(Region) = region_of(e, cython.cast(uint64_t, word))
    key: uint64_t = a if kind == OP_AWAIT_END else 0
    result: uint64_t = 0
    if not e.draining:
        if region != cython.NULL:
            key = key_in(region, cython.cast(uint64_t, word))
        elif word != cython.NULL:
            e.fibers.aside(e, site, word)
            return 0
        if e.logging or e.nr_mutations:
            site = e.fibers.name_site(site)
        fill_op(cython.address(e.cpus[e.current].op), kind, order, 0, 8, key, a, b, site)
        result = access(e)
    if e.draining:
        e.fibers.late(e)
    return result


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_cpu() -> cython.int:
    return _engine.current


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_interrupts(on: cython.bint) -> cython.void:
    """Keeps this CPU's interrupt away, or lets it come (local_irq_save, local_irq_restore)."""
    _engine.cpus[_engine.current].has_handler = on and _engine.handlers[_engine.current] != cython.NULL
