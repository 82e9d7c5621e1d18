"""Which events could have come in the other order, and what must be explored because of it."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.races is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import int32_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.ops import (
    FULL,
    OP_CMPXCHG,
    OP_FUTEX_WAIT,
    OP_FUTEX_WAKE,
    OP_GRACE_END,
    OP_MB,
    OP_RCU_LOCK,
    OP_RCU_UNLOCK,
    OP_READ,
    OP_RMW,
    OP_SYNCHRONIZE_RCU,
    Op,
)
from cython.cimports.mempools.check.state import CHOICE_TIMEOUT, Engine, Event, Node
from cython.cimports.mempools.check.views import Loc, glued_after, memory_position


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def clash(op: cython.pointer(Op), other: cython.pointer(Event)) -> cython.bint:
    """Are they two full barriers, or the beginnings of a grace period and of a section, or the ends?"""
    if other.full and (op.kind == OP_MB or op.kind == OP_SYNCHRONIZE_RCU or op.kind == OP_GRACE_END):
        return True
    if other.full and op.order == FULL and (op.kind == OP_RMW or op.kind == OP_CMPXCHG):
        return True
    if op.kind == OP_RCU_LOCK:
        return other.kind == OP_SYNCHRONIZE_RCU
    if op.kind == OP_GRACE_END:
        return other.kind == OP_RCU_UNLOCK
    return op.kind == OP_SYNCHRONIZE_RCU and other.kind == OP_RCU_LOCK


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def depends(e: cython.pointer(Engine), c: cython.int, other: cython.pointer(Event)) -> cython.bint:
    """Do the next operation of CPU c and that event, whichever comes second, see the difference? (Reads do not count: a read
    that comes first loses a choice, and the race of read and write is looked for by itself.)"""
    kind: cython.int = e.cpus[c].op.kind
    if clash(cython.address(e.cpus[c].op), other):
        return True
    if other.loc != e.cpus[c].loc or other.loc < 0:
        return False
    if kind == OP_FUTEX_WAIT:
        return other.write_uid >= 0 or other.kind == OP_FUTEX_WAKE
    if kind == OP_FUTEX_WAKE:
        return other.kind == OP_FUTEX_WAIT or other.kind == OP_FUTEX_WAKE or other.kind == -CHOICE_TIMEOUT
    return other.kind == OP_FUTEX_WAIT and kind != OP_READ


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def follows_any(e: cython.pointer(Engine), i: cython.int, c: cython.int) -> cython.bint:
    """Does the next operation of CPU c depend on an event behind i that stays when i is taken out?"""
    j: cython.int
    for j in range(i + 1, e.depth):
        if e.events[j].clock[e.events[i].cpu] < e.events[i].number and depends(e, c, cython.address(e.events[j])):
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def race(e: cython.pointer(Engine), i: cython.int, c: cython.int) -> cython.void:
    """The next event of CPU c could come before event i, which does not happen before it: makes sure that an execution in
    which it does is explored. (Source sets: one CPU that can start such an execution is enough.)"""
    first: int32_t[8]
    initials: cython.int = 0
    j: cython.int
    k: cython.int
    p: cython.int
    q: cython.int
    after: cython.bint
    ours: cython.pointer(Event) = cython.address(e.events[i])
    node: cython.pointer(Node) = cython.address(e.nodes[i])
    other: cython.pointer(Event)
    e.nr_races += 1
    if node.fixed:
        return
    memset(first, 0, cython.sizeof(first))
    for j in range(i + 1, e.depth + 1):
        if j == e.depth:
            p = c
            k = e.cpus[c].last
        else:
            other = cython.address(e.events[j])
            p = other.cpu
            k = j
            if other.clock[ours.cpu] >= ours.number:
                continue
        if first[p]:
            continue
        after = j == e.depth and follows_any(e, i, c)
        for q in range(e.nr_cpus):
            if first[q] and k >= 0 and e.events[k].clock[q] >= first[q]:
                after = True
        first[p] = e.events[j].number if j < e.depth else e.cpus[c].nr_events + 1
        if not after:
            initials |= 1 << p
    if node.backtrack & initials:
        return
    if initials & (1 << c):
        node.backtrack |= 1 << c
    else:
        node.backtrack |= initials & -initials


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def unordered(e: cython.pointer(Engine), i: cython.int, c: cython.int) -> cython.bint:
    """Does event i of another CPU not happen before the next event of CPU c?"""
    last: cython.int = e.cpus[c].last
    return e.events[i].cpu != c and (last < 0 or e.events[last].clock[e.events[i].cpu] < e.events[i].number)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def races_of_write(e: cython.pointer(Engine), c: cython.int, loc: cython.int) -> cython.void:
    """With the reads so far that could have read what was just written."""
    where: cython.pointer(Loc) = cython.address(e.memory.locs[loc])
    i: cython.int = where.readers
    p: cython.int = memory_position(cython.address(e.memory), loc, e.memory.write_uid)
    while i >= 0:
        if unordered(e, i, c) and memory_position(cython.address(e.memory), loc, e.events[i].lo_uid) < p:
            race(e, i, c)
        i = e.events[i].next_reader


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def meet_waits(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), fresh: cython.bint
) -> cython.void:
    """A futex wait reads the newest message, so a write after it does depend on it; so does a wake-up. Waits do not depend on
    each other: whom a wake-up wakes is a choice."""
    q: cython.int
    for q in range(e.nr_cpus):
        if e.cpus[q].last_wait >= 0 and e.events[e.cpus[q].last_wait].loc == mine.loc:
            meet(e, c, e.cpus[q].last_wait, mine, fresh)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def races_of_glue(e: cython.pointer(Engine), c: cython.int, loc: cython.int) -> cython.void:
    """Of the promise of an RMW, with the RMWs so far that have taken a message it could have been promised behind."""
    where: cython.pointer(Loc) = cython.address(e.memory.locs[loc])
    k: cython.int
    i: cython.int
    for k in range(where.nr - 1):
        if glued_after(cython.address(e.memory), where, k):
            i = e.memory.msgs[where.msg[where.order[k + 1]]].event
            if unordered(e, i, c):
                race(e, i, c)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def meet(
    e: cython.pointer(Engine), c: cython.int, i: cython.int, mine: cython.pointer(Event), fresh: cython.bint
) -> cython.void:
    """Event i is dependent on this one and came first: they race unless ordered already, and now it happens before."""
    q: cython.int
    if i < 0 or not fresh:
        return
    if unordered(e, i, c):
        race(e, i, c)
    for q in range(e.nr_cpus):
        if e.events[i].clock[q] > mine.clock[q]:
            mine.clock[q] = e.events[i].clock[q]
