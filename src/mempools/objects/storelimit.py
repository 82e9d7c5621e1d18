"""L4: a store's bound as Python calls it: who has to go, what has expired; and what all entries need: other tries, an end.

What runs beside what is in pools/hashlimit.py, hashevict.py and hashclock.py."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storelimit is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.layout.structs import NR_SLOTS
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.storelimit import sched_yield
from cython.cimports.mempools.objects.zsclasses import ZsClasses
from cython.cimports.mempools.parts.robustlock import robust_holder
from cython.cimports.mempools.parts.status import CORRUPT, NOT_FOUND, NOT_REGISTERED, OK, TABLE_FULL, TIMED_OUT
from cython.cimports.mempools.pools.hashclock import (
    EVICT_LFU,
    EVICT_LRU,
    EVICT_NONE,
    clock_draw,
    clock_now,
    clock_tick,
    entry_touch,
    expiry_after,
)
from cython.cimports.mempools.pools.hashentry import Found, Item, entry_retire
from cython.cimports.mempools.pools.hashevict import ENOUGH, MANY, Moment, Victim, index_evict, index_look
from cython.cimports.mempools.pools.hashlimit import index_choose_bound, index_limit, index_recount, may_be_more
from cython.cimports.mempools.pools.hashtable import (
    BOUND_CHOSEN,
    BOUND_EVICT,
    MAX_LIMIT,
    NR_STRIPES,
    index_is_there,
    index_nr_buckets,
    stripe_of,
)

from mempools.errors import Corrupt

register_module(cython.address(this_module_step))

_SLICE_NS = cython.declare(uint64_t, 20_000_000)
_READS = cython.declare(uint64_t, 8)  # for which a look at the clock is good: it costs a twentieth of a read
_ODD = cython.declare(uint64_t, 0x9E6C63D0876A9A47)  # spreads a draw over all bits
_WAITS = cython.declare(cython.int, 1000)  # for what others are bringing in


@cython.cclass
class StoreLimit(ZsClasses):
    """Base of StoreEntries."""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def retry(self, status: cython.int) -> cython.int:
        """Does what a status asks for before another try; raises if there is no point in one."""
        if status == TABLE_FULL:  # other threads have all pins of this process: each for one copy
            PyErr_CheckSignals()
            with cython.nogil:
                sched_yield()
            self.check_open()
            return 0
        if status == TIMED_OUT:
            self.check_locks()
        if status != CORRUPT and self.may_retry(status):
            self.check_open()
            return 0
        raise Corrupt(
            f"store {self.name!r}: a slot names no entry, an entry is damaged, or a chain of lines has no end (status {status}); "
            "check() says more"
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_locks(self) -> cython.int:
        """A lock that nobody can have is one that nobody gives back."""
        i: uint64_t
        if index_is_there(self.ref):
            for i in range(NR_STRIPES):
                if robust_holder(cython.address(stripe_of(self.ref, i).lock)) > NR_SLOTS:
                    raise Corrupt(f"store {self.name!r}: nobody can have the lock of a stripe as its word says")
        return ZsClasses.check_locks(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_entry(self, item: cython.pointer(Item)) -> cython.int:
        """Of this process's own. No signal handler runs meanwhile, whose exception would leave it there."""
        status: cython.int
        while item.handle:
            if item.parts:
                with cython.nogil:
                    status = entry_retire(self.ref, self.g, item, _SLICE_NS)
            else:
                status = entry_retire(self.ref, self.g, item, _SLICE_NS)
            if status == OK:
                break
            if status == TIMED_OUT:
                self.check_locks()
                self.mapping.recover()
            elif status == CORRUPT or status == NOT_REGISTERED:
                self.retry(status)
            self.check_open()
        return 0

    # ---- the bound

    def choose_bound(self, limit: uint64_t, evict: uint64_t, given: cython.bint, /):
        """The limit in bytes (0: none) and EVICT_* of the first caller; without `given` only asks."""
        chosen: uint64_t = 0
        word: uint64_t = 0
        self.check_open()
        if given:
            word = cython.cast(uint64_t, BOUND_CHOSEN) | evict << BOUND_EVICT | limit
        if index_choose_bound(self.ref, word, cython.address(chosen)) != OK:
            raise Corrupt(f"store {self.name!r} has no index table: something else than a Store made it")
        if chosen == 0:
            return None
        self.evict = chosen >> BOUND_EVICT & 0x7F
        return (chosen & cython.cast(uint64_t, MAX_LIMIT), self.evict)

    @property
    def limit(self):
        """In bytes; 0: none."""
        self.check_open()
        return index_limit(self.ref)

    @property
    def evicts(self):
        """EVICT_*, see pools/hashclock.pxd."""
        return self.evict

    # ---- time

    @cython.cfunc
    @cython.exceptval(check=False)
    def read_found(self, found: cython.pointer(Found)) -> cython.void:
        """An open entry is being read. Threads that share this object may lose a count of reads."""
        if self.reads == 0:
            self.reads = _READS
            self.tick = clock_tick()
        self.reads -= 1
        entry_touch(found, self.evict, self.tick, clock_draw() if self.evict == EVICT_LFU else 0)

    @cython.cfunc
    @cython.exceptval(check=False)
    def take_moment(self, now: cython.pointer(Moment)) -> cython.void:
        now.evict = self.evict
        now.now = clock_now()
        now.tick = clock_tick()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def expiry_for(self, ttl: object) -> int64_t:
        """Of what lives so many seconds from now on, None: as this object's puts; 0: for ever."""
        seconds: cython.double = self.seconds
        if ttl is not None:
            seconds = ttl
            if not seconds > 0:
                raise ValueError(f"ttl {ttl}: seconds, above 0; math.inf is for ever")
        if seconds == 0 or seconds > 1e18:
            return 0
        return cython.cast(int64_t, expiry_after(seconds))

    def set_ttl(self, ttl, /):
        """Seconds that what this object puts is to live; None: for ever."""
        self.seconds = 0
        if ttl is not None:
            self.expiry_for(ttl)
            self.seconds = ttl

    # ---- who has to go

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def make_room(self, nbytes: uint64_t) -> int64_t:
        """Takes out entries with so many bytes of values, as stored, or all that may go; how many bytes, and 1 for each entry."""
        now: Moment
        victim: Victim
        old: Item
        gone: uint64_t = 0
        bucket: uint64_t
        status: cython.int
        if not index_is_there(self.ref):
            return 0
        self.take_moment(cython.address(now))
        while gone < nbytes:
            bucket = clock_draw() * _ODD
            with cython.nogil:
                status = index_look(
                    self.ref,
                    self.g,
                    cython.address(now),
                    cython.address(bucket),
                    True,
                    MANY,
                    ENOUGH,
                    cython.address(victim),
                )
                if victim.seen < ENOUGH and (status == OK or status == NOT_FOUND):
                    status = index_look(
                        self.ref,
                        self.g,
                        cython.address(now),
                        cython.address(bucket),
                        False,
                        index_nr_buckets(self.ref),
                        ENOUGH,
                        cython.address(victim),
                    )
                if status == OK:
                    status = index_evict(
                        self.ref, self.g, cython.address(now), cython.address(victim), _SLICE_NS, cython.address(old)
                    )
            if status == OK:
                gone += old.nr_stored + 1
                self.end_entry(cython.address(old))
            elif status == NOT_FOUND and victim.worth == 0:
                break
            elif status == NOT_FOUND:  # somebody has come between
                PyErr_CheckSignals()
                self.take_moment(cython.address(now))
            else:
                self.retry(status)
        return cython.cast(int64_t, gone)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def may_be_short(self, nbytes: uint64_t, tries: cython.int) -> cython.bint:
        """After OVER_LIMIT: another try may succeed, so many bytes have gone, or were counted though they are not there."""
        status: cython.int = TIMED_OUT
        if may_be_more(self.ref):
            while status != OK:
                with cython.nogil:
                    status = index_recount(self.ref, _SLICE_NS)
                if status != OK:
                    self.retry(status)
            return True
        if self.make_room(nbytes):
            return True
        if self.mapping.recover() > 0 or may_be_more(self.ref):
            return True
        if (self.evict == EVICT_LRU or self.evict == EVICT_LFU) and tries < _WAITS:
            PyErr_CheckSignals()  # what fills the store is just coming in
            with cython.nogil:
                sched_yield()
            return True
        return False

    def expire(self):
        """Takes out what has expired; how many entries."""
        now: Moment
        victim: Victim
        old: Item
        nr: uint64_t = 0
        bucket: uint64_t = 0
        status: cython.int
        self.check_open()
        if not index_is_there(self.ref):
            return 0
        self.mapping.ensure_slot()
        self.take_moment(cython.address(now))
        now.evict = EVICT_NONE
        while True:
            with cython.nogil:
                status = index_look(
                    self.ref,
                    self.g,
                    cython.address(now),
                    cython.address(bucket),
                    False,
                    index_nr_buckets(self.ref) - bucket,
                    1,
                    cython.address(victim),
                )
                if status == OK:
                    bucket = victim.bucket  # there may be more of them
                    status = index_evict(
                        self.ref, self.g, cython.address(now), cython.address(victim), _SLICE_NS, cython.address(old)
                    )
            if status == OK:
                nr += 1
                self.end_entry(cython.address(old))
            elif status == NOT_FOUND and victim.worth == 0:
                return nr
            elif status != NOT_FOUND:
                self.retry(status)
            if nr % 64 == 0:
                PyErr_CheckSignals()
