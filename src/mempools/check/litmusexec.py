"""The processes of litmus tests: an interpreter of their code, one simulated CPU each, and what they end with.

The instructions are those of litmuscode. Values are 64-bit, compared as signed. What an execution ends with (the columns:
registers and variables that the test names) is kept once, however many executions end so.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.check.litmusexec is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free, realloc
from cython.cimports.libc.string import memcmp, memcpy, memset
from cython.cimports.mempools.check.engine import engine_cpu, engine_dep, engine_op
from cython.cimports.mempools.check.ops import (
    OP_CMPXCHG,
    OP_LOCK,
    OP_MB,
    OP_RCU_LOCK,
    OP_RCU_UNLOCK,
    OP_RMW,
    OP_TRYLOCK,
    Op,
)
from cython.cimports.mempools.check.views import memory_find, memory_newest, memory_value

# ---- a process ----


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def compute(fn: cython.int, a: int64_t, b: int64_t) -> int64_t:
    """Sums wrap, as in the kernel's C."""
    x: uint64_t = cython.cast(uint64_t, a)
    y: uint64_t = cython.cast(uint64_t, b)
    if fn == ALU_COPY:
        return a
    if fn == ALU_ADD:
        return cython.cast(int64_t, x + y)
    if fn == ALU_SUB:
        return cython.cast(int64_t, x - y)
    if fn == ALU_MUL:
        return cython.cast(int64_t, x * y)
    if fn == ALU_DIV:
        return cython.cast(int64_t, 0 - x) if b == -1 else a // b
    if fn == ALU_MOD:
        return 0 if b == -1 else a % b
    if fn == ALU_AND:
        return a & b
    if fn == ALU_OR:
        return a | b
    if fn == ALU_XOR:
        return a ^ b
    if fn == ALU_SHL:
        return cython.cast(int64_t, x << (y & 63))
    if fn == ALU_SHR:
        return a >> (y & 63)
    if fn == ALU_EQ:
        return a == b
    if fn == ALU_NE:
        return a != b
    if fn == ALU_LT:
        return a < b
    if fn == ALU_GT:
        return a > b
    return a <= b if fn == ALU_LE else a >= b


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_address(p: cython.pointer(Program), value: uint64_t) -> cython.bint:
    offset: uint64_t = value - p.base
    return (
        value >= p.base
        and offset // p.step < cython.cast(uint64_t, p.nr_variables)
        and offset % p.step < cython.cast(uint64_t, p.lengths[offset // p.step])
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def section_changes(t: cython.pointer(Thread), kind: cython.int) -> cython.bint:
    """Enters or leaves an RCU read-side section: does the outermost one begin or end?"""
    if kind == OP_RCU_LOCK:
        t.sections += 1
        return t.sections == 1
    t.sections -= 1
    if t.sections < 0:
        t.fault = FAULT_RCU
    return t.sections == 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ask(p: cython.pointer(Program), t: cython.pointer(Thread), i: cython.pointer(Instr)) -> cython.void:
    """An instruction that memory does."""
    op: Op
    result: int64_t
    memset(cython.address(op), 0, cython.sizeof(op))
    op.kind = i.kind
    if (i.kind == OP_RCU_LOCK or i.kind == OP_RCU_UNLOCK) and not section_changes(t, i.kind):
        return
    if i.a >= 0:
        op.addr = cython.cast(uint64_t, t.slots[i.a])
        if not is_address(p, op.addr):
            t.fault = FAULT_ADDRESS
            return
    op.order = i.order
    op.fn = i.fn
    op.size = 8
    op.silent = i.silent
    if i.b >= 0:
        op.a = cython.cast(uint64_t, t.slots[i.b])
    if i.c >= 0:
        op.b = cython.cast(uint64_t, t.slots[i.c])
    op.addr_deps = i.addr_deps
    op.data_deps = i.data_deps
    op.ctrl_deps = i.ctrl_deps
    op.dst = i.dep
    result = cython.cast(int64_t, engine_op(cython.address(op)))
    if i.kind == OP_RMW or (i.kind == OP_CMPXCHG and result == t.slots[i.b]):
        t.did_rmw = True
    if i.kind == OP_LOCK or (i.kind == OP_TRYLOCK and result):
        t.did_lock = True
    if i.dst >= 0:
        t.slots[i.dst] = result


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def full_barrier() -> cython.void:
    op: Op
    memset(cython.address(op), 0, cython.sizeof(op))
    op.kind = OP_MB
    engine_op(cython.address(op))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def body(arg: cython.p_void) -> cython.void:
    """A simulated CPU."""
    p: cython.pointer(Program) = cython.cast(cython.pointer(Program), arg)
    t: cython.pointer(Thread) = cython.address(p.threads[engine_cpu()])
    i: cython.pointer(Instr)
    pc: cython.int = 0
    memcpy(t.slots, t.image, t.nr_slots * cython.sizeof(int64_t))
    t.did_rmw = False
    t.did_lock = False
    t.sections = 0
    t.fault = FAULT_NONE
    while pc < t.nr_code and not t.fault:
        i = cython.address(t.code[pc])
        pc += 1
        if i.step == STEP_MEMORY:
            ask(p, t, i)
        elif i.step == STEP_ALU:
            if (i.fn == ALU_DIV or i.fn == ALU_MOD) and t.slots[i.b] == 0:
                t.fault = FAULT_DIVISION
            else:
                t.slots[i.dst] = compute(i.fn, t.slots[i.a], t.slots[i.b])
        elif i.step == STEP_DEP:
            engine_dep(i.dep, i.data_deps)
        elif i.step == STEP_JUMP or (i.step == STEP_JUMP_ZERO and t.slots[i.a] == 0):
            pc = i.target
        elif (i.step == STEP_MB_AFTER_RMW and t.did_rmw) or (i.step == STEP_MB_AFTER_LOCK and t.did_lock):
            full_barrier()
    if t.sections and not t.fault:
        t.fault = FAULT_RCU


# ---- final states ----


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grow(p: cython.pointer(Program)) -> cython.int:
    """Room for twice as many states; -1: no memory."""
    n: cython.long = p.max_states * 2 if p.max_states else 64
    i: cython.long
    states: cython.p_void = realloc(p.states, n * p.nr_columns * cython.sizeof(int64_t) + 1)
    table: cython.pointer(cython.long) = cython.cast(
        cython.pointer(cython.long), calloc(n * 2, cython.sizeof(cython.long))
    )
    if states != cython.NULL:
        p.states = cython.cast(cython.pointer(int64_t), states)
    if states == cython.NULL or table == cython.NULL:
        free(table)
        return -1
    free(p.slots)
    p.slots = table
    p.nr_slots = n * 2
    p.max_states = n
    for i in range(p.nr_states):
        p.slots[slot_of(p, i)] = i + 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def slot_of(p: cython.pointer(Program), number: cython.long) -> cython.long:
    """Where a state is in the table, or the empty place for it."""
    state: cython.pointer(int64_t) = p.states + number * p.nr_columns
    hash: uint64_t = 1469598103934665603
    i: cython.int
    for i in range(p.nr_columns):
        hash = (hash ^ cython.cast(uint64_t, state[i])) * cython.cast(uint64_t, 0x9E3779B97F4A7C15)
        hash ^= hash >> 29
    slot: cython.long = cython.cast(cython.long, hash & cython.cast(uint64_t, p.nr_slots - 1))
    while p.slots[slot] and memcmp(
        p.states + (p.slots[slot] - 1) * p.nr_columns, state, p.nr_columns * cython.sizeof(int64_t)
    ):
        slot = (slot + 1) & (p.nr_slots - 1)
    return slot


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def note_faults(p: cython.pointer(Program)) -> cython.bint:
    c: cython.int
    for c in range(p.nr_threads):
        if p.threads[c].fault:
            p.fault = p.threads[c].fault
    return p.fault != FAULT_NONE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final(arg: cython.p_void) -> cython.p_const_char:
    """Keeps the final state of an execution."""
    p: cython.pointer(Program) = cython.cast(cython.pointer(Program), arg)
    state: cython.pointer(int64_t)
    column: cython.pointer(Column)
    slot: cython.long
    i: cython.int
    loc: cython.int
    if note_faults(p):
        return cython.NULL
    if p.nr_states == p.max_states and grow(p) < 0:
        p.no_memory = True
        return cython.NULL
    state = p.states + p.nr_states * p.nr_columns
    for i in range(p.nr_columns):
        column = cython.address(p.columns[i])
        if column.thread >= 0:
            state[i] = p.threads[column.thread].slots[column.slot]
        else:
            loc = memory_find(cython.address(p.engine.memory), column.addr)
            state[i] = cython.cast(
                int64_t,
                memory_value(cython.address(p.engine.memory), loc, memory_newest(cython.address(p.engine.memory), loc)),
            )
    slot = slot_of(p, p.nr_states)
    if p.slots[slot] == 0:
        p.nr_states += 1
        p.slots[slot] = p.nr_states
    return cython.NULL
