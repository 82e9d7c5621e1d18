"""The search: one execution after the other, until the tree is explored, a property is violated or an allowance is used up."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.walk is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_run
from cython.cimports.mempools.check.explore import next_path
from cython.cimports.mempools.check.state import (
    BOUND_MESSAGES,
    ENDED_ASLEEP,
    ENDED_COMPLETE,
    ENDED_DEADLOCK,
    ENDED_FAILED,
    ENDED_SPINNING,
    Engine,
)
from cython.cimports.mempools.check.views import MAX_WIDTH, memory_widen


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def start_again(e: cython.pointer(Engine)) -> cython.int:
    """From the root; with wider views, if more locations are written than there were columns for."""
    if e.memory.wants_width and memory_widen(cython.address(e.memory)) < 0:
        return -1
    e.nr_nodes = 0
    e.fresh_from = 0
    e.floor = 0
    e.seeded = False
    e.executions = 0
    e.redundant = 0
    e.spinning = 0
    e.complete = 0
    e.steps = 0
    e.nr_races = 0
    e.bounds = 0
    e.nr_graphs = 0
    e.mutant_hits = 0
    if e.graph_slots:
        memset(e.graph_set, 0, e.graph_slots * 8)
    memset(cython.address(e.nodes[0]), 0, cython.sizeof(e.nodes[0]))
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search(e: cython.pointer(Engine), executions: uint64_t) -> cython.int:
    """Runs at most `executions` more; see Progress. Between engine_enter and engine_leave."""
    while executions > 0:
        engine_run(e)
        if e.halted or e.strayed:
            return SEARCH_HALTED
        if e.memory.wants_width and e.memory.width < MAX_WIDTH:
            if start_again(e) < 0:
                return SEARCH_NO_MEMORY
            continue
        if e.memory.wants_width:
            e.memory.wants_width = False
            e.bounds |= BOUND_MESSAGES
        executions -= 1
        e.executions += 1
        if e.ending == ENDED_FAILED or e.ending == ENDED_DEADLOCK:
            return SEARCH_FAILED
        if e.ending == ENDED_COMPLETE:
            e.complete += 1
        elif e.ending == ENDED_ASLEEP:
            e.redundant += 1
        elif e.ending == ENDED_SPINNING:
            e.spinning += 1
        if not next_path(e):
            if not e.load_buffering or e.promising:
                return SEARCH_DONE
            e.promising = True
            if start_again(e) < 0:
                return SEARCH_NO_MEMORY
    return SEARCH_MORE
