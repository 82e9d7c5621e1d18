"""The memory of the simulated CPUs: the Linux kernel's memory model as a machine of views.

Each location has its messages in coherence order. A view maps each location to a position in that order; a CPU has views
that say how old a message it may still read and how early in the order it may still write, and every message carries the
view that its reader takes over. What is written here, operation by operation, is the table of the model; `Rules` breaks
one line each, and the litmus tests must notice.

  of a CPU    COH what it has read or written; RFL, WFL floors of its reads and writes; PEND what it has read with what that
              carried; OWN its own writes with theirs; WPUB what its next plain writes carry.
              The strong views travel along every happens-before edge (a read from another CPU, or anything that
              preserves program order), so that whatever comes after a full barrier is seen behind chains of dependencies
              too: ALLSV for all later accesses, RSV later reads, WSV later writes, PSV of the reads so far, OSV of its
              writes, LOCSV of each location. ULO, ULP, ULS: OWN, PEND and strong view at its last unlock, which its next
              lock orders.
  of a message  VIEW, SV strong view, WOWN the writer's OWN (of an unlock), DV and DSV what a forwarded read of the
              writer itself depends on.

  read         any message at or after COH, RFL, ALLSV, RSV and what the address depends on; acquire raises RFL, WFL, ALLSV
  write        at any place after COH, WFL, ALLSV, WSV and what value, address and branches depend on: not only at the
               end; carries WPUB; release also comes after PEND and OWN, and carries them
  wmb, rmb     WPUB and WSV take over OWN and OSV; RFL and RSV take over PEND and PSV
  mb           everything the CPU knows is exchanged with S, which all full barriers share
  rmw          reads k, writes right behind it ("glued"), passes on what k carried; fully ordered = mb, release rmw, mb
  lock, unlock acquire rmw and release write at the end; a CPU's unlock and next lock order for everybody

  plain        (litmus tests) orders nothing by itself: reads take over nothing but, from the CPU itself, the data; writes
               carry nothing and do not wait for values or branches. Barriers order them, and so do addresses

A compare-and-swap that fails is a relaxed read. Read-modify-writes whose value is not used are reads that rmb leaves alone.
The rules and their names were checked against herd7 with the kernel's model (tests/unit/test_litmus*.py).
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.rules is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint8_t, uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.check.ops import (
    ACQUIRE,
    FN_ADD,
    FN_AND,
    FN_OR,
    FN_XCHG,
    FULL,
    OP_CMPXCHG,
    OP_LOCK,
    OP_RMW,
    OP_TRYLOCK,
    PLAIN,
    RELAXED,
    RELEASE,
    Op,
)
from cython.cimports.mempools.check.views import (
    ALLSV,
    BREAK_ACUM,
    BREAK_MB_S,
    BREAK_RMB,
    BREAK_SV,
    BREAK_UNLOCK_LOCK,
    BREAK_WMB,
    BREAK_WMB_ACUM,
    COH,
    M_DSV,
    M_DV,
    M_SV,
    M_VIEW,
    M_WOWN,
    NR_MSG_VIEWS,
    NR_VIEWS,
    OSV,
    OWN,
    PEND,
    PSV,
    RFL,
    RSV,
    ULO,
    ULP,
    ULS,
    WFL,
    WPUB,
    WSV,
    Loc,
    Memory,
    at,
    carried,
    deps_into,
    join,
    locsv,
    memory_position,
    memory_value,
    open_place,
    temp,
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_over(
    m: cython.pointer(Memory),
    cpu: cython.int,
    where: cython.pointer(Loc),
    k: cython.int,
    op: cython.pointer(Op),
    acquire: cython.bint,
    pends: cython.bint,
) -> cython.void:
    """The CPU has read the message at position k: what that does to its views."""
    d: cython.pointer(uint8_t) = temp(m, 0)
    ds: cython.pointer(uint8_t) = temp(m, 1)
    c: cython.int = where.column
    msg: cython.int = where.msg[where.order[k]]
    plain: cython.bint = op.order == PLAIN and not m.preserved
    memset(d, 0, 2 * m.width)
    if msg >= 0 and m.msgs[msg].cpu == cpu:
        memcpy(d, carried(m, msg, M_DV), 2 * m.width)  # forwarded: DV and DSV lie side by side
    elif msg >= 0 and not plain and not m.msgs[msg].plain:
        memcpy(d, carried(m, msg, M_VIEW), 2 * m.width)
        if k > at(m, cpu, COH)[c]:
            join(
                m, ds, locsv(m, cpu, c)
            )  # what another CPU has overwritten since, the CPU saw or wrote before this read
        d[c] = max(d[c], cython.cast(uint8_t, k))
    if msg >= 0 and m.msgs[msg].cpu != cpu and carried(m, msg, M_SV)[m.width - 1]:
        ds[m.width - 1] = 1  # a promise taints its readers, plain or not
    if plain:
        at(m, cpu, PSV)[m.width - 1] |= ds[m.width - 1]
        ds[m.width - 1] = 0
        if c >= 0:
            at(m, cpu, COH)[c] = max(at(m, cpu, COH)[c], cython.cast(uint8_t, k))
        if op.dst >= 0:
            memcpy(at(m, cpu, NR_VIEWS + 2 * op.dst), d, 2 * m.width)
        return
    if op.addr_deps:
        deps_into(m, cpu, op.addr_deps, d, ds)
    join(m, ds, at(m, cpu, ALLSV))
    join(m, ds, at(m, cpu, RSV))
    join(m, d, ds)
    d[m.width - 1] = 0
    if c >= 0:
        at(m, cpu, COH)[c] = max(at(m, cpu, COH)[c], cython.cast(uint8_t, k))
        if msg < 0 or not m.msgs[msg].plain:
            d[c] = max(d[c], cython.cast(uint8_t, k))
        join(m, locsv(m, cpu, c), ds)
    if pends:
        join(m, at(m, cpu, PEND), d)
        join(m, at(m, cpu, PSV), ds)
    if acquire:
        join(m, at(m, cpu, RFL), d)
        join(m, at(m, cpu, WFL), d)
        join(m, at(m, cpu, ALLSV), ds)
    if m.preserved:
        join(m, at(m, cpu, NR_VIEWS), d)
        join(m, at(m, cpu, NR_VIEWS + 1), ds)
    elif op.dst >= 0:
        memcpy(at(m, cpu, NR_VIEWS + 2 * op.dst), d, 2 * m.width)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_read(
    m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, op: cython.pointer(Op), uid: cython.int
) -> uint64_t:
    m.read_uid = uid
    m.write_uid = -1
    take_over(m, cpu, cython.address(m.locs[loc]), memory_position(m, loc, uid), op, op.order == ACQUIRE, True)
    return memory_value(m, loc, uid)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put(
    m: cython.pointer(Memory),
    cpu: cython.int,
    loc: cython.int,
    p: cython.int,
    value: uint64_t,
    op: cython.pointer(Op),
    event: cython.int,
    after: cython.int,
) -> cython.void:
    """Writes at position p; `after`: the message that an RMW read (-2: none, -1: the initial value)."""
    msg: cython.int = open_place(m, loc, p, cpu, event)
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    view: cython.pointer(uint8_t)
    sv: cython.pointer(uint8_t)
    dv: cython.pointer(uint8_t)
    deps: cython.pointer(uint8_t) = temp(m, 2)
    taint: cython.int = m.width - 1
    if msg < 0:
        return
    m.msgs[msg].value = value
    m.msgs[msg].glued = after != -2
    view = carried(m, msg, M_VIEW)
    sv = carried(m, msg, M_SV)
    dv = carried(m, msg, M_DV)
    memset(view, 0, NR_MSG_VIEWS * m.width)
    if op.order == PLAIN and not m.preserved:
        m.msgs[msg].plain = 1
        memset(deps, 0, 2 * m.width)
        deps_into(m, cpu, op.addr_deps, deps, temp(m, 3))
        sv[taint] = temp(m, 3)[taint] | at(m, cpu, ALLSV)[taint] | at(m, cpu, WSV)[taint]
        deps_into(m, cpu, op.data_deps, dv, carried(m, msg, M_DSV))
        at(m, cpu, COH)[where.column] = max(at(m, cpu, COH)[where.column], cython.cast(uint8_t, p))
        at(m, cpu, OWN)[where.column] = max(at(m, cpu, OWN)[where.column], cython.cast(uint8_t, p))
        return
    memcpy(view, at(m, cpu, WPUB), m.width)
    # What a read of this CPU itself depends on, when it is forwarded this value: data and address, not the branches.
    deps_into(m, cpu, op.addr_deps | op.data_deps, dv, carried(m, msg, M_DSV))
    if after != -2 and op.computed:
        join(m, dv, temp(m, 0))
        join(m, carried(m, msg, M_DSV), temp(m, 1))
    memset(deps, 0, 2 * m.width)
    deps_into(m, cpu, op.ctrl_deps, deps, temp(m, 3))
    join(m, sv, at(m, cpu, ALLSV))
    join(m, sv, at(m, cpu, WSV))
    join(m, sv, carried(m, msg, M_DSV))
    join(m, sv, temp(m, 3))
    join(m, sv, locsv(m, cpu, where.column))
    if op.order == RELEASE or op.order == FULL:
        if m.broken & BREAK_ACUM == 0:
            join(m, view, at(m, cpu, PEND))
        join(m, view, at(m, cpu, OWN))
        join(m, sv, at(m, cpu, PSV))
        join(m, sv, at(m, cpu, OSV))
    if after >= 0:
        join(m, view, carried(m, after, M_VIEW))
        join(m, sv, carried(m, after, M_SV))
    at(m, cpu, COH)[where.column] = max(at(m, cpu, COH)[where.column], cython.cast(uint8_t, p))
    join(m, at(m, cpu, OWN), view)
    at(m, cpu, OWN)[where.column] = max(at(m, cpu, OWN)[where.column], cython.cast(uint8_t, p))
    join(m, at(m, cpu, OSV), sv)
    join(m, locsv(m, cpu, where.column), sv)
    if m.broken & BREAK_SV:
        memset(sv, 0, m.width)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_write(
    m: cython.pointer(Memory),
    cpu: cython.int,
    loc: cython.int,
    op: cython.pointer(Op),
    uid: cython.int,
    event: cython.int,
) -> cython.void:
    """Writes right behind message `uid`."""
    m.read_uid = -1
    put(m, cpu, loc, memory_position(m, loc, uid) + 1, op.a, op, event, -2)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def rmw_result(op: cython.pointer(Op), old: uint64_t) -> uint64_t:
    value: uint64_t
    if op.kind == OP_CMPXCHG:
        value = op.b
    elif op.kind != OP_RMW:
        value = 1
    elif op.fn == FN_XCHG:
        value = op.a
    elif op.fn == FN_ADD:
        value = old + op.a
    elif op.fn == FN_OR:
        value = old | op.a
    elif op.fn == FN_AND:
        value = old & op.a
    else:
        value = old ^ op.a
    return value & cython.cast(uint64_t, 0xFFFFFFFF) if op.size == 4 else value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_rmw(
    m: cython.pointer(Memory),
    cpu: cython.int,
    loc: cython.int,
    op: cython.pointer(Op),
    uid: cython.int,
    event: cython.int,
) -> uint64_t:
    """Reads message `uid` and writes behind it; returns what it read."""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    old: uint64_t = memory_value(m, loc, uid)
    k: cython.int = memory_position(m, loc, uid)
    msg: cython.int = where.msg[uid]
    order: cython.int = op.order
    locks: cython.bint = op.kind == OP_LOCK or op.kind == OP_TRYLOCK
    m.read_uid = uid
    m.write_uid = -1
    m.inserted = False
    if (op.kind == OP_CMPXCHG and old != op.a) or (op.kind == OP_TRYLOCK and old != 0):
        take_over(m, cpu, where, k, op, False, True)
        return old
    if order == FULL:
        do_mb(m, cpu)
    take_over(m, cpu, where, k, op, order == ACQUIRE or locks, not op.silent)
    if locks and m.broken & BREAK_UNLOCK_LOCK == 0:
        if msg >= 0:
            join(m, at(m, cpu, WPUB), carried(m, msg, M_WOWN))
        join(m, at(m, cpu, WPUB), at(m, cpu, ULO))
        join(m, at(m, cpu, RFL), at(m, cpu, ULP))
        join(m, at(m, cpu, WFL), at(m, cpu, ULP))
        join(m, at(m, cpu, ALLSV), at(m, cpu, ULS))
    op.order = RELEASE if order == FULL or order == RELEASE else RELAXED
    put(m, cpu, loc, k + 1, rmw_result(op, old), op, event, msg)
    op.order = order
    if order == FULL:
        do_mb(m, cpu)
    return old


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_unlock(
    m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, op: cython.pointer(Op), event: cython.int
) -> cython.void:
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    own: cython.pointer(uint8_t) = temp(m, 4)
    strong: cython.pointer(uint8_t) = temp(m, 5)
    m.read_uid = -1
    memcpy(own, at(m, cpu, OWN), m.width)
    memcpy(strong, at(m, cpu, PSV), m.width)
    join(m, strong, at(m, cpu, OSV))
    join(m, at(m, cpu, ULP), at(m, cpu, PEND))
    op.order = RELEASE
    put(m, cpu, loc, where.nr, 0, op, event, -2)
    if m.write_uid >= 0:
        memcpy(carried(m, where.msg[m.write_uid], M_WOWN), own, m.width)
    join(m, at(m, cpu, ULO), own)
    join(m, at(m, cpu, ULS), strong)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_mb(m: cython.pointer(Memory), cpu: cython.int) -> cython.void:
    g: cython.pointer(uint8_t) = temp(m, 6)
    taint: cython.int = m.width - 1
    tainted: uint8_t = m.pool[taint]
    memcpy(g, at(m, cpu, PEND), m.width)
    join(m, g, at(m, cpu, OWN))
    join(m, g, at(m, cpu, COH))
    if m.broken & BREAK_MB_S == 0:
        join(m, g, m.pool)
        memcpy(m.pool, g, m.width)
        m.pool[taint] = tainted
    g[taint] = 0
    join(m, at(m, cpu, RFL), g)
    join(m, at(m, cpu, WFL), g)
    join(m, at(m, cpu, WPUB), g)
    join(m, at(m, cpu, PEND), g)
    join(m, at(m, cpu, PSV), g)
    join(m, at(m, cpu, PSV), at(m, cpu, OSV))
    join(m, at(m, cpu, ALLSV), at(m, cpu, PSV))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_rmb(m: cython.pointer(Memory), cpu: cython.int) -> cython.void:
    if m.broken & BREAK_RMB == 0:
        join(m, at(m, cpu, RFL), at(m, cpu, PEND))
        join(m, at(m, cpu, RSV), at(m, cpu, PSV))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_wmb(m: cython.pointer(Memory), cpu: cython.int) -> cython.void:
    if m.broken & BREAK_WMB == 0:
        join(m, at(m, cpu, WPUB), at(m, cpu, OWN))
        join(m, at(m, cpu, WSV), at(m, cpu, OSV))
        if m.broken & BREAK_WMB_ACUM:
            join(m, at(m, cpu, WPUB), at(m, cpu, PEND))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def do_follow(m: cython.pointer(Memory), cpu: cython.int, dead: cython.int) -> cython.void:
    """The CPU goes on after all that `dead` did: it has learnt from the kernel that the other is gone."""
    g: cython.pointer(uint8_t) = temp(m, 6)
    memcpy(g, at(m, dead, PEND), m.width)
    join(m, g, at(m, dead, OWN))
    join(m, g, at(m, dead, COH))
    g[m.width - 1] = 0
    join(m, at(m, cpu, COH), g)
    join(m, at(m, cpu, RFL), g)
    join(m, at(m, cpu, WFL), g)
    join(m, at(m, cpu, WPUB), g)
    join(m, at(m, cpu, PEND), g)
    join(m, at(m, cpu, ALLSV), at(m, dead, PSV))
    join(m, at(m, cpu, ALLSV), at(m, dead, OSV))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dep_set(m: cython.pointer(Memory), cpu: cython.int, dst: cython.int, mask: uint64_t) -> cython.void:
    """Dependency register dst := what the registers of `mask` depend on."""
    d: cython.pointer(uint8_t) = temp(m, 0)
    memset(d, 0, 2 * m.width)
    deps_into(m, cpu, mask, d, temp(m, 1))
    memcpy(at(m, cpu, NR_VIEWS + 2 * dst), d, 2 * m.width)
