"""Mutations: the operations of one site are weakened in the simulated machine, so that the code as it ships stays as it is.

A barrier is needed if some scenario fails without it. `mutated_op` is asked for each operation while a mutation is set.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.mutate is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.string import strcmp
from cython.cimports.mempools.check.ops import (
    ACQUIRE,
    FULL,
    OP_CMPXCHG,
    OP_MB,
    OP_RMB,
    OP_RMW,
    OP_WMB,
    OP_WRITE,
    PLAIN,
    RELAXED,
    RELEASE,
    Op,
)
from cython.cimports.mempools.check.state import MAX_SITES, Cpu, Engine

MUTANTS = ("", "relax", "acquire only", "release only", "remove", "split", "elide", "swap", "tear", "strengthen")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def note_site(e: cython.pointer(Engine), op: cython.pointer(Op)) -> cython.void:
    """Remembers that the site was executed with this operation."""
    i: cython.int
    for i in range(e.nr_sites):
        if e.sites[i].name == op.site and e.sites[i].kind == op.kind and e.sites[i].order == op.order:
            return
    if e.nr_sites < MAX_SITES:
        e.sites[e.nr_sites].name = op.site
        e.sites[e.nr_sites].kind = op.kind
        e.sites[e.nr_sites].order = op.order
        e.nr_sites += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def weaken(cpu: cython.pointer(Cpu), kind: cython.int) -> cython.bint:
    """Does a mutation to the CPU's operation, if it is one for it."""
    op: cython.pointer(Op) = cython.address(cpu.op)
    rmw: cython.bint = op.kind == OP_RMW or op.kind == OP_CMPXCHG
    if kind == MUTANT_RELAX and op.order != RELAXED and op.order != PLAIN:
        op.order = RELAXED
    elif kind == MUTANT_ACQUIRE and op.order == FULL:
        op.order = ACQUIRE
    elif kind == MUTANT_RELEASE and op.order == FULL:
        op.order = RELEASE
    elif kind == MUTANT_SWAP and op.kind == OP_WRITE and not cpu.holds:
        op.mutated = True
        cpu.held = op[0]
        cpu.holds = True
    elif kind == MUTANT_STRENGTHEN:
        op.order = FULL if rmw else RELEASE if op.kind == OP_WRITE else ACQUIRE
    elif kind == MUTANT_REMOVE:
        return op.kind == OP_MB or op.kind == OP_RMB or op.kind == OP_WMB
    else:
        return (kind == MUTANT_SPLIT and rmw) or (
            (kind == MUTANT_ELIDE or kind == MUTANT_TEAR) and (op.kind == OP_WRITE or (kind == MUTANT_ELIDE and rmw))
        )
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mutated_op(e: cython.pointer(Engine), c: cython.int) -> cython.bint:
    """Mutates the CPU's operation if it is at the site of a mutation; true: it must not be done as it is (left out, split,
    torn, held back; `mutated_by` says which)."""
    cpu: cython.pointer(Cpu) = cython.address(e.cpus[c])
    i: cython.int
    for i in range(e.nr_mutations):
        if cpu.op.site != cython.NULL and strcmp(cpu.op.site, e.mutations[i].site) == 0:
            if weaken(cpu, e.mutations[i].kind):
                cpu.op.mutated = True
                e.mutant_hits += 1
                e.mutated_by = e.mutations[i].kind
                if MUTANT_REMOVE <= e.mutated_by <= MUTANT_TEAR:
                    return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def release_held(cpu: cython.pointer(Cpu)) -> cython.void:
    cpu.op = cpu.held
    cpu.holds = False
