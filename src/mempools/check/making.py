"""An engine: made, freed, and put back to the start of an execution."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.making is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.check.state import NR_FRAMES, STACK_BYTES, Cpu, Engine, Region
from cython.cimports.mempools.check.views import memory_free, memory_make, memory_reset


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_make(nr_cpus: cython.int, width: cython.int, nr_regs: cython.int) -> cython.pointer(Engine):
    """An engine with no bodies yet; NULL: no memory."""
    e: cython.pointer(Engine) = cython.cast(cython.pointer(Engine), calloc(1, cython.sizeof(Engine)))
    if e == cython.NULL:
        return e
    e.nr_cpus = nr_cpus
    e.current = -1
    e.max_steps = 2000
    e.max_spins = 3
    e.max_preemptions = -1
    e.max_deaths = 1
    e.timeouts = 1
    e.races = True
    e.graphs = True
    e.stacks = cython.cast(cython.p_char, malloc((nr_cpus * NR_FRAMES + 1) * STACK_BYTES))
    if e.stacks == cython.NULL or memory_make(cython.address(e.memory), nr_cpus, width, nr_regs) < 0:
        free(e.stacks)
        free(e)
        return cython.NULL
    return e


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_free(e: cython.pointer(Engine)) -> cython.void:
    i: cython.int
    if e == cython.NULL:
        return
    for i in range(e.nr_regions):
        free(e.regions[i].shadow)
    memory_free(cython.address(e.memory))
    free(e.graph_set)
    free(e.log)
    free(e.stacks)
    free(e)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_reset(e: cython.pointer(Engine)) -> cython.void:
    """As before the first step; the bodies are not started."""
    c: cython.int
    i: cython.int
    cpu: cython.pointer(Cpu)
    region: cython.pointer(Region)
    memory_reset(cython.address(e.memory))
    for i in range(e.nr_regions):
        region = cython.address(e.regions[i])
        if not region.protected_ and region.shadow != cython.NULL:
            memcpy(cython.cast(cython.p_void, region.lo), region.shadow, region.hi - region.lo)
    for c in range(e.nr_cpus):
        cpu = cython.address(e.cpus[c])
        memset(cpu, 0, cython.sizeof(Cpu))
        cpu.may_die = e.may_die >> c & 1
        cpu.has_handler = e.handlers[c] != cython.NULL
        cpu.last = -1
        cpu.waker = -1
        cpu.last_wait = -1
        cpu.sleeps_on = -1
        cpu.loc = -1
    e.depth = 0
    e.deaths = 0
    e.last_mb = -1
    e.last_section = -1
    e.last_grace = -1
    e.promised = False
    e.outstanding = False
    e.late_why = cython.NULL
    e.ending = -1
    e.why = cython.NULL
    e.culprit = -1
    e.nr_log = 0
    e.impossible = False
    e.strayed = False
    e.halted = False
