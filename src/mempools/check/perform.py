"""One step of a simulated CPU: which choices its next operation has, what each does, what it races with.

A step is one visible operation of one CPU, together with its choice: the message that a read reads, the message behind
which a write goes, which sleeper a wake-up takes, whether the process dies here. Two steps are dependent when one makes
the other possible or impossible: a read reads the write; two RMWs want the same message; two full barriers (their order
is the model's S); futex queue operations of one word. A read and a *later* write commute, since the message that was read
stays readable; they race all the same, for had the write come first, the read had one more choice. Two writes commute:
each picks its place. (The one-way races of the view machine; the exploration that uses them is in explore.py.)
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.perform is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.errno import EAGAIN, ETIMEDOUT
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.check.ops import (
    ACQUIRE,
    FULL,
    OP_AWAIT_END,
    OP_CHOOSE,
    OP_CMPXCHG,
    OP_FUTEX_WAIT,
    OP_FUTEX_WAKE,
    OP_GRACE_END,
    OP_LOCK,
    OP_MB,
    OP_RCU_LOCK,
    OP_RCU_UNLOCK,
    OP_READ,
    OP_RELAX,
    OP_RMW,
    OP_START,
    OP_SYNCHRONIZE_RCU,
    OP_TRYLOCK,
    OP_UNLOCK,
    OP_WRITE,
    PLAIN,
    RELAXED,
    RELEASE,
    Op,
)
from cython.cimports.mempools.check.promise import (
    begin_promise,
    can_fulfil,
    fulfil,
    note_store,
    promises_of,
    put_promise,
)
from cython.cimports.mempools.check.races import meet, meet_waits, race, races_of_glue, races_of_write, unordered
from cython.cimports.mempools.check.rcu import grace_begins, grace_ends, section_begins, section_ends
from cython.cimports.mempools.check.record import record
from cython.cimports.mempools.check.rules import do_follow, do_mb, do_read, do_rmw, do_unlock, do_write, rmw_result
from cython.cimports.mempools.check.state import (
    BOUND_MESSAGES,
    CHOICE_DIE,
    CHOICE_FULFIL,
    CHOICE_INTERRUPT,
    CHOICE_PROMISE,
    CHOICE_TIMEOUT,
    CPU_ASLEEP,
    CPU_DEAD,
    CPU_FINISHED,
    CPU_READY,
    ENDED_BOUND,
    ENDED_FAILED,
    NR_SPIN_READS,
    Cpu,
    Engine,
    Event,
)
from cython.cimports.mempools.check.views import Loc, memory_newest, memory_value, read_mask, rmw_mask, write_mask

_ONE = cython.declare(uint64_t, 1)
_WAKE_ALL = cython.declare(cython.int, 8)  # a choice beside the numbers of the sleeping CPUs


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fail(e: cython.pointer(Engine), c: cython.int, why: cython.p_const_char) -> cython.void:
    """The execution violates a property, found by CPU c; -1: by nobody in it."""
    e.culprit = c
    e.ending = ENDED_FAILED
    e.why = why


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sleepers(e: cython.pointer(Engine), loc: cython.int) -> uint64_t:
    mask: uint64_t = 0
    c: cython.int
    for c in range(e.nr_cpus):
        if e.cpus[c].state == CPU_ASLEEP and e.cpus[c].sleeps_on == loc:
            mask |= _ONE << c
    return mask


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_rmw(kind: cython.int) -> cython.bint:
    return kind == OP_RMW or kind == OP_CMPXCHG or kind == OP_LOCK or kind == OP_TRYLOCK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def acts(e: cython.pointer(Engine), c: cython.int) -> cython.bint:
    """Can others see whether the CPU's next operation was done?"""
    kind: cython.int = e.cpus[c].op.kind
    return kind == OP_WRITE or is_rmw(kind) or kind == OP_UNLOCK or kind == OP_FUTEX_WAIT or kind == OP_FUTEX_WAKE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def available(e: cython.pointer(Engine), c: cython.int) -> uint64_t:
    """The choices of the CPU's next operation, a bit each; 0: it cannot go on now."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    op: cython.pointer(Op) = cython.address(cpu.op)
    kind: cython.int = op.kind
    mask: uint64_t = 1
    if cpu.state == CPU_FINISHED or cpu.state == CPU_DEAD:
        return 0
    if cpu.state == CPU_ASLEEP:
        return _ONE << CHOICE_DIE if cpu.may_die and e.deaths < e.max_deaths else 0
    if kind == OP_READ:
        mask = read_mask(cython.address(e.memory), c, cpu.loc, op)
    elif kind == OP_WRITE:
        mask = write_mask(cython.address(e.memory), c, cpu.loc, op)
    elif is_rmw(kind):
        mask = rmw_mask(cython.address(e.memory), c, cpu.loc, op)
    elif kind == OP_RELAX:
        mask = 0
    elif kind == OP_CHOOSE:
        mask = (_ONE << op.a) - 1
    elif kind == OP_GRACE_END:
        mask = cpu.awaits == 0
    elif kind == OP_AWAIT_END:
        mask = e.cpus[op.addr].state == CPU_FINISHED or e.cpus[op.addr].state == CPU_DEAD
    elif kind == OP_FUTEX_WAKE:
        mask = sleepers(e, cpu.loc)
        if (mask & (mask - 1)) == 0 or op.a > 1:
            mask = _ONE << _WAKE_ALL
    if e.promising:
        mask |= promises_of(e, c)
        if can_fulfil(e, c):
            mask |= _ONE << CHOICE_FULFIL
    if cpu.may_die and e.deaths < e.max_deaths and acts(e, c):
        mask |= _ONE << CHOICE_DIE
    if cpu.has_handler and not cpu.interrupted:
        mask |= _ONE << CHOICE_INTERRUPT
    return mask


# ---- races ----


# ---- doing it ----


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def full_barrier(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), fresh: cython.bint
) -> cython.void:
    meet(e, c, e.last_mb, mine, fresh)
    e.cpus[c].has_read = False
    mine.full = 1
    e.last_mb = e.depth


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def has_read(e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), fresh: cython.bint) -> cython.void:
    """Books the read of message `memory.read_uid`."""
    loc: cython.pointer(Loc) = cython.address(e.memory.locs[mine.loc])
    q: cython.int
    msg: cython.int
    if fresh:
        mine.read_uid = e.memory.read_uid
        mine.next_reader = loc.readers
        mine.lo_uid = loc.order[e.memory.lo]
        msg = loc.msg[mine.read_uid] if mine.read_uid else -1
        if msg >= 0 and e.memory.msgs[msg].cpu != c:
            for q in range(e.nr_cpus):
                if e.events[e.memory.msgs[msg].event].clock[q] > mine.clock[q]:
                    mine.clock[q] = e.events[e.memory.msgs[msg].event].clock[q]
    loc.readers = e.depth


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def perform_read(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), choice: cython.int, fresh: cython.bint
) -> cython.void:
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    mask: uint64_t
    if fresh:
        mask = read_mask(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op))
        if cpu.op.order == PLAIN and e.races and mask & (mask - 1):
            fail(e, c, b"data race: a plain read may see more than one value")
    cpu.result = do_read(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op), choice)
    has_read(e, c, mine, fresh)
    cpu.has_read = cpu.has_read or cpu.op.order != ACQUIRE
    spin_read(cpu, choice)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def spin_read(cpu: cython.pointer(Cpu), uid: cython.int) -> cython.void:
    i: cython.int
    for i in range(cpu.nr_spin_locs):
        if cpu.spin_locs[i] == cpu.loc and cpu.spin_read[i] == uid:
            return
    if cpu.nr_spin_locs < NR_SPIN_READS:
        cpu.spin_locs[cpu.nr_spin_locs] = cpu.loc
        cpu.spin_read[cpu.nr_spin_locs] = uid
        cpu.nr_spin_locs += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def perform_write(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), choice: cython.int, fresh: cython.bint
) -> cython.void:
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    promised: cython.bint = cpu.promises
    note_store(e, c, cpu.op.a)
    if choice == CHOICE_FULFIL:
        fulfil(e, c)
        return
    if fresh and cpu.op.order == PLAIN and e.races:
        write_mask(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op))
        if e.memory.lo != e.memory.locs[cpu.loc].nr - 1:
            fail(e, c, b"data race: a plain write is not ordered after the last write")
    if cpu.op.kind == OP_UNLOCK:
        do_unlock(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op), e.depth)
    elif promised:
        if cpu.promises_rmw:
            if fresh:
                races_of_glue(e, c, cpu.loc)
            e.memory.lo = 0
            e.memory.read_uid = choice  # which message is behind it, as if it were read now
            has_read(e, c, mine, fresh)
        put_promise(e, c, choice)
    else:
        do_write(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op), choice, e.depth)
    mine.write_uid = e.memory.write_uid
    cpu.spin_wrote = True
    meet_waits(e, c, mine, fresh)
    if fresh and mine.write_uid >= 0:
        races_of_write(e, c, mine.loc)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def perform_rmw(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), choice: cython.int, fresh: cython.bint
) -> cython.void:
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    i: cython.int
    old: uint64_t
    if fresh:
        rmw_mask(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op))
        for i in range(e.memory.nr_stolen):
            if unordered(e, e.memory.stolen[i], c):
                race(e, e.memory.stolen[i], c)
        if e.memory.behind_mb and unordered(e, e.last_mb, c):
            race(e, e.last_mb, c)
    if choice == CHOICE_FULFIL:
        fulfil(e, c)
        has_read(e, c, mine, fresh)
        cpu.spin_wrote = True
        return
    old = do_rmw(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op), choice, e.depth)
    cpu.result = old == 0 if cpu.op.kind == OP_TRYLOCK else old
    has_read(e, c, mine, fresh)
    mine.write_uid = e.memory.write_uid
    if mine.write_uid < 0:
        mine.kind = OP_READ
        cpu.has_read = True
        spin_read(cpu, choice)
        return
    note_store(e, c, rmw_result(cython.address(cpu.op), old))
    cpu.spin_wrote = True
    meet_waits(e, c, mine, fresh)
    cpu.has_read = cpu.has_read or cpu.op.order == RELAXED or cpu.op.order == RELEASE
    if cpu.op.order == FULL:
        full_barrier(e, c, mine, fresh)
    if fresh:
        races_of_write(e, c, cpu.loc)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def perform_wait(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), fresh: cython.bint
) -> cython.void:
    """The kernel compares the newest value and queues the caller, in one step."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    where: cython.pointer(Loc) = cython.address(e.memory.locs[cpu.loc])
    newest: cython.int = memory_newest(cython.address(e.memory), cpu.loc)
    k: cython.int
    for k in range(1, where.nr):  # each of them could have been the newest, had another not come
        if e.memory.msgs[where.msg[k]].cpu != c:
            meet(e, c, e.memory.msgs[where.msg[k]].event, mine, fresh)
    meet(e, c, where.last_wake, mine, fresh)
    e.memory.lo = where.nr - 1
    do_read(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op), newest)
    has_read(e, c, mine, fresh)
    cpu.last_wait = e.depth
    if memory_value(cython.address(e.memory), cpu.loc, newest) != cpu.op.a:
        cpu.result = cython.cast(uint64_t, -EAGAIN)
        return
    cpu.state = CPU_ASLEEP
    cpu.sleeps_on = cpu.loc


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def perform_wake(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), choice: cython.int, fresh: cython.bint
) -> cython.void:
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    asleep: uint64_t = sleepers(e, cpu.loc)
    q: cython.int
    meet(e, c, e.memory.locs[cpu.loc].last_wake, mine, fresh)
    meet_waits(e, c, mine, fresh)
    e.memory.locs[cpu.loc].last_wake = e.depth
    if choice != _WAKE_ALL:
        asleep = _ONE << choice
    cpu.result = 0
    e.woken = 0
    for q in range(e.nr_cpus):
        if asleep >> q & 1 and cpu.result < cpu.op.a:
            e.cpus[q].state = CPU_READY
            e.cpus[q].op.kind = OP_START  # it returns from the system call
            e.cpus[q].waker = e.depth
            e.cpus[q].sleeps_on = -1
            e.cpus[q].result = 0
            e.woken |= 1 << q
            cpu.result += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def perform_special(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), choice: cython.int, fresh: cython.bint
) -> cython.void:
    """A death, an interrupt, a time-out."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    mine.kind = -choice
    if choice == CHOICE_DIE:
        cpu.state = CPU_DEAD
        e.deaths += 1
    elif choice == CHOICE_INTERRUPT:
        cpu.interrupted = True
        cpu.saved = cpu.op
        cpu.saved_loc = cpu.loc
        cpu.frame = 1
        cpu.op.kind = OP_START
    else:
        meet(e, c, e.memory.locs[cpu.sleeps_on].last_wake, mine, fresh)
        cpu.last_wait = e.depth
        cpu.state = CPU_READY
        cpu.sleeps_on = -1
        cpu.result = cython.cast(uint64_t, -ETIMEDOUT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def perform(e: cython.pointer(Engine), c: cython.int, choice: cython.int) -> cython.bint:
    """Does the next operation of CPU c as event `depth`; true: the CPU runs on."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    mine: cython.pointer(Event) = cython.address(e.events[e.depth])
    kind: cython.int = cpu.op.kind
    fresh: cython.bint = e.depth >= e.fresh_from
    logged: Op
    if e.logging:
        logged = cpu.op  # as it was asked for
    cpu.nr_events += 1
    if fresh:
        mine.cpu = c
        mine.number = cpu.nr_events
        mine.loc = cpu.loc
        mine.kind = kind
        mine.choice = choice
        mine.read_uid = -1
        mine.write_uid = -1
        mine.full = 0
        if cpu.last >= 0:
            memcpy(mine.clock, e.events[cpu.last].clock, cython.sizeof(mine.clock))
        else:
            memset(mine.clock, 0, cython.sizeof(mine.clock))
    runs: cython.bint = not cpu.promises
    if choice >= CHOICE_PROMISE and choice < CHOICE_FULFIL:
        mine.kind = -choice
        begin_promise(e, c, choice)
        runs = False
    elif choice >= CHOICE_TIMEOUT:
        perform_special(e, c, mine, choice, fresh)
    elif kind == OP_READ:
        perform_read(e, c, mine, choice, fresh)
    elif kind == OP_WRITE or kind == OP_UNLOCK:
        perform_write(e, c, mine, choice, fresh)
    elif is_rmw(kind):
        perform_rmw(e, c, mine, choice, fresh)
    elif kind == OP_MB:
        full_barrier(e, c, mine, fresh)
        do_mb(cython.address(e.memory), c)
    elif kind == OP_RCU_LOCK:
        section_begins(e, c, mine, fresh)
    elif kind == OP_RCU_UNLOCK:
        section_ends(e, c)
    elif kind == OP_SYNCHRONIZE_RCU:
        full_barrier(e, c, mine, fresh)
        grace_begins(e, c, mine, fresh)
        runs = False
    elif kind == OP_GRACE_END:
        grace_ends(e, c, mine, fresh)
    elif kind == OP_FUTEX_WAIT:
        perform_wait(e, c, mine, fresh)
    elif kind == OP_FUTEX_WAKE:
        perform_wake(e, c, mine, choice, fresh)
    elif kind == OP_AWAIT_END:
        meet_end(e, c, mine, fresh)
    elif kind == OP_CHOOSE:
        cpu.result = choice
    elif kind == OP_START and cpu.waker >= 0:
        meet(e, c, cpu.waker, mine, fresh)
        cpu.waker = -1
    if fresh:
        mine.clock[c] = cython.cast(cython.short, mine.number)
    cpu.last = e.depth
    if e.logging:
        record(e, c, cython.address(logged), choice)
    if e.memory.overflow or e.memory.wants_width:
        e.ending = ENDED_BOUND
        if e.memory.overflow:
            e.bounds |= BOUND_MESSAGES
    return runs and cpu.state == CPU_READY


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def meet_end(e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), fresh: cython.bint) -> cython.void:
    """The CPU learns from the kernel how another has ended."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    other: cython.int = cython.cast(cython.int, cpu.op.addr)
    q: cython.int
    i: cython.int = e.cpus[other].last
    cpu.result = e.cpus[other].state == CPU_DEAD
    if fresh and i >= 0:
        for q in range(e.nr_cpus):
            if e.events[i].clock[q] > mine.clock[q]:
                mine.clock[q] = e.events[i].clock[q]
    if cpu.result:
        do_follow(cython.address(e.memory), c, other)
