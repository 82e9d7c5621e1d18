"""What the machine layer tells its hook, as an operation of the model."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.decode is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.ops import (
    FN_XCHG,
    HOOK_MB,
    HOOK_XCHG,
    OP_CMPXCHG,
    OP_FUTEX_WAIT,
    OP_FUTEX_WAKE,
    OP_MB,
    OP_READ,
    OP_RELAX,
    OP_RMB,
    OP_RMW,
    OP_WMB,
    OP_WRITE,
    RELAXED,
    Op,
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fill_op(
    op: cython.pointer(Op),
    kind: cython.int,
    order: cython.int,
    fn: cython.int,
    size: cython.int,
    key: uint64_t,
    a: uint64_t,
    b: uint64_t,
    site: cython.p_const_char,
) -> cython.void:
    """An operation of code whose dependencies nobody sees: every store comes after every load."""
    op.kind = kind
    op.order = order
    op.asked = order
    op.fn = fn
    op.size = size
    op.silent = False
    op.computed = kind == OP_CMPXCHG or (kind == OP_RMW and fn != FN_XCHG)  # swaps of the core repeat until they fit
    op.mutated = False
    op.addr = key
    op.a = a
    op.b = b
    op.site = site
    op.addr_deps = 0
    op.data_deps = 0
    op.ctrl_deps = 1
    op.dst = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hook_op(
    op: cython.pointer(Op),
    hook: cython.int,
    size: cython.int,
    key: uint64_t,
    a: uint64_t,
    b: uint64_t,
    site: cython.p_const_char,
) -> cython.void:
    if hook < 2:
        fill_op(op, OP_READ, hook, 0, size, key, 0, 0, site)
    elif hook < 4:
        fill_op(op, OP_WRITE, (hook - 2) * 2, 0, size, key, a, 0, site)
    elif hook < HOOK_XCHG:
        fill_op(op, OP_CMPXCHG, hook & 3, 0, size, key, a, b, site)
    elif hook < HOOK_MB:
        fill_op(op, OP_RMW, hook & 3, (hook - HOOK_XCHG) >> 2, size, key, a, 0, site)
    elif hook == HOOK_MB or hook == HOOK_MB + 3:
        fill_op(op, OP_MB, RELAXED, 0, 0, 0, 0, 0, site)
    elif hook == HOOK_MB + 1 or hook == HOOK_MB + 2:
        fill_op(op, OP_RMB if hook == HOOK_MB + 1 else OP_WMB, RELAXED, 0, 0, 0, 0, 0, site)
    elif hook == HOOK_MB + 4:
        fill_op(op, OP_RELAX, RELAXED, 0, 0, 0, 0, 0, site)
    else:
        fill_op(op, OP_FUTEX_WAIT if hook == HOOK_MB + 5 else OP_FUTEX_WAKE, RELAXED, 0, 4, key, a, b, site)
