"""The messages and views of the simulated CPUs: what there is to read, and where there is room to write.

What the operations do to the views is in rules.py, with the model's table. Here: locations, their messages in coherence
order, and the floors that say which choices an operation has (`*_mask`: a bit for each message, by uid).
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.views is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint8_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.ops import FULL, OP_CMPXCHG, OP_LOCK, OP_TRYLOCK, PLAIN, RELEASE, Op

_ONE = cython.declare(uint64_t, 1)

# The rules of the model that can be broken, to see whether a litmus test notices; see views.pxd.
RULES = {
    "strong view": BREAK_SV,
    "release is A-cumulative": BREAK_ACUM,
    "wmb is not A-cumulative": BREAK_WMB_ACUM,
    "rmb": BREAK_RMB,
    "wmb": BREAK_WMB,
    "full barriers share S": BREAK_MB_S,
    "unlock and lock": BREAK_UNLOCK_LOCK,
    "writes go between": BREAK_INSERT,
    "rmw is glued": BREAK_GLUE,
    "promises are not their own cause": BREAK_TAINT,
}


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_make(m: cython.pointer(Memory), nr_cpus: cython.int, width: cython.int, nr_regs: cython.int) -> cython.int:
    """An empty memory; `width` bytes a view, a multiple of 16. -1: no memory for it."""
    memset(m, 0, cython.sizeof(Memory))
    memset(m.hash, 0xFF, cython.sizeof(m.hash))
    m.nr_cpus = nr_cpus
    m.nr_regs = nr_regs
    return make_pool(m, width)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_pool(m: cython.pointer(Memory), width: cython.int) -> cython.int:
    m.width = width
    m.blocks = width // 16
    m.per_cpu = NR_VIEWS + 2 * m.nr_regs + width
    views: cython.int = NR_SHARED + m.nr_cpus * m.per_cpu + MAX_MSGS * NR_MSG_VIEWS + 8
    m.pool = cython.cast(cython.pointer(uint8_t), calloc(views, width))
    if m.pool == cython.NULL:
        return -1
    m.msg_pool = m.pool + width * (NR_SHARED + m.nr_cpus * m.per_cpu)
    m.scratch = m.msg_pool + width * (MAX_MSGS * NR_MSG_VIEWS)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_widen(m: cython.pointer(Memory)) -> cython.int:
    """Views twice as wide, empty; the locations stay. -1: no memory, or positions would not fit."""
    i: cython.int
    if m.width >= MAX_WIDTH:
        return -1
    free(m.pool)
    m.nr_columns = 0
    m.wants_width = False
    for i in range(m.nr_locs):
        m.locs[i].column = -1
    return make_pool(m, m.width * 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_free(m: cython.pointer(Memory)) -> cython.void:
    free(m.pool)
    m.pool = cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_reset(m: cython.pointer(Memory)) -> cython.void:
    """The initial values again. Locations keep their numbers and columns: choices of one execution mean the same in the
    next."""
    i: cython.int
    memset(m.pool, 0, m.width * (NR_SHARED + m.nr_cpus * m.per_cpu))
    m.nr_msgs = 0
    m.overflow = False
    for i in range(m.nr_locs):
        m.locs[i].nr = 1
        m.locs[i].readers = -1
        m.locs[i].last_wake = -1


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def slot_of(m: cython.pointer(Memory), addr: uint64_t) -> cython.int:
    """Where a location is in the hash table, or the empty place for it."""
    h: uint64_t = ((addr >> 2) * cython.cast(uint64_t, 0x9E3779B97F4A7C15)) >> 52
    while m.hash[h & (LOC_HASH - 1)] >= 0 and m.locs[m.hash[h & (LOC_HASH - 1)]].addr != addr:
        h += 1
    return cython.cast(cython.int, h & (LOC_HASH - 1))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_find(m: cython.pointer(Memory), addr: uint64_t) -> cython.int:
    """The location's number; -1: nobody has touched it."""
    return m.hash[slot_of(m, addr)]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_loc(
    m: cython.pointer(Memory), addr: uint64_t, size: cython.int, initial: uint64_t, fresh: cython.pointer(cython.bint)
) -> cython.int:
    """The location's number, a new one where there is none yet; -1: too many."""
    h: cython.int = slot_of(m, addr)
    loc: cython.pointer(Loc)
    fresh[0] = m.hash[h] < 0
    if m.hash[h] < 0:
        if m.nr_locs == MAX_LOCS:
            m.overflow = True
            return -1
        loc = cython.address(m.locs[m.nr_locs])
        loc.addr = addr
        loc.size = size
        loc.initial = initial
        loc.column = -1
        loc.nr = 1
        loc.readers = -1
        loc.last_wake = -1
        loc.order[0] = 0
        loc.msg[0] = -1
        m.hash[h] = m.nr_locs
        m.nr_locs += 1
    return m.hash[h]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_position(m: cython.pointer(Memory), loc: cython.int, uid: cython.int) -> cython.int:
    k: cython.int = 0
    while m.locs[loc].order[k] != uid:
        k += 1
    return k


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_value(m: cython.pointer(Memory), loc: cython.int, uid: cython.int) -> uint64_t:
    return m.msgs[m.locs[loc].msg[uid]].value if uid else m.locs[loc].initial


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_known(m: cython.pointer(Memory), cpu: cython.int, loc: cython.int) -> uint64_t:
    """The value that the CPU has read or written last."""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    return memory_value(m, loc, 0 if where.column < 0 else where.order[at(m, cpu, COH)[where.column]])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_newest(m: cython.pointer(Memory), loc: cython.int) -> cython.int:
    return m.locs[loc].order[m.locs[loc].nr - 1]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def open_place(
    m: cython.pointer(Memory), loc: cython.int, p: cython.int, cpu: cython.int, event: cython.int
) -> cython.int:
    """A new message at position p: its index; -1 with `overflow` or `wants_width` set."""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    k: cython.int
    msg: cython.pointer(Msg)
    if where.column < 0:
        if m.nr_columns == m.width - 1:
            m.wants_width = True
            return -1
        where.column = m.nr_columns
        m.nr_columns += 1
    if where.nr == MAX_PER_LOC or m.nr_msgs == MAX_MSGS:
        m.overflow = True
        return -1
    m.inserted = p < where.nr
    if p < where.nr:
        mp_shift_column(m.pool, NR_SHARED + m.nr_cpus * m.per_cpu + m.nr_msgs * NR_MSG_VIEWS, m.width, where.column, p)
        k = where.nr
        while k > p:
            where.order[k] = where.order[k - 1]
            k -= 1
    where.order[p] = cython.cast(uint8_t, where.nr)
    where.msg[where.nr] = m.nr_msgs
    msg = cython.address(m.msgs[m.nr_msgs])
    msg.cpu = cpu
    msg.event = event
    msg.loc = loc
    msg.uid = cython.cast(uint8_t, where.nr)
    msg.glued = 0
    msg.promised = 0
    msg.plain = 0
    m.write_uid = where.nr
    where.nr += 1
    m.nr_msgs += 1
    return m.nr_msgs - 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def memory_store(m: cython.pointer(Memory), loc: cython.int, value: uint64_t) -> cython.void:
    """After the execution, when nobody runs: makes `value` the newest."""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    if where.nr > 1 or open_place(m, loc, 1, 0, 0) >= 0:
        m.msgs[where.msg[where.order[where.nr - 1]]].value = value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_mask(m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, op: cython.pointer(Op)) -> uint64_t:
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    mask: uint64_t = 0
    k: cython.int
    m.lo = 0
    if where.column < 0:
        return 1
    m.lo = max(
        floor_of(m, cpu, where.column, RFL, ALLSV, RSV),
        deps_at(m, cpu, where.column, op.addr_deps),
    )
    for k in range(m.lo, where.nr):
        if not own_promise(m, where, k, cpu):
            mask |= _ONE << where.order[k]
    return mask


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_floor(m: cython.pointer(Memory), cpu: cython.int, column: cython.int, op: cython.pointer(Op)) -> cython.int:
    """A write comes after this position."""
    deps: uint64_t = op.addr_deps
    if op.order != PLAIN or m.preserved:  # the compiler may store early, and take back what it stored
        deps |= op.data_deps | op.ctrl_deps
    f: cython.int = max(floor_of(m, cpu, column, WFL, ALLSV, WSV), deps_at(m, cpu, column, deps))
    if op.order == RELEASE or op.order == FULL:
        f = max(f, floor_of(m, cpu, column, PEND, OWN, OWN))
    return f


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_mask(m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, op: cython.pointer(Op)) -> uint64_t:
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    mask: uint64_t = _ONE << where.order[where.nr - 1]
    k: cython.int
    m.lo = where.nr - 1
    if where.column < 0 or m.broken & BREAK_INSERT:
        return mask
    m.lo = write_floor(m, cpu, where.column, op)
    for k in range(m.lo, where.nr - 1):
        if not glued_after(m, where, k):
            mask |= _ONE << where.order[k]
    return mask


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rmw_mask(m: cython.pointer(Memory), cpu: cython.int, loc: cython.int, op: cython.pointer(Op)) -> uint64_t:
    """For RMW, compare-and-swap, lock and trylock: the messages it may read. Notes which RMWs of others have taken a
    message that it could have taken (`stolen`), and whether one would be free but for their full barriers."""
    where: cython.pointer(Loc) = cython.address(m.locs[loc])
    mask: uint64_t = 0
    value: uint64_t
    k: cython.int
    floor: cython.int = 0
    c: cython.int = where.column
    shared: cython.int = 0  # position that other CPUs' full barriers have made known
    m.nr_stolen = 0
    m.behind_mb = False
    m.lo = 0
    if c >= 0:
        m.lo = max(floor_of(m, cpu, c, RFL, ALLSV, RSV), deps_at(m, cpu, c, op.addr_deps))
        floor = max(
            floor_of(m, cpu, c, WFL, ALLSV, WSV), deps_at(m, cpu, c, op.addr_deps | op.data_deps | op.ctrl_deps)
        )
        if op.order == RELEASE or op.order == FULL:
            floor = max(floor, floor_of(m, cpu, c, PEND, OWN, OWN))
        if op.order == FULL:
            floor = max(floor, floor_of(m, cpu, c, RFL, RFL, RFL))
            shared = m.pool[c]
    for k in range(m.lo, where.nr):
        if own_promise(m, where, k, cpu):
            continue
        value = memory_value(m, loc, where.order[k])
        if (op.kind == OP_CMPXCHG and value != op.a) or (op.kind == OP_TRYLOCK and value != 0):
            mask |= _ONE << where.order[k]  # it fails: a read
        elif (op.kind == OP_LOCK and value != 0) or k < floor:
            continue
        elif glued_after(m, where, k):
            m.stolen[m.nr_stolen] = m.msgs[where.msg[where.order[k + 1]]].event
            m.nr_stolen += 1
        elif k < shared:
            m.behind_mb = True
        else:
            mask |= _ONE << where.order[k]
    return mask
