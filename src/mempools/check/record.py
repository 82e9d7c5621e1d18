"""What a trace is made of: one record a step, kept only while a failing execution is run again."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.record is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.ops import OP_FUTEX_WAKE, Op
from cython.cimports.mempools.check.state import Engine, Event, LogRecord
from cython.cimports.mempools.check.views import Loc, memory_position, memory_value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def event_of(e: cython.pointer(Engine), loc: cython.int, uid: cython.int) -> cython.int:
    return e.memory.msgs[e.memory.locs[loc].msg[uid]].event if uid > 0 else -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def record(e: cython.pointer(Engine), c: cython.int, op: cython.pointer(Op), choice: cython.int) -> cython.void:
    """Event `depth` has just been done; `choice` -1: a local step, which is no event."""
    line: cython.pointer(LogRecord)
    event: cython.pointer(Event)
    where: cython.pointer(Loc)
    k: cython.int
    if e.nr_log == e.max_log:
        return
    line = cython.address(e.log[e.nr_log])
    e.nr_log += 1
    memset(line, 0, cython.sizeof(LogRecord))
    line.cpu = c
    line.op = op[0]
    line.frame = e.cpus[c].frame
    line.choice = choice
    line.event = -1
    line.read_event = -1
    line.newest_event = -1
    if choice < 0:
        return
    line.event = e.depth
    line.woken = e.woken if op.kind == OP_FUTEX_WAKE else 0
    line.value = e.cpus[c].result
    event = cython.address(e.events[e.depth])
    if event.loc < 0:
        return
    where = cython.address(e.memory.locs[event.loc])
    if event.read_uid >= 0:
        line.value = memory_value(cython.address(e.memory), event.loc, event.read_uid)
        line.read_event = event_of(e, event.loc, event.read_uid)
        # The newest before this event's own write.
        line.newest_event = event_of(e, event.loc, where.order[where.nr - 1])
        if line.newest_event == e.depth:
            line.newest_event = line.read_event
    if event.write_uid >= 0:
        line.written = memory_value(cython.address(e.memory), event.loc, event.write_uid)
        line.inserted = e.memory.inserted
        if line.inserted:
            k = memory_position(cython.address(e.memory), event.loc, event.write_uid)
            line.before_event = event_of(e, event.loc, where.order[k + 1])
    line.failed = event.kind != op.kind
