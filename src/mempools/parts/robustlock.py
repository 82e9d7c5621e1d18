"""L1: a process-shared lock whose holder may die.

Purpose. One 32-bit word: 0 = free, else the holder's process slot, with WAITERS set when somebody may sleep on it.
Guarantee. Mutual exclusion between threads and processes. The word names the holder, so a waiter whose time runs out can
ask the process table whether the holder still lives; recovery of the dead holder mends what the lock protects and then
releases it (robust_unlock in the dead slot's name).
Price. One swap to take, one to release, when nobody waits; sleeping is in the kernel (futex).
Precondition. The GIL is not needed and must not be waited for while the lock is held; nothing may wait for anything else
under it. Not recursive, not for signal handlers.

  operation | beside lock                                  | beside unlock
  lock      | one wins; losers set WAITERS and sleep       | [A:robustlock.lock] sees what the holder wrote
  unlock    | wakes one sleeper if WAITERS was set         | only the holder, or recovery for a dead one

A waiter that was killed after it was woken, or a holder between its release and the wake-up: the wake-up is lost, so every
sleep is bounded by POLL_NS and tries again.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.parts.robustlock is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.errno import EINTR, ETIMEDOUT
from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire32,
    cmpxchg_relaxed32,
    futex_wait,
    futex_wake,
    read_once32,
    this_module_step,
    xchg_release32,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, INTERRUPTED, OK, TIMED_OUT

register_module(cython.address(this_module_step))

WAITERS = cython.declare(uint32_t, 0x80000000)
POLL_NS = cython.declare(uint64_t, 10_000_000)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def robust_trylock(word: cython.pointer(uint32_t), slot: uint32_t) -> cython.int:
    """OK, or BUSY at once."""
    # [A:robustlock.lock] acquire; pairs with [R:robustlock.unlock]: the holder sees all that the last one wrote under it.
    return OK if cmpxchg_acquire32(word, 0, slot, b"A:robustlock.lock") == 0 else BUSY


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def robust_lock(word: cython.pointer(uint32_t), slot: uint32_t, timeout_ns: uint64_t) -> cython.int:
    """OK; TIMED_OUT after about timeout_ns of one holder (the caller then looks whether it lives); INTERRUPTED by a signal."""
    old: uint32_t
    result: int64_t
    waited: uint64_t = 0
    mine: uint32_t = slot
    while True:
        # [A:robustlock.lock] as above. A caller that has slept takes the lock with WAITERS set: others may still sleep.
        old = cmpxchg_acquire32(word, 0, mine, b"A:robustlock.lock")
        if old == 0:
            return OK
        if waited >= timeout_ns:
            return TIMED_OUT
        if not old & WAITERS:
            if cmpxchg_relaxed32(word, old, old | WAITERS, b"robustlock.wait") != old:
                continue
        mine = slot | WAITERS
        result = futex_wait(word, old | WAITERS, POLL_NS, b"robustlock.wait")
        if result == -EINTR:
            return INTERRUPTED
        if result == -ETIMEDOUT:  # else somebody has released the lock meanwhile: its holders live
            waited += POLL_NS


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def robust_unlock(word: cython.pointer(uint32_t), slot: uint32_t) -> cython.void:
    """Releases a lock held by `slot` (the caller's, or a dead one's in recovery); nothing if `slot` does not hold it."""
    if read_once32(word, b"robustlock.unlock") & ~WAITERS != slot:
        return
    # [R:robustlock.unlock] release; pairs with [A:robustlock.lock].
    if xchg_release32(word, 0, b"R:robustlock.unlock") & WAITERS:
        futex_wake(word, 1, b"robustlock.unlock")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def robust_holder(word: cython.pointer(uint32_t)) -> uint32_t:
    """The slot that holds the lock, 0 for nobody: a snapshot."""
    return read_once32(word, b"robustlock.holder") & ~WAITERS
