"""Litmus tests on the checker's engine: from a program to the final states of all its executions.

An execution in which nobody can go on, waiting for a lock, is none of the model's.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.litmusrun is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.mempools.check.engine import engine_enter, engine_leave
from cython.cimports.mempools.check.explore import next_path
from cython.cimports.mempools.check.litmusexec import (
    ALU_ADD,
    ALU_AND,
    ALU_COPY,
    ALU_DIV,
    ALU_EQ,
    ALU_GE,
    ALU_GT,
    ALU_LE,
    ALU_LT,
    ALU_MOD,
    ALU_MUL,
    ALU_NE,
    ALU_OR,
    ALU_SHL,
    ALU_SHR,
    ALU_SUB,
    ALU_XOR,
    FAULT_ADDRESS,
    FAULT_DIVISION,
    FAULT_RCU,
    STEP_ALU,
    STEP_DEP,
    STEP_JUMP,
    STEP_JUMP_ZERO,
    STEP_MB_AFTER_LOCK,
    STEP_MB_AFTER_RMW,
    STEP_MEMORY,
    STEP_NOP,
    Column,
    Instr,
    Program,
    Thread,
    body,
    final,
    note_faults,
)
from cython.cimports.mempools.check.making import engine_free, engine_make
from cython.cimports.mempools.check.ops import (
    ACQUIRE,
    FN_ADD,
    FN_AND,
    FN_OR,
    FN_XCHG,
    FN_XOR,
    FULL,
    MAX_CPUS,
    OP_CMPXCHG,
    OP_LOCK,
    OP_MB,
    OP_RCU_LOCK,
    OP_RCU_UNLOCK,
    OP_READ,
    OP_RELAX,
    OP_RMB,
    OP_RMW,
    OP_SYNCHRONIZE_RCU,
    OP_TRYLOCK,
    OP_UNLOCK,
    OP_WMB,
    OP_WRITE,
    PLAIN,
    RELAXED,
    RELEASE,
)
from cython.cimports.mempools.check.regions import engine_initial
from cython.cimports.mempools.check.state import ENDED_DEADLOCK, Engine
from cython.cimports.mempools.check.walk import (
    SEARCH_DONE,
    SEARCH_FAILED,
    SEARCH_MORE,
    SEARCH_NO_MEMORY,
    search,
    start_again,
)

from mempools.check.explorer import BOUNDS
from mempools.check.litmuslex import Unsupported

_STEPS = {
    "alu": STEP_ALU,
    "jump": STEP_JUMP,
    "jump_zero": STEP_JUMP_ZERO,
    "dep": STEP_DEP,
    "nop": STEP_NOP,
    "mb_after_rmw": STEP_MB_AFTER_RMW,
    "mb_after_lock": STEP_MB_AFTER_LOCK,
}
_KINDS = {
    "read": OP_READ,
    "write": OP_WRITE,
    "rmw": OP_RMW,
    "cmpxchg": OP_CMPXCHG,
    "lock": OP_LOCK,
    "trylock": OP_TRYLOCK,
    "unlock": OP_UNLOCK,
    "mb": OP_MB,
    "rmb": OP_RMB,
    "wmb": OP_WMB,
    "relax": OP_RELAX,
    "rcu_lock": OP_RCU_LOCK,
    "rcu_unlock": OP_RCU_UNLOCK,
    "synchronize_rcu": OP_SYNCHRONIZE_RCU,
}
_ORDERS = {"relaxed": RELAXED, "acquire": ACQUIRE, "release": RELEASE, "full": FULL, "plain": PLAIN}
_RMW = {"xchg": FN_XCHG, "+": FN_ADD, "|": FN_OR, "&": FN_AND, "^": FN_XOR}
_ALU = {
    "copy": ALU_COPY,
    "+": ALU_ADD,
    "-": ALU_SUB,
    "*": ALU_MUL,
    "/": ALU_DIV,
    "%": ALU_MOD,
    "&": ALU_AND,
    "|": ALU_OR,
    "^": ALU_XOR,
    "<<": ALU_SHL,
    ">>": ALU_SHR,
    "==": ALU_EQ,
    "!=": ALU_NE,
    "<": ALU_LT,
    ">": ALU_GT,
    "<=": ALU_LE,
    ">=": ALU_GE,
}
_FAULTS = {
    FAULT_ADDRESS: "dereference of a value that is no address",
    FAULT_DIVISION: "division by zero",
    FAULT_RCU: "rcu_read_lock and rcu_read_unlock that do not match",
}


@cython.final
@cython.cclass
class Run:
    """An exploration of one litmus test."""

    def __init__(
        self,
        program: object,
        *,
        promises: object = True,
        reduction: object = True,
        width: object = 16,
        broken: object = 0,
    ) -> None:
        """Of a litmuscode.Program."""
        p: cython.pointer(Program) = cython.address(self.program)
        e: cython.pointer(Engine)
        c: cython.int
        if p.engine != cython.NULL:
            raise TypeError("a Run is initialized once")
        if len(program.threads) > MAX_CPUS:
            raise Unsupported(f"more than {MAX_CPUS} processes")
        numbers: list = list(program.threads)
        used: object = 1
        for thread in program.threads.values():
            for instr in thread.code:
                used = max(used, instr.dep + 1)
        p.engine = e = engine_make(len(numbers), width, used)
        if e == cython.NULL:
            raise MemoryError
        p.nr_threads = len(numbers)
        for c in range(p.nr_threads):
            self.fill(cython.address(p.threads[c]), program.threads[numbers[c]])
            e.bodies[c] = body
        e.arg = cython.cast(cython.p_void, p)
        e.final = final
        e.races = False
        e.graphs = False
        e.load_buffering = promises
        e.no_reduction = not reduction
        e.memory.broken = broken
        self.variables(program.memory)
        self.columns(program, numbers)

    def __dealloc__(self):
        c: cython.int
        for c in range(self.program.nr_threads):
            free(self.program.threads[c].code)
            free(self.program.threads[c].image)
            free(self.program.threads[c].slots)
        free(self.program.lengths)
        free(self.program.columns)
        free(self.program.states)
        free(self.program.slots)
        engine_free(self.program.engine)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fill(self, t: cython.pointer(Thread), thread: object) -> cython.int:
        i: cython.int
        t.nr_slots = len(thread.image)
        t.nr_code = len(thread.code)
        t.code = cython.cast(cython.pointer(Instr), calloc(t.nr_code + 1, cython.sizeof(Instr)))
        t.image = cython.cast(cython.pointer(int64_t), calloc(t.nr_slots + 1, cython.sizeof(int64_t)))
        t.slots = cython.cast(cython.pointer(int64_t), calloc(t.nr_slots + 1, cython.sizeof(int64_t)))
        if t.code == cython.NULL or t.image == cython.NULL or t.slots == cython.NULL:
            raise MemoryError
        for i in range(t.nr_slots):
            t.image[i] = as_word(thread.image[i])
        for i in range(t.nr_code):
            self.encode(cython.address(t.code[i]), thread.code[i])
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def encode(self, i: cython.pointer(Instr), instr: object) -> cython.int:
        op: str = instr.op
        i.step = _STEPS.get(op, STEP_MEMORY)
        if i.step == STEP_MEMORY:
            i.kind = _KINDS[op]
            i.fn = _RMW[instr.fn] if op == "rmw" else 0
        elif i.step == STEP_ALU:
            i.fn = _ALU[instr.fn]
        i.order = _ORDERS[instr.order]
        i.silent = instr.silent
        i.dst = instr.dst
        i.a = instr.a
        i.b = instr.b
        i.c = instr.c
        i.dep = instr.dep
        i.target = instr.target
        i.addr_deps = instr.addr_deps
        i.data_deps = instr.data_deps
        i.ctrl_deps = instr.ctrl_deps
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def variables(self, memory: object) -> cython.int:
        p: cython.pointer(Program) = cython.address(self.program)
        i: cython.int
        p.base = memory.base
        p.step = memory.step
        p.lengths = cython.cast(cython.pointer(cython.int), calloc(len(memory.values) + 1, cython.sizeof(cython.int)))
        if p.lengths == cython.NULL:
            raise MemoryError
        p.nr_variables = len(memory.values)
        lengths: list = [len(values) for values in memory.values.values()]
        for i in range(p.nr_variables):
            p.lengths[i] = lengths[i]
        for addr, value in memory.items():
            if engine_initial(p.engine, addr, cython.cast(uint64_t, as_word(value))) < 0:
                raise Unsupported("more variables than the checker has room for")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def columns(self, program: object, numbers: list) -> cython.int:
        p: cython.pointer(Program) = cython.address(self.program)
        i: cython.int
        p.columns = cython.cast(cython.pointer(Column), calloc(len(program.places) + 1, cython.sizeof(Column)))
        if p.columns == cython.NULL:
            raise MemoryError
        p.nr_columns = len(program.places)
        for i in range(p.nr_columns):
            where: object = program.where(program.places[i])
            if where[0] is None:
                p.columns[i].thread = -1
                p.columns[i].addr = where[1]
            else:
                p.columns[i].thread = numbers.index(where[0])
                p.columns[i].slot = where[1]
        return 0

    def run(self, executions: object) -> object:
        """At most so many more executions: "done", "more", or "failed" (`why`)."""
        e: cython.pointer(Engine) = self.program.engine
        allowed: uint64_t = executions
        before: uint64_t
        result: cython.int = SEARCH_MORE
        status: cython.int = engine_enter(e)
        if status:
            raise RuntimeError("another exploration is under way in this process")
        with cython.nogil:
            while allowed > 0 and result == SEARCH_MORE and not self.program.fault and not self.program.no_memory:
                before = e.executions
                result = search(e, allowed)
                allowed -= min(allowed, e.executions - before)
                if (
                    result == SEARCH_FAILED
                    and e.ending == ENDED_DEADLOCK
                    and not note_faults(cython.address(self.program))
                ):
                    self.blocked += 1
                    result = go_on(e)
            engine_leave(e)
        if self.program.no_memory or result == SEARCH_NO_MEMORY:
            raise MemoryError
        if self.program.fault:
            raise Unsupported(_FAULTS[self.program.fault])
        return {SEARCH_DONE: "done", SEARCH_MORE: "more"}.get(result, "failed")

    @property
    def executions(self) -> object:
        return self.program.engine.complete

    @property
    def why(self) -> object:
        """What went wrong in the execution that ran last."""
        return "" if self.program.engine.why == cython.NULL else self.program.engine.why.decode()

    @property
    def bounds(self) -> object:
        """Names of the bounds that were hit: something behind them was not explored."""
        return [name for name, bit in BOUNDS.items() if self.program.engine.bounds & bit]

    @property
    def states(self) -> object:
        """The distinct final states so far: a tuple of the columns' values each."""
        n: cython.long
        i: cython.int
        return [
            tuple([self.program.states[n * self.program.nr_columns + i] for i in range(self.program.nr_columns)])
            for n in range(self.program.nr_states)
        ]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def go_on(e: cython.pointer(Engine)) -> cython.int:
    """Turns to the next execution after one that search has given up at."""
    if next_path(e):
        return SEARCH_MORE
    if not e.load_buffering or e.promising:
        return SEARCH_DONE
    e.promising = True
    return SEARCH_MORE if start_again(e) == 0 else SEARCH_NO_MEMORY


@cython.cfunc
@cython.exceptval(-1, check=True)
def as_word(value: object) -> int64_t:
    """The low 64 bits of a number."""
    return cython.cast(int64_t, cython.cast(uint64_t, value & 0xFFFFFFFFFFFFFFFF))
