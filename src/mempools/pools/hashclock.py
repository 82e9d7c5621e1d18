"""L3: what an entry of a store knows of time: when it ends, and when or how often it was read (see hashentry.py first).

`Entry.times` is expiry << ACCESS_BITS | access.

  expiry  36 bits: the moment, in units of 2^24 ns (17 ms) of the system's clock that counts its sleep too, from which on the
          entry is absent; 0: never. That clock is the same for all processes and nobody can set it; an arena in a file that
          is opened after the system was started anew has the expiries of the old count.
  access  28 bits. The time of the last access in units of 2^23 ns (8 ms) of the system's coarse clock, which costs a quarter
          as much; it wraps: what has not been read for 24 days seems read for the next two. In a store that evicts as
          EVICT_LFU: a count of reads, as a logarithm (8 bits), and when it was last made smaller (20 bits, units of 2^30 ns).

Guarantee. A read changes nothing but `access`, and an expiry changes under the stripe's lock only: no read takes an expiry back.
Process-safe, lock-free. Price. A read of an entry that was not read in this unit of time: one swap; else one load.

  what runs        | beside a touch by a reader                    | beside entry_expire_at
  entry_touch      | one of two counts                             | its swap fails, and it leaves it at that
  entry_expire_at  | the access may be lost                        | not possible: the stripe's lock
  compaction       | not possible: an open entry is not moved      | likewise
  replacement      | what went out may still be touched: no matter | not possible: the stripe's lock
Whoever replaces an entry by another that takes its times over reads them under the stripe's lock.

The logarithm: a count of c becomes c + 1 with the chance 1 / (1 + 10 * (c - LFU_NEW)), so 255 are some 300,000 reads. For
every 64 units (a minute) it gets smaller by one. A new entry has LFU_NEW, so that it is not the first to go.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashclock is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import (
    begin_draws,
    cmpxchg_relaxed,
    coarse_time,
    draw,
    read_once,
    since_boot,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.pools.hashentry import ACCESS_BITS, Entry, Found

register_module(cython.address(this_module_step))

_ahead = cython.declare(uint64_t, 0)  # ns that this process's clock is ahead: for tests
_SLOWER = cython.declare(uint64_t, 10)  # how much rarer each further count of reads is


# ---- the clock


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def clock_now() -> uint64_t:
    """Now, as expiries are counted. Any context."""
    return (since_boot() + _ahead) >> EXPIRY_SHIFT


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def clock_tick() -> uint64_t:
    """Now, as accesses are counted. Any context."""
    return (coarse_time() + _ahead) >> TICK_SHIFT & ACCESS_MASK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def clock_draw() -> uint64_t:
    """A number at random."""
    return draw()


def advance_clock(seconds: float) -> None:
    """Put this process's clock ahead, by so much more: for tests. Not while other threads use a store."""
    global _ahead
    _ahead += cython.cast(uint64_t, cython.cast(cython.double, seconds) * 1e9)


def seed_draws(number: uint64_t) -> None:
    """Begin this thread's draws anew, from a number above 0: for tests."""
    begin_draws(number)


# ---- expiry


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def expiry_after(seconds: cython.double) -> uint64_t:
    """The expiry of what lives so long from now on; rounded up, so that nothing ends early. What would outlive the clock does so
    by its last moment."""
    unit: uint64_t = cython.cast(uint64_t, 1) << EXPIRY_SHIFT
    end: uint64_t = since_boot() + _ahead + unit - 1
    if seconds * 1e9 >= cython.cast(cython.double, MAX_EXPIRY * unit - end):
        return MAX_EXPIRY
    return (end + cython.cast(uint64_t, seconds * 1e9)) >> EXPIRY_SHIFT


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def seconds_left(expiry: uint64_t) -> cython.double:
    """Until an expiry; 0 or less: it is over."""
    left: cython.double = cython.cast(cython.double, expiry << EXPIRY_SHIFT)
    return (left - cython.cast(cython.double, since_boot() + _ahead)) * 1e-9


# ---- access


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_age(times: uint64_t, tick: uint64_t) -> uint64_t:
    """Units since the last access; 0 too if that was after `tick`. Not in a store with EVICT_LFU."""
    age: uint64_t = (tick - times) & ACCESS_MASK
    return age if age <= ACCESS_MASK - (ACCESS_MASK >> 4) else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lfu_behind(times: uint64_t, tick: uint64_t) -> uint64_t:
    """By how much the count of reads should be smaller."""
    units: uint64_t = ((tick >> LFU_SHIFT) - times) & LFU_MASK
    return units >> 6 if units <= LFU_MASK - (LFU_MASK >> 4) else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lfu_count(times: uint64_t, tick: uint64_t) -> uint64_t:
    """The count of reads now. Only in a store with EVICT_LFU."""
    count: uint64_t = (times & ACCESS_MASK) >> LFU_BITS
    behind: uint64_t = lfu_behind(times, tick)
    return count - behind if behind < count else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def times_new(evict: uint64_t, expiry: uint64_t, tick: uint64_t) -> uint64_t:
    """Of an entry that comes in now."""
    if evict == EVICT_LFU:
        tick = cython.cast(uint64_t, LFU_NEW) << LFU_BITS | (tick >> LFU_SHIFT & LFU_MASK)
    return expiry << ACCESS_BITS | tick


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def times_read(evict: uint64_t, times: uint64_t, tick: uint64_t, number: uint64_t) -> uint64_t:
    """What becomes of `times` by a read; `number` is at random."""
    count: uint64_t
    since: uint64_t
    if evict != EVICT_LFU:
        if entry_age(times, tick) == 0:
            return times
        return (times & ~cython.cast(uint64_t, ACCESS_MASK)) | tick
    count = lfu_count(times, tick)
    since = times + (lfu_behind(times, tick) << 6)
    if count < 255 and (count <= LFU_NEW or (number & 0xFFFF) * (1 + _SLOWER * (count - LFU_NEW)) < 0x10000):
        count += 1
    return (times & ~cython.cast(uint64_t, ACCESS_MASK)) | count << LFU_BITS | since & LFU_MASK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_touch(found: cython.pointer(Found), evict: uint64_t, tick: uint64_t, number: uint64_t) -> cython.void:
    """An open entry is read."""
    times: uint64_t = times_read(evict, found.times, tick, number)
    if times != found.times:
        # A swap and no store: an expiry that was set since the entry was opened stays. Relaxed: it orders nothing, and compaction
        # takes it along, for the reader unpins later, by a full swap. If it fails, another reader has been here.
        cmpxchg_relaxed(
            cython.address(cython.cast(cython.pointer(Entry), found.pinned.object).times),
            found.times,
            times,
            b"hashclock.touch",
        )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_expire_at(found: cython.pointer(Found), expiry: uint64_t) -> cython.void:
    """Under the stripe's lock: an open entry has another expiry, 0: none."""
    word: cython.pointer(uint64_t) = cython.address(cython.cast(cython.pointer(Entry), found.pinned.object).times)
    # A store: the access of a reader who comes between is lost, which is no matter.
    write_once(word, expiry << ACCESS_BITS | read_once(word, b"hashclock.expire") & ACCESS_MASK, b"hashclock.expire")
