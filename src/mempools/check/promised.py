"""The message that a promise puts into memory (see promise.py): what it carries, and which store fulfils it."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.promised is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint8_t, uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.check.ops import ACQUIRE, OP_CMPXCHG, OP_WRITE, PLAIN, Op
from cython.cimports.mempools.check.rules import rmw_result, take_over
from cython.cimports.mempools.check.views import (
    ALLSV,
    BREAK_TAINT,
    COH,
    M_DSV,
    M_DV,
    M_SV,
    M_VIEW,
    NR_MSG_VIEWS,
    OSV,
    OWN,
    RFL,
    RSV,
    WPUB,
    WSV,
    Loc,
    Memory,
    at,
    carried,
    deps_at,
    deps_into,
    floor_of,
    join,
    locsv,
    memory_position,
    memory_value,
    open_place,
    own_promise,
    temp,
    write_floor,
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_promise(
    m: cython.pointer(Memory),
    cpu: cython.int,
    loc: cython.int,
    op: cython.pointer(Op),
    uid: cython.int,
    event: cython.int,
    rmw: cython.bint,
) -> cython.void:
    """Puts a tainted message right behind message `uid`; the CPU itself has not come to its store yet, and knows nothing."""
    msg: cython.int = open_place(m, loc, memory_position(m, loc, uid) + 1, cpu, event)
    behind: cython.int = m.locs[loc].msg[uid]
    if msg < 0:
        return
    m.msgs[msg].value = op.a
    m.msgs[msg].promised = 1
    memset(carried(m, msg, M_VIEW), 0, NR_MSG_VIEWS * m.width)
    carried(m, msg, M_SV)[m.width - 1] = 1
    if op.order == PLAIN and not m.preserved:
        m.msgs[msg].plain = 1
        return
    memcpy(carried(m, msg, M_VIEW), at(m, cpu, WPUB), m.width)
    join(m, carried(m, msg, M_SV), at(m, cpu, ALLSV))
    join(m, carried(m, msg, M_SV), at(m, cpu, WSV))
    if rmw:
        m.msgs[msg].glued = 1
        if behind >= 0:
            join(m, carried(m, msg, M_VIEW), carried(m, behind, M_VIEW))
            join(m, carried(m, msg, M_SV), carried(m, behind, M_SV))
        carried(m, msg, M_SV)[m.width - 1] = 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def promise_at(m: cython.pointer(Memory), cpu: cython.int, loc: cython.int) -> cython.int:
    """Position of the CPU's promise at the location, or -1."""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    k: cython.int
    for k in range(1, where.nr):
        if own_promise(m, where, k, cpu):
            return k
    return -1


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def within(m: cython.pointer(Memory), a: cython.pointer(uint8_t), b: cython.pointer(uint8_t)) -> cython.bint:
    """Is view a nowhere later than b? (Taint aside.)"""
    i: cython.int
    for i in range(m.width - 1):
        if a[i] > b[i]:
            return False
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def strong_of_store(
    m: cython.pointer(Memory), cpu: cython.int, column: cython.int, op: cython.pointer(Op)
) -> cython.pointer(uint8_t):
    """The strong view that a relaxed store would carry, in temp(1)."""
    memset(temp(m, 0), 0, 2 * m.width)
    deps: uint64_t = op.addr_deps
    if op.order != PLAIN or m.preserved:
        deps |= op.data_deps | op.ctrl_deps
    deps_into(m, cpu, deps, temp(m, 0), temp(m, 1))
    join(m, temp(m, 1), at(m, cpu, ALLSV))
    join(m, temp(m, 1), at(m, cpu, WSV))
    if op.order != PLAIN or m.preserved:
        join(m, temp(m, 1), locsv(m, cpu, column))
    return temp(m, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def strong_of_rmw(
    m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, k: cython.int, op: cython.pointer(Op)
) -> cython.pointer(uint8_t):
    """The strong view that the store of an RMW would carry that reads the message at position k, in temp(1)."""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    msg: cython.int = where.msg[where.order[k]]
    sv: cython.pointer(uint8_t) = strong_of_store(m, cpu, where.column, op)
    join(m, sv, at(m, cpu, RSV))
    if msg >= 0:
        join(m, sv, carried(m, msg, M_SV))
        join(m, sv, carried(m, msg, M_DSV))
    return sv


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reads_before(
    m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, k: cython.int, op: cython.pointer(Op)
) -> cython.bint:
    """May this RMW read the message right before its promise at position k, and make the promised value of it?"""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    old: uint64_t = memory_value(m, loc, where.order[k - 1])
    if op.kind == OP_CMPXCHG and old != op.a:
        return False
    if rmw_result(op, old) != memory_value(m, loc, where.order[k]):
        return False
    return k - 1 >= max(floor_of(m, cpu, where.column, RFL, ALLSV, RSV), deps_at(m, cpu, where.column, op.addr_deps))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fulfils(m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, op: cython.pointer(Op)) -> cython.bint:
    """May this store be the one that the CPU promised?"""
    k: cython.int = promise_at(m, cpu, loc)
    msg: cython.int
    sv: cython.pointer(uint8_t)
    plain: cython.bint = op.order == PLAIN and not m.preserved
    rmw: cython.bint = op.kind != OP_WRITE
    if k < 0:
        return False
    msg = m.locs[loc].msg[m.locs[loc].order[k]]
    if m.msgs[msg].plain != plain or m.msgs[msg].glued != rmw or write_floor(m, cpu, m.locs[loc].column, op) >= k:
        return False
    if rmw:
        if not reads_before(m, cpu, loc, k, op):
            return False
        sv = strong_of_rmw(m, cpu, loc, k - 1, op)
    else:
        if m.msgs[msg].value != op.a:
            return False
        sv = strong_of_store(m, cpu, m.locs[loc].column, op)
    if sv[m.width - 1] and m.broken & BREAK_TAINT == 0:
        return False
    if plain:
        return True
    if not within(m, at(m, cpu, WPUB), carried(m, msg, M_VIEW)):
        return False
    memcpy(temp(m, 2), carried(m, msg, M_SV), m.width)
    join(m, temp(m, 2), carried(m, msg, M_VIEW))
    return within(m, sv, temp(m, 2))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def keep_promise(m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, op: cython.pointer(Op)) -> uint64_t:
    """Fulfils it; returns what an RMW has read."""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    k: cython.int = promise_at(m, cpu, loc)
    msg: cython.int = where.msg[where.order[k]]
    c: cython.int = where.column
    m.read_uid = -1
    m.write_uid = -1
    m.inserted = False
    if m.msgs[msg].glued:
        m.read_uid = where.order[k - 1]
        take_over(m, cpu, where, k - 1, op, op.order == ACQUIRE, not op.silent)
    m.msgs[msg].promised = 0
    at(m, cpu, COH)[c] = max(at(m, cpu, COH)[c], cython.cast(uint8_t, k))
    at(m, cpu, OWN)[c] = max(at(m, cpu, OWN)[c], cython.cast(uint8_t, k))
    if m.msgs[msg].plain:
        deps_into(m, cpu, op.data_deps, carried(m, msg, M_DV), carried(m, msg, M_DSV))
        return 0
    join(m, locsv(m, cpu, c), strong_of_store(m, cpu, c, op))
    deps_into(m, cpu, op.addr_deps | op.data_deps, carried(m, msg, M_DV), carried(m, msg, M_DSV))
    join(m, at(m, cpu, OWN), carried(m, msg, M_VIEW))
    join(m, at(m, cpu, OSV), carried(m, msg, M_SV))
    return memory_value(m, loc, m.read_uid) if m.read_uid >= 0 else 0
