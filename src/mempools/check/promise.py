"""Load buffering: a store that becomes visible before a load that comes first in the program.

A machine that does one operation after the other cannot do that, so a CPU may *promise* a relaxed store before one of its
loads: the message is there at once, tainted, and the store that the program makes later fulfils it. It must have the same
value and fit the place; and its own strong view must not be tainted, for then it would happen before itself. One promise an
execution breaks every cycle of program order and reads-from that has one early store; executions whose promise is not
fulfilled are no executions.

What may be promised is what that CPU stores in some execution without promises: those are explored first. Which of them
depend on the promise itself is left to the taint, so only dependencies that the model sees count. Compiled code shows none:
there the tier lets any store go before any load that no barrier holds, which is more than any machine or compiler does.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.promise is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.ops import (
    ACQUIRE,
    OP_CMPXCHG,
    OP_READ,
    OP_RMW,
    OP_TRYLOCK,
    OP_WRITE,
    PLAIN,
    RELAXED,
    Op,
)
from cython.cimports.mempools.check.promised import do_promise, fulfils, keep_promise
from cython.cimports.mempools.check.state import BOUND_MESSAGES, CHOICE_PROMISE, MAX_PROMISES, Cpu, Engine, Seen
from cython.cimports.mempools.check.views import memory_find

_ONE = cython.declare(uint64_t, 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def may_be_early(op: cython.pointer(Op)) -> cython.bint:
    """May what comes before the operation let its store go first?"""
    if op.kind == OP_WRITE:
        return op.order == RELAXED or op.order == PLAIN
    return (op.kind == OP_RMW or op.kind == OP_CMPXCHG) and (op.order == RELAXED or op.order == ACQUIRE)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def note_store(e: cython.pointer(Engine), c: cython.int, value: uint64_t) -> cython.void:
    """The CPU makes its `op`, a store of that value: it may be promised in executions to come."""
    op: cython.pointer(Op) = cython.address(e.cpus[c].op)
    seen: cython.pointer(Seen) = e.seen[c]
    rmw: cython.bint = op.kind == OP_RMW or op.kind == OP_CMPXCHG
    i: cython.int
    if not e.load_buffering or e.promising or not e.cpus[c].has_read or not may_be_early(op):
        return
    for i in range(e.nr_seen[c]):
        if seen[i].addr == op.addr and seen[i].value == value and seen[i].order == op.order and seen[i].rmw == rmw:
            return
    if e.nr_seen[c] == MAX_PROMISES:
        e.bounds |= BOUND_MESSAGES
        return
    seen[e.nr_seen[c]].addr = op.addr
    seen[e.nr_seen[c]].value = value
    seen[e.nr_seen[c]].size = op.size
    seen[e.nr_seen[c]].order = op.order
    seen[e.nr_seen[c]].rmw = rmw
    e.nr_seen[c] += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def promises_of(e: cython.pointer(Engine), c: cython.int) -> uint64_t:
    """What the CPU may promise before its `op`, a choice each."""
    kind: cython.int = e.cpus[c].op.kind
    if (
        not e.promising
        or e.promised
        or not (kind == OP_READ or kind == OP_RMW or kind == OP_CMPXCHG or kind == OP_TRYLOCK)
    ):
        return 0
    return ((_ONE << e.nr_seen[c]) - 1) << CHOICE_PROMISE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def begin_promise(e: cython.pointer(Engine), c: cython.int, choice: cython.int) -> cython.void:
    """The CPU's next operation is now to put the promised message somewhere."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    seen: cython.pointer(Seen) = cython.address(e.seen[c][choice - CHOICE_PROMISE])
    e.promised = True
    e.outstanding = True
    cpu.promises = True
    cpu.promises_rmw = seen.rmw
    cpu.saved = cpu.op
    cpu.saved_loc = cpu.loc
    cpu.op.kind = OP_WRITE
    cpu.op.order = seen.order
    cpu.op.addr = seen.addr
    cpu.op.size = seen.size
    cpu.op.a = seen.value
    cpu.op.addr_deps = 0
    cpu.op.data_deps = 0
    cpu.op.ctrl_deps = 0
    cpu.loc = memory_find(cython.address(e.memory), seen.addr)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_promise(e: cython.pointer(Engine), c: cython.int, choice: cython.int) -> cython.void:
    """Puts the message behind message `choice`; then back to the operation before which it was promised."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    do_promise(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op), choice, e.depth, cpu.promises_rmw)
    cpu.promises = False
    cpu.promises_rmw = False
    cpu.op = cpu.saved
    cpu.loc = cpu.saved_loc


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def can_fulfil(e: cython.pointer(Engine), c: cython.int) -> cython.bint:
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    return (
        e.promised
        and not cpu.promises
        and may_be_early(cython.address(cpu.op))
        and fulfils(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op))
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fulfil(e: cython.pointer(Engine), c: cython.int) -> cython.void:
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    e.outstanding = False
    cpu.result = keep_promise(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op))
