"""L2: sweeping what a dead process left in an arena.

Guarantee. After sweep_slot the arena holds nothing of the dead process: its blocks are free, its share of shared blocks
is dropped, what it had half done is done or undone, its locks are free. What others hold is untouched. It may run beside
any allocation or release of the living, may be killed at any point and run again by somebody else.

Precondition. The caller holds the dead slot's recovery lock (layout/proctable.py): one sweep per slot at a time, and the
slot is not given to a new process before it is done. The sweep acts in the dead slot's name: it takes the directory lock
as that slot, so that a sweep that dies leaves the same trace as the first death.

Order (each step leaves the next ones possible):
  1. directory lock: taken, or found to be the dead one's. Nothing may be destroyed under a sweep.
  2. directory entries that it was making or destroying; pages that it published but did not hand over.
  3. per pool: chunks that it was giving back or taking again (layout/offline.py); then what the pool's kind mends
     (register_mend), which decides who owns each half-moved block. All pools before the next step: one may have a say in whose
     another's blocks are. Then those kinds that sweep their own owner maps (register_late_mend).
  4. per pool, the owner maps: every byte of the dead slot is cleared; full bits are forgotten.
  5. the page map, last: a page may only be released when no pool names it.
  6. directory lock released.

Crash windows. [D:recovery.locked] the directory lock is held in the dead slot's name: the next sweep finds it so.
[D:recovery.mended] a kind's structures are mended, its blocks not yet released: mending again changes nothing.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.layout.recovery is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_load
from cython.cimports.mempools.layout.growth import runs_transfer
from cython.cimports.mempools.layout.offline import offline_mend
from cython.cimports.mempools.layout.refs import ArenaRef, PoolRef
from cython.cimports.mempools.layout.structs import (
    NR_KINDS,
    NR_POOLS,
    STATE_DROPPING,
    STATE_FREE,
    STATE_LIVE,
    STATE_SETUP,
    PoolEntry,
)
from cython.cimports.mempools.machine.atomics import (
    read_once,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import forget_full, sweep
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_trylock, robust_unlock
from cython.cimports.mempools.parts.status import BUSY, OK

register_module(cython.address(this_module_step))

_mends = cython.declare(mend_fn[NR_KINDS])
_late_mends = cython.declare(mend_fn[NR_KINDS])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def register_mend(kind: uint32_t, fn: mend_fn) -> cython.void:
    """At import, by the module that owns a kind of pool."""
    _mends[kind] = fn


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def register_late_mend(kind: uint32_t, fn: mend_fn) -> cython.void:
    """As register_mend, for a kind that releases the dead process's blocks itself."""
    _late_mends[kind] = fn


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_entry(arena: cython.pointer(ArenaRef), index: uint32_t, slot: uint32_t) -> cython.void:
    """Step 2 for one directory entry."""
    entry: cython.pointer(PoolEntry) = cython.address(arena.pools[index])
    state: uint64_t = read_once(cython.address(entry.state), b"recovery.entry")
    if state & 0xFF == STATE_LIVE:
        runs_transfer(arena, entry, slot, OWNER_STRUCT)
    elif state >> 8 == slot and (state & 0xFF == STATE_SETUP or state & 0xFF == STATE_DROPPING):
        if state & 0xFF == STATE_DROPPING:
            runs_transfer(arena, entry, OWNER_STRUCT, slot)
        write_once(cython.address(entry.state), STATE_FREE, b"recovery.free")  # relaxed: as in layout/directory.py


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_pool(
    arena: cython.pointer(ArenaRef), index: uint32_t, slot: uint32_t, mends: cython.pointer(mend_fn)
) -> cython.int:
    """Step 3 for one pool: OK, or BUSY."""
    pool: PoolRef
    if pool_load(arena, index, cython.address(pool)) != OK:
        return OK
    if mends == _mends:
        offline_mend(cython.address(pool), slot)
    if pool.kind >= NR_KINDS or mends[pool.kind] == cython.NULL:
        return OK
    return BUSY if mends[pool.kind](cython.address(pool), slot) == BUSY else OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sweep_pool(arena: cython.pointer(ArenaRef), index: uint32_t, slot: uint32_t) -> cython.void:
    """Steps 4 and 5 for one pool."""
    pool: PoolRef
    users: cython.pointer(uint64_t)
    i: uint64_t
    if pool_load(arena, index, cython.address(pool)) != OK:
        return
    users = cython.address(pool.entry.users[slot >> 6])
    # No swap is needed: whoever changes `users` has the directory lock.
    write_once(
        users, read_once(users, b"recovery.users") & ~(cython.cast(uint64_t, 1) << (slot & 63)), b"recovery.users"
    )
    for i in range(pool.nr_chunks):
        sweep(pool.chunks[i].map, pool.chunks[i].summary, pool.chunks[i].nr_words, slot)
        forget_full(pool.chunks[i].summary, pool.chunks[i].nr_words)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sweep_slot(arena: cython.pointer(ArenaRef), slot: uint32_t) -> cython.int:
    """OK, or BUSY: somebody makes or destroys a pool, or has a lock that is needed here, and may be dead too. What could be done
    is done, the dead one's locks are free: sweep the other dead, then this one again."""
    lock: cython.pointer(uint32_t) = cython.address(arena.super.directory_lock)
    index: uint32_t
    status: cython.int = OK
    if robust_holder(lock) != slot and robust_trylock(lock, slot) != OK:
        return BUSY
    window(b"D:recovery.locked")
    for index in range(1, NR_POOLS):
        mend_entry(arena, index, slot)
    for index in range(1, NR_POOLS):
        if mend_pool(arena, index, slot, _mends) != OK:
            status = BUSY
    if status == OK:
        for index in range(1, NR_POOLS):
            if mend_pool(arena, index, slot, _late_mends) != OK:
                status = BUSY
    window(b"D:recovery.mended")
    if status == OK:
        for index in range(1, NR_POOLS):
            sweep_pool(arena, index, slot)
        sweep_pool(arena, 0, slot)
    robust_unlock(lock, slot)
    return status
