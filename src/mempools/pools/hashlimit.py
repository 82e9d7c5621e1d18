"""L3: a bound on what a store's values have in bytes, as they are stored (see hashcommit.py first).

Guarantee. With a limit, the values that can be found never have more bytes than that, those of a value counted once while
it is replaced by another. `bytes` is at least their sum, and equal to it while no stripe's lock is held, but for what a death has
left; then `recount` says so. Process-safe. Price. One swap of one word of the whole store for a put or a deletion that changes
the sum; nothing in a store without a limit.

  what runs    | beside take or give of another stripe        | beside a recount
  take, give   | one of them tries again                      | not possible: it has all locks
  recount      | it has all locks                             | waits for the first lock

Rules. Under the stripe's lock, and with its journal written, a put takes what its value has more than the old one before
its commit, or refuses; what a put or a deletion has less is given after the commit. So a death leaves `bytes` too high, never too
low; who recovers a journal sets `recount`. KEY_RESERVED entries are not counted.
All stripes' locks are taken in ascending order.

Crash windows.
  [D:hashlimit.counted]  `bytes` is right, and `recount` still set: it is done again.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashlimit is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    cmpxchg,
    cmpxchg_relaxed,
    fetch_add_release,
    read_once,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import CORRUPT, NOT_REGISTERED, OK, OVER_LIMIT
from cython.cimports.mempools.pools.hashtable import (
    MAX_LIMIT,
    NR_STRIPES,
    IndexRoot,
    index_is_there,
    index_root,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_choose_bound(pool: cython.pointer(PoolRef), bound: uint64_t, chosen: cython.pointer(uint64_t)) -> cython.int:
    """The word that the first chooser wrote, as index_choose_codec: OK or CORRUPT."""
    if not index_is_there(pool):
        return CORRUPT
    chosen[0] = cmpxchg_relaxed(cython.address(index_root(pool).bound), 0, bound, b"hashlimit.choose")
    if chosen[0] == 0:
        chosen[0] = bound
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_limit(pool: cython.pointer(PoolRef)) -> uint64_t:
    """In bytes; 0: none."""
    return read_once(cython.address(index_root(pool).bound), b"hashlimit.limit") & MAX_LIMIT


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_bytes(pool: cython.pointer(PoolRef)) -> uint64_t:
    return read_once(cython.address(index_root(pool).bytes), b"hashlimit.bytes")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def may_be_more(pool: cython.pointer(PoolRef)) -> cython.bint:
    """Has a death left `bytes` too high? Relaxed: a hint."""
    return read_once(cython.address(index_root(pool).recount), b"hashlimit.recount") != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def limit_take(
    pool: cython.pointer(PoolRef), nbytes: uint64_t, limit: uint64_t, short: cython.pointer(uint64_t)
) -> cython.int:
    """So many bytes more: OK; OVER_LIMIT: short[0] too many."""
    word: cython.pointer(uint64_t) = cython.address(index_root(pool).bytes)
    bytes: uint64_t = read_once(word, b"hashlimit.bytes")
    seen: uint64_t
    while True:  # once more for each that comes between
        if bytes > limit or nbytes > limit - bytes:
            short[0] = bytes + nbytes - limit
            return OVER_LIMIT
        # [F:hashlimit.take] full; pairs with [R:hashlimit.give] and [A:hashindex.slot]: who takes what another gave commits after
        # the other has, and whoever finds the one finds the other done. An acquire would not tell a third process.
        seen = cmpxchg(word, bytes, bytes + nbytes, b"F:hashlimit.take")
        if seen == bytes:
            return OK
        bytes = seen


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def limit_give(pool: cython.pointer(PoolRef), nbytes: uint64_t) -> cython.void:
    # [R:hashlimit.give] release; pairs with [F:hashlimit.take]: the entry is gone for whoever sees what takes its place. Else a
    # reader might find a new value, and after it the old one too: more than the limit.
    fetch_add_release(cython.address(index_root(pool).bytes), ~nbytes + 1, b"R:hashlimit.give")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def all_lock(pool: cython.pointer(PoolRef), timeout_ns: uint64_t) -> cython.int:
    """All stripes' locks, or none: OK, and as of index_lock."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    locked: uint64_t = 0
    status: cython.int = OK
    if slot == 0:
        return NOT_REGISTERED
    while locked < NR_STRIPES:
        status = robust_lock(cython.address(index_root(pool).stripes[locked].lock), slot, timeout_ns)
        if status != OK:
            all_unlock(pool, locked)
            return status
        locked += 1
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def all_unlock(pool: cython.pointer(PoolRef), nr: uint64_t) -> cython.void:
    """The first `nr`, NR_STRIPES: all."""
    while nr > 0:
        nr -= 1
        robust_unlock(cython.address(index_root(pool).stripes[nr].lock), cython.cast(uint32_t, pool.arena.slot[0]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_recount(pool: cython.pointer(PoolRef), timeout_ns: uint64_t) -> cython.int:
    """`bytes` becomes the sum: OK, and as of index_lock. What a dead holder has not given back yet is waited for by its lock."""
    root: cython.pointer(IndexRoot) = index_root(pool)
    sum: uint64_t = 0
    i: uint64_t
    status: cython.int = all_lock(pool, timeout_ns)
    if status != OK:
        return status
    for i in range(NR_STRIPES):
        sum += read_once(cython.address(root.stripes[i].stored), b"hashlimit.sum")
    # Relaxed: whoever changes these words has a lock.
    write_once(cython.address(root.bytes), sum, b"hashlimit.counted")
    window(b"D:hashlimit.counted")
    write_once(cython.address(root.recount), 0, b"hashlimit.counted")
    all_unlock(pool, NR_STRIPES)
    return OK
