"""Which execution comes next: depth-first search with source sets and sleep sets.

The algorithm is Source-DPOR (Abdulla, Aronis, Jonsson, Sagonas, "Optimal dynamic partial order reduction", POPL 2014):
one CPU is explored at a node; a race found later adds to the node's `backtrack` set a CPU that starts an execution in which
the race goes the other way; what has been explored at a node sleeps in the nodes below until something dependent happens.
Two things differ, because a step here is an operation *with its choice*:
- the sleep sets hold choices, not CPUs. A read whose older messages were explored before a write sleeps only for those;
  after the write it wakes up for the new message alone. That makes the one-way races of perform.py cheap: reversing
  "read, later write" costs nothing but the executions in which the read reads that write.
- a write that sleeps does so for gaps between messages; when another message goes into a gap, both halves sleep.

Each execution is run from the start, its path given by the nodes; events before the node that changed are done again
without looking for races.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.explore is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import int32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.check.ops import (
    OP_CMPXCHG,
    OP_FUTEX_WAIT,
    OP_FUTEX_WAKE,
    OP_GRACE_END,
    OP_LOCK,
    OP_MB,
    OP_READ,
    OP_RELAX,
    OP_RMW,
    OP_SYNCHRONIZE_RCU,
    OP_TRYLOCK,
    OP_WRITE,
    Op,
)
from cython.cimports.mempools.check.perform import available, perform
from cython.cimports.mempools.check.races import clash, race
from cython.cimports.mempools.check.state import (
    BOUND_PREEMPTIONS,
    BOUND_STEPS,
    CHOICE_TIMEOUT,
    CPU_ASLEEP,
    CPU_DEAD,
    CPU_FINISHED,
    CPU_READY,
    ENDED_ASLEEP,
    ENDED_BOUND,
    ENDED_BROKEN,
    ENDED_COMPLETE,
    ENDED_CUT,
    ENDED_DEADLOCK,
    ENDED_SPINNING,
    Cpu,
    Engine,
    Event,
    Node,
)
from cython.cimports.mempools.check.views import Loc, memory_newest, rmw_mask

_ONE = cython.declare(uint64_t, 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def rank(kind: cython.int) -> cython.int:
    """Which operations go first where there is a choice: a write that has been done spares its readers a reversal."""
    if kind == OP_READ or kind == OP_FUTEX_WAIT:
        return 1
    if kind == OP_RMW or kind == OP_CMPXCHG or kind == OP_LOCK or kind == OP_TRYLOCK:
        return 2
    return 3 if kind == OP_MB or kind == OP_SYNCHRONIZE_RCU or kind == OP_GRACE_END else 0


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def pick(e: cython.pointer(Engine), c: cython.int, awake: uint64_t) -> cython.int:
    """The first choice to explore: the newest message, then the others, deaths and interrupts last."""
    newest: cython.int
    data: uint64_t = awake & ((_ONE << CHOICE_TIMEOUT) - 1)
    i: cython.int = 0
    if data == 0:
        data = awake
    elif data & (data - 1) and e.cpus[c].loc >= 0:
        newest = memory_newest(cython.address(e.memory), e.cpus[c].loc)
        if data >> newest & 1:
            return newest
    while not data >> i & 1:
        i += 1
    return i


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_choice(e: cython.pointer(Engine), node: cython.pointer(Node), c: cython.int, awake: uint64_t) -> cython.void:
    node.cpu = c
    node.choice = pick(e, c, awake)
    node.remaining = awake & ~(_ONE << node.choice)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def stuck(e: cython.pointer(Engine)) -> cython.int:
    """Nobody can go on: how has this execution ended?"""
    c: cython.int
    i: cython.int
    cpu: cython.pointer(Cpu)
    where: cython.pointer(Loc)
    blocked: cython.bint = False
    for c in range(e.nr_cpus):
        cpu = cython.address(e.cpus[c])
        if cpu.state == CPU_FINISHED or cpu.state == CPU_DEAD:
            continue
        blocked = True
        if cpu.state == CPU_READY and cpu.op.kind == OP_RELAX:
            for i in range(cpu.nr_spin_locs):
                where = cython.address(e.memory.locs[cpu.spin_locs[i]])
                if where.column >= 0 and cpu.spin_read[i] != where.order[where.nr - 1]:
                    return ENDED_SPINNING
    return ENDED_DEADLOCK if blocked else ENDED_COMPLETE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def races_of_blocked(e: cython.pointer(Engine)) -> cython.void:
    """What the CPUs that cannot go on race with: an operation that was taken from them would have been possible earlier."""
    c: cython.int
    i: cython.int
    cpu: cython.pointer(Cpu)
    for c in range(e.nr_cpus):
        cpu = cython.address(e.cpus[c])
        if cpu.state == CPU_READY and cpu.op.kind == OP_LOCK:
            rmw_mask(cython.address(e.memory), c, cpu.loc, cython.address(cpu.op))
            for i in range(e.memory.nr_stolen):
                if (
                    cpu.last < 0
                    or e.events[cpu.last].clock[e.events[e.memory.stolen[i]].cpu] < e.events[e.memory.stolen[i]].number
                ):
                    race(e, e.memory.stolen[i], c)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def preempts(e: cython.pointer(Engine), c: cython.int) -> cython.bint:
    """Would running CPU c now take the processor from one that could go on?"""
    last: cython.int = e.events[e.depth - 1].cpu if e.depth else c
    return last != c and available(e, last) != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def choose(e: cython.pointer(Engine), node: cython.pointer(Node)) -> cython.bint:
    """Decides who goes on at a new node, and with which choice; false: nobody, and `ending` says why."""
    r: cython.int
    i: cython.int
    c: cython.int
    mask: uint64_t
    enabled: cython.bint = False
    first: cython.int = e.events[e.depth - 1].cpu if e.depth else 0
    sticky: cython.bint = e.max_preemptions >= 0 and e.depth > 0 and node.preemptions >= e.max_preemptions
    for r in range(4):
        for i in range(e.nr_cpus):
            c = first + i
            if c >= e.nr_cpus:
                c -= e.nr_cpus
            if e.cpus[c].state != CPU_READY or (rank(e.cpus[c].op.kind) != r and not sticky):
                continue
            mask = available(e, c)
            if mask:
                enabled = True
                if mask & ~node.sleep[c]:
                    node.backtrack = (1 << e.nr_cpus) - 1 if e.no_reduction or e.cut else 1 << c
                    set_choice(e, node, c, mask & ~node.sleep[c])
                    return True
                if sticky:
                    e.ending = ENDED_ASLEEP
                    return False
    if not enabled and e.timeouts:
        for c in range(e.nr_cpus):
            if e.cpus[c].state == CPU_ASLEEP and e.cpus[c].op.b:
                enabled = True
                if not node.sleep[c] >> CHOICE_TIMEOUT & 1:
                    node.backtrack = 1 << c
                    set_choice(e, node, c, _ONE << CHOICE_TIMEOUT)
                    return True
    for c in range(e.nr_cpus):
        mask = available(e, c) & ~node.sleep[c] if e.cpus[c].state == CPU_ASLEEP and enabled else 0
        if mask:  # the death of a sleeper
            node.backtrack = 1 << c
            set_choice(e, node, c, mask)
            return True
    e.ending = ENDED_ASLEEP if enabled else ENDED_BROKEN if e.outstanding else stuck(e)
    return False


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def futex_wakes(e: cython.pointer(Engine), c: cython.int, event: cython.pointer(Event)) -> cython.bint:
    """Does the event bear on what CPU c does next with the futex of the same word?"""
    if e.cpus[c].state == CPU_ASLEEP:
        return event.kind == OP_FUTEX_WAKE
    if e.cpus[c].op.kind == OP_FUTEX_WAIT:
        return event.write_uid >= 0 or event.kind == OP_FUTEX_WAKE
    if e.cpus[c].op.kind == OP_FUTEX_WAKE:
        return event.kind == OP_FUTEX_WAIT or event.kind == OP_FUTEX_WAKE or event.kind == -CHOICE_TIMEOUT
    # A wait has read the newest message: a write that comes first would have been that.
    return event.kind == OP_FUTEX_WAIT and e.cpus[c].op.kind != OP_READ


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def inherit(e: cython.pointer(Engine), node: cython.pointer(Node), event: cython.pointer(Event)) -> cython.void:
    """The sleep sets of the next node: what slept here and does not depend on this event."""
    below: cython.pointer(Node) = cython.address(e.nodes[e.depth + 1])
    c: cython.int
    kind: cython.int
    sleep: uint64_t
    behind: cython.int = -1
    op: cython.pointer(Op)
    below.done = 0
    below.fixed = 0
    below.choice = -1
    below.tried = 0
    below.preemptions = node.preemptions
    memset(below.sleep, 0, cython.sizeof(below.sleep))
    if e.no_reduction:
        return
    if event.write_uid >= 0:
        behind = before_in_order(e, event.loc, event.write_uid)
    for c in range(e.nr_cpus):
        sleep = node.sleep[c]
        if sleep == 0 or c == event.cpu:
            continue
        op = cython.address(e.cpus[c].op)
        kind = op.kind
        if clash(op, event):
            sleep = 0
        elif event.loc == e.cpus[c].loc and event.loc >= 0:
            if futex_wakes(e, c, event):
                sleep = 0
            elif kind == OP_WRITE and not e.cpus[c].promises_rmw and behind >= 0 and sleep >> behind & 1:
                sleep |= _ONE << event.write_uid
        below.sleep[c] = sleep


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def before_in_order(e: cython.pointer(Engine), loc: cython.int, uid: cython.int) -> cython.int:
    """The message right before `uid` in coherence order."""
    k: cython.int = 0
    while e.memory.locs[loc].order[k] != uid:
        k += 1
    return e.memory.locs[loc].order[k - 1]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def possible(e: cython.pointer(Engine), node: cython.pointer(Node)) -> cython.bint:
    """Is there the step that the node asks for?"""
    if available(e, node.cpu) >> node.choice & 1:
        return True
    return node.choice == CHOICE_TIMEOUT and e.cpus[node.cpu].state == CPU_ASLEEP


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def strays(e: cython.pointer(Engine), node: cython.pointer(Node)) -> cython.bint:
    """On the path of the last execution: does a body, in a language where it may, ask for something else this time?"""
    op: cython.pointer(Op) = cython.address(e.cpus[node.cpu].op)
    event: cython.pointer(Event) = cython.address(e.events[e.depth])
    asked: int32_t = op.kind | op.order << 5 | op.fn << 8 | op.size << 11 | (e.cpus[node.cpu].loc + 1) << 16
    if e.depth < e.fresh_from:
        return event.asked != asked or event.asked_a != op.a or not possible(e, node)
    event.asked = asked
    event.asked_a = op.a
    return e.depth == e.fresh_from and not possible(e, node)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def advance(e: cython.pointer(Engine)) -> cython.int:
    """Does steps until a CPU runs on: which; -1: the execution has ended."""
    node: cython.pointer(Node)
    runs: cython.bint
    mask: uint64_t
    while e.ending < 0:
        if e.depth >= e.max_steps:
            e.bounds |= BOUND_STEPS
            e.ending = ENDED_BOUND
            break
        if e.cut and e.depth == e.cut:
            e.ending = ENDED_CUT
            break
        node = cython.address(e.nodes[e.depth])
        if e.depth >= e.nr_nodes:
            if not choose(e, node):
                break
            e.nr_nodes = e.depth + 1
        elif node.choice < 0:
            mask = available(e, node.cpu) & ~node.sleep[node.cpu]
            if mask == 0:
                e.ending = ENDED_ASLEEP
                node.remaining = 0
                break
            set_choice(e, node, node.cpu, mask)
        if e.checked and e.depth < e.floor and not possible(e, node):
            e.impossible = True
            e.ending = ENDED_BOUND
            break
        if e.fibers.begin != cython.NULL and strays(e, node):
            e.strayed = True
            e.ending = ENDED_BOUND
            break
        if e.max_preemptions >= 0 and e.depth >= e.fresh_from and preempts(e, node.cpu):
            if node.preemptions == e.max_preemptions:
                e.bounds |= BOUND_PREEMPTIONS
                e.ending = ENDED_BOUND
                break
            node.preemptions += 1
        runs = perform(e, node.cpu, node.choice)
        if e.depth + 1 >= e.nr_nodes and e.ending < 0:
            inherit(e, node, cython.address(e.events[e.depth]))
            if e.seeded and e.depth + 1 == e.floor:
                memcpy(e.nodes[e.floor].sleep, e.seed, cython.sizeof(e.seed))
        e.depth += 1
        e.steps += 1
        if runs and e.ending < 0:
            return node.cpu
    if e.ending != ENDED_COMPLETE and e.depth >= e.fresh_from:
        races_of_blocked(e)
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def next_path(e: cython.pointer(Engine)) -> cython.bint:
    """Turns the path to the next execution; false: the tree has been explored."""
    i: cython.int = e.nr_nodes - 1
    node: cython.pointer(Node)
    todo: cython.int
    while i >= e.floor:
        node = cython.address(e.nodes[i])
        e.fresh_from = i
        e.nr_nodes = i + 1
        if node.choice >= 0:
            node.sleep[node.cpu] |= _ONE << node.choice
            node.tried += 1
            if node.remaining:
                node.choice = 0
                while not node.remaining >> node.choice & 1:
                    node.choice += 1
                node.remaining &= node.remaining - 1
                return True
        node.done |= 1 << node.cpu
        todo = node.backtrack & ~node.done
        if todo:
            node.cpu = 0
            while not todo >> node.cpu & 1:
                node.cpu += 1
            node.choice = -1
            return True
        i -= 1
    return False


# ---- distinct executions ----


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def mix(h: uint64_t) -> uint64_t:
    h ^= h >> 30
    h *= cython.cast(uint64_t, 0xBF58476D1CE4E5B9)
    h ^= h >> 27
    h *= cython.cast(uint64_t, 0x94D049BB133111EB)
    return h ^ (h >> 31)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def name_of(e: cython.pointer(Engine), loc: cython.int, uid: cython.int) -> uint64_t:
    """Who wrote message `uid`, in terms that do not depend on the order of execution."""
    i: cython.int
    if uid == 0:
        return cython.cast(uint64_t, loc) << 32 | 0xFFFFFF
    i = e.memory.msgs[e.memory.locs[loc].msg[uid]].event
    return cython.cast(uint64_t, e.events[i].cpu) << 24 | e.graph_number[i]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_graph(e: cython.pointer(Engine)) -> cython.void:
    """Counts the execution's graph (who reads from whom, coherence order), if it is a new one."""
    hash: uint64_t = 0x1234567
    i: cython.int
    k: cython.int
    loc: cython.int
    numbers: int32_t[8]
    event: cython.pointer(Event)
    memset(numbers, 0, cython.sizeof(numbers))
    for i in range(e.depth):
        event = cython.address(e.events[i])
        if event.kind <= -CHOICE_TIMEOUT or event.read_uid >= 0 or event.write_uid >= 0:
            numbers[event.cpu] += 1
        e.graph_number[i] = numbers[event.cpu]
        if event.kind <= -CHOICE_TIMEOUT:
            hash += mix(mix(cython.cast(uint64_t, event.cpu) << 24 | numbers[event.cpu]) + event.choice)
    for i in range(e.depth):
        event = cython.address(e.events[i])
        if event.read_uid >= 0:
            hash += mix(
                mix(cython.cast(uint64_t, event.cpu) << 24 | e.graph_number[i])
                + 3 * name_of(e, event.loc, event.read_uid)
            )
    for loc in range(e.memory.nr_locs):
        for k in range(1, e.memory.locs[loc].nr):
            hash += mix(
                mix(name_of(e, loc, e.memory.locs[loc].order[k])) + 5 * name_of(e, loc, e.memory.locs[loc].order[k - 1])
            )
    keep_graph(e, hash | 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def keep_graph(e: cython.pointer(Engine), hash: uint64_t) -> cython.void:
    slot: uint64_t
    i: uint64_t
    old: cython.pointer(uint64_t) = e.graph_set
    slots: uint64_t = e.graph_slots
    if (e.nr_graphs + 1) * 2 > e.graph_slots:
        e.graph_slots = e.graph_slots * 2 if e.graph_slots else 1024
        e.graph_set = cython.cast(cython.pointer(uint64_t), calloc(e.graph_slots, 8))
        if e.graph_set == cython.NULL:
            e.graph_set = old
            e.graph_slots = slots
            e.graphs = False
            return
        e.nr_graphs = 0
        for i in range(slots):
            if old[i]:
                keep_graph(e, old[i])
        free(old)
    slot = hash & (e.graph_slots - 1)
    while e.graph_set[slot]:
        if e.graph_set[slot] == hash:
            return
        slot = (slot + 1) & (e.graph_slots - 1)
    e.graph_set[slot] = hash
    e.nr_graphs += 1
