"""RCU: read-side sections and grace periods.

The law: of a section and a grace period, one comes first. Either the section began first; then the grace period waits for
its end, and what the section's CPU knew at its end every CPU knows when the grace period ends. Or the grace period began
first; then what its CPU knew at its beginning every CPU knows when the section begins. Which of the two it is, the order of
the two beginnings says: both are explored.

A grace period is two events, and a full barrier at each. Sections do not nest here: bodies ask for the outermost alone.

  ENDED    what the CPUs of all sections that have ended knew at their ends
  BEGUN    what the CPUs of all grace periods that have begun knew then; every section takes it over as it begins
  GRACE    of a CPU: what the sections that its grace period comes after knew at their ends; full barriers share it from the
           end of the grace period on

Each has a strong view beside it (see rules.py).
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.rcu is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint8_t, uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.check.ops import OP_GRACE_END
from cython.cimports.mempools.check.races import meet, race
from cython.cimports.mempools.check.rules import do_mb
from cython.cimports.mempools.check.state import Cpu, Engine, Event
from cython.cimports.mempools.check.views import (
    ALLSV,
    COH,
    GRACE,
    GRACE_SV,
    OSV,
    OWN,
    PEND,
    PSV,
    RFL,
    S_BEGUN,
    S_BEGUN_SV,
    S_ENDED,
    S_ENDED_SV,
    WFL,
    WPUB,
    Memory,
    at,
    join,
    shared,
    temp,
)

_ONE = cython.declare(uint64_t, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def known(m: cython.pointer(Memory), c: cython.int) -> cython.pointer(uint8_t):
    """What the CPU knows now; the view behind it is the strong one."""
    view: cython.pointer(uint8_t) = temp(m, 0)
    strong: cython.pointer(uint8_t) = temp(m, 1)
    memcpy(view, at(m, c, PEND), m.width)
    join(m, view, at(m, c, OWN))
    join(m, view, at(m, c, COH))
    view[m.width - 1] = 0  # a promise taints what follows it: only the strong view does
    memcpy(strong, at(m, c, PSV), m.width)
    join(m, strong, at(m, c, OSV))
    return view


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def section_begins(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), fresh: cython.bint
) -> cython.void:
    m: cython.pointer(Memory) = cython.address(e.memory)
    begun: cython.pointer(uint8_t) = shared(m, S_BEGUN)
    if fresh:
        mine.next_reader = e.last_section
    meet(e, c, e.last_grace, mine, fresh)
    e.last_section = e.depth
    e.cpus[c].section = e.depth + 1
    join(m, at(m, c, RFL), begun)
    join(m, at(m, c, WFL), begun)
    join(m, at(m, c, WPUB), begun)
    join(m, at(m, c, PEND), begun)
    join(m, at(m, c, PSV), begun)
    join(m, at(m, c, PSV), shared(m, S_BEGUN_SV))
    join(m, at(m, c, ALLSV), begun)
    join(m, at(m, c, ALLSV), shared(m, S_BEGUN_SV))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def section_ends(e: cython.pointer(Engine), c: cython.int) -> cython.void:
    m: cython.pointer(Memory) = cython.address(e.memory)
    view: cython.pointer(uint8_t) = known(m, c)
    q: cython.int
    join(m, shared(m, S_ENDED), view)
    join(m, shared(m, S_ENDED_SV), temp(m, 1))
    for q in range(e.nr_cpus):
        if e.cpus[q].awaits >> c & 1:
            e.cpus[q].awaits &= ~(_ONE << c)
            join(m, at(m, q, GRACE), view)
            join(m, at(m, q, GRACE_SV), temp(m, 1))
    e.events[e.cpus[c].section - 1].lo_uid = e.depth
    e.cpus[c].section = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grace_begins(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), fresh: cython.bint
) -> cython.void:
    m: cython.pointer(Memory) = cython.address(e.memory)
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    i: cython.int = e.last_section
    q: cython.int
    if fresh:
        mine.next_reader = i
    while fresh and i >= 0:
        meet(e, c, i, mine, fresh)
        i = e.events[i].next_reader
    do_mb(m, c)
    join(m, shared(m, S_BEGUN), known(m, c))
    join(m, shared(m, S_BEGUN_SV), temp(m, 1))
    memcpy(at(m, c, GRACE), shared(m, S_ENDED), m.width)
    memcpy(at(m, c, GRACE_SV), shared(m, S_ENDED_SV), m.width)
    for q in range(e.nr_cpus):
        if e.cpus[q].section:
            cpu.awaits |= _ONE << q
    e.last_grace = e.depth
    cpu.op.kind = OP_GRACE_END


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def follow(e: cython.pointer(Engine), i: cython.int, mine: cython.pointer(Event)) -> cython.void:
    """Event i happens before this one."""
    q: cython.int
    for q in range(e.nr_cpus):
        if e.events[i].clock[q] > mine.clock[q]:
            mine.clock[q] = e.events[i].clock[q]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grace_ends(
    e: cython.pointer(Engine), c: cython.int, mine: cython.pointer(Event), fresh: cython.bint
) -> cython.void:
    m: cython.pointer(Memory) = cython.address(e.memory)
    i: cython.int = e.events[e.cpus[c].last].next_reader  # the sections that began before the grace period did
    while fresh and i >= 0:
        follow(e, e.events[i].lo_uid, mine)
        i = e.events[i].next_reader
    # A full barrier that comes before the end of one of those cannot come after this one: no race.
    i = e.last_mb
    if fresh and mine.clock[e.events[i].cpu] < e.events[i].number:
        race(e, i, c)
        follow(e, i, mine)
    mine.full = 1
    e.last_mb = e.depth
    join(m, m.pool, at(m, c, GRACE))
    do_mb(m, c)
    join(m, at(m, c, PSV), at(m, c, GRACE_SV))
    join(m, at(m, c, ALLSV), at(m, c, GRACE_SV))
