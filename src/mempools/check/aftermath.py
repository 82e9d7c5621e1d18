"""The end condition's accesses: nobody else runs, and all see the newest."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.aftermath is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.errno import EAGAIN
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.check.ops import HOOK_MB, HOOK_XCHG, OP_CMPXCHG, OP_RMW, Op
from cython.cimports.mempools.check.regions import key_in, locate, piece, region_of
from cython.cimports.mempools.check.rules import rmw_result
from cython.cimports.mempools.check.state import Engine, Region
from cython.cimports.mempools.check.views import memory_newest, memory_store, memory_value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_step(
    e: cython.pointer(Engine), op: cython.int, size: cython.int, key: uint64_t, a: uint64_t, b: uint64_t
) -> uint64_t:
    loc: cython.int
    old: uint64_t
    o: Op
    if op >= HOOK_MB:
        return cython.cast(uint64_t, -EAGAIN) if op == HOOK_MB + 5 else 0
    loc = locate(e, key, size)
    if loc < 0:
        return 0
    old = memory_value(cython.address(e.memory), loc, memory_newest(cython.address(e.memory), loc))
    if op < 2:
        return old
    if op < 4:
        memory_store(cython.address(e.memory), loc, a)
        return 0
    o.kind = OP_CMPXCHG if op < HOOK_XCHG else OP_RMW
    o.fn = (op - HOOK_XCHG) >> 2
    o.size = size
    o.a = a
    o.b = b
    if o.kind == OP_RMW or old == a:
        memory_store(cython.address(e.memory), loc, rmw_result(cython.address(o), old))
    return old


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def final_move(
    e: cython.pointer(Engine), filled: cython.bint, to: uint64_t, source: uint64_t, nbytes: uint64_t
) -> uint64_t:
    done: uint64_t = 0
    size: uint64_t
    value: uint64_t
    region: cython.pointer(Region)
    while done < nbytes:
        size = piece(e, 0 if filled else source + done, to + done, nbytes - done)
        region = cython.NULL if filled else region_of(e, source + done)
        value = 0
        if filled:
            memset(cython.address(value), cython.cast(cython.int, source), size)
        elif region != cython.NULL:
            value = final_step(e, 0, size, key_in(region, source + done), 0, 0)
        else:
            memcpy(cython.address(value), cython.cast(cython.p_void, source + done), size)
        region = region_of(e, to + done)
        if region != cython.NULL:
            final_step(e, 2, size, key_in(region, to + done), value, 0)
        if region == cython.NULL or not region.protected_:
            memcpy(cython.cast(cython.p_void, to + done), cython.address(value), size)
        done += size
    return 0
