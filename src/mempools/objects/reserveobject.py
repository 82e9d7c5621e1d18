"""L4: the reserve of a Mempool as Python calls it: with its lock's holder dead or alive, and its statistics.

No lock is held while Python runs. Whoever waits for the reserve's lock and finds its holder dead lets recovery mend it. No
signal handler runs in here: the caller has elements to put away first.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.reserveobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

import os
import time
import weakref

from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.libc.errno import EINTR
from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.layout.structs import NR_SLOTS, STATE_LIVE
from cython.cimports.mempools.machine.atomics import (
    fetch_add_relaxed,
    monotonic,
    read_once,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.parts.lanes import clz64, popcount64
from cython.cimports.mempools.parts.owners import OWNER_SHARED
from cython.cimports.mempools.parts.robustlock import robust_holder
from cython.cimports.mempools.parts.status import (
    BUSY,
    EXHAUSTED,
    INTERRUPTED,
    NOT_REGISTERED,
    OK,
    TABLE_FULL,
    TIMED_OUT,
)
from cython.cimports.mempools.pools.mempool import (
    mempool_counts,
    mempool_give,
    mempool_leave,
    mempool_take,
)
from cython.cimports.mempools.pools.mempoolmake import mempool_room, mempool_set_min
from cython.cimports.mempools.pools.mempoolmend import mempool_forked, mempool_outstanding
from cython.cimports.mempools.pools.reserve import (
    NO_TICKET,
    NR_BUCKETS,
    NR_WAITER_WORDS,
    WAITER_WOKEN,
    Reserve,
    SlotCounts,
    calls_bump,
    calls_seen,
    calls_sleep,
    reserve_of,
    waiter_sleep,
    waiter_state,
)

from mempools.errors import Corrupt, Exhausted
from mempools.objects.holders import Holders
from mempools.objects.infos import MempoolStats

register_module(cython.address(this_module_step))

_LOOK = cython.declare(cython.double, 0.02)  # seconds between a waiter's looks for dead processes


@cython.no_gc_clear
@cython.cclass
class ReserveObject(PoolObject):
    """Base of Mempool."""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def prepare(self, repoll: object) -> cython.int:
        if not 0 < repoll < 1e6:
            raise ValueError(f"repoll {repoll!r}: seconds, more than 0")
        self.slice_ns = int(repoll * 1e9)
        self.holders = Holders()
        _pools.add(self)
        return 0

    # ---- what kinds of elements do in their own way

    @cython.cfunc
    def of_word(self, word: uint64_t) -> object:
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def to_backend(self, element: object) -> cython.int:
        raise NotImplementedError

    # ---- the reserve

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_there(self) -> cython.bint:
        """Has the pool a reserve? Not before it is made, nor when this process has destroyed it."""
        return self.ref.root != cython.NULL

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forked(self) -> cython.int:
        """This is the child: the parent's threads and tasks are not here, and a pool in private memory is a copy."""
        self.holders.reset()
        if self.sleepers is not None:
            self.sleepers.reset()
        if self.private and self.is_there():
            mempool_forked(self.ref, self.backend)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def mend(self, status: cython.int) -> cython.bint:
        """After TIMED_OUT and the like: can the same call succeed now? Runs no signal handler: the caller has things to put
        away first."""
        if status == NOT_REGISTERED:
            self.mapping.ensure_slot()
        elif status == TIMED_OUT:
            self.mapping.recover()
            if robust_holder(cython.address(reserve_of(self.ref).lock)) > NR_SLOTS:
                raise Corrupt(f"pool {self.name!r}: nobody can have the lock of its reserve as its word says")
        return status == NOT_REGISTERED or status == TIMED_OUT or status == INTERRUPTED

    @cython.cfunc
    @cython.exceptval(-100, check=False)
    def take(
        self,
        nr: uint64_t,
        words: cython.pointer(uint64_t),
        waiter: cython.pointer(uint64_t),
        flags: uint64_t,
    ) -> cython.int:
        status: cython.int
        while True:
            status = mempool_take(self.ref, self.backend, nr, words, waiter, flags, LOCK_NS)
            if not self.mend(status):
                break
        if status == OK:
            add_count(cython.address(mempool_counts(self.ref).reserve), nr)
        elif status != EXHAUSTED and status != TABLE_FULL:
            self.fail(status, 0, self.nbytes)
        return status

    @cython.cfunc
    @cython.exceptval(-100, check=False)
    def give_words(self, words: cython.pointer(uint64_t), nr: uint64_t, taken: cython.pointer(uint64_t)) -> cython.int:
        """To the reserve, as many as it wants; OK, or what is wrong with one."""
        status: cython.int
        done: uint64_t = 0
        while True:
            status = mempool_give(
                self.ref, self.backend, cython.address(words[done]), nr - done, cython.address(taken[0]), LOCK_NS
            )
            done += taken[0]
            if not self.mend(status):
                break
        taken[0] = done
        if done:
            add_count(cython.address(mempool_counts(self.ref).refills), done)
            self.given()
        return status

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leave(self, waiter: uint64_t) -> cython.int:
        if self.is_there():
            while self.mend(mempool_leave(self.ref, waiter, LOCK_NS)):
                pass
        return self.given()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def given(self) -> cython.int:
        """Somebody may have been woken: this process's tasks are told here, other processes' by their own."""
        if self.sleepers is not None and self.sleepers.waiting:
            self.sleepers.dispatch(self)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def set_min(self, min_nr: uint64_t) -> cython.int:
        surplus: uint64_t = 0
        status: cython.int
        while True:
            status = mempool_room(self.ref, min_nr)
            if status == EXHAUSTED:
                raise Exhausted(f"{self!r}: no room for the table of a reserve of {min_nr} elements")
            if status == OK or not self.mend(TIMED_OUT if status == BUSY else status):
                break
        while True:
            status = mempool_set_min(self.ref, self.backend, min_nr, cython.address(surplus), LOCK_NS)
            if status == BUSY:
                self.to_backend(self.of_word(surplus))
            elif not self.mend(status):
                break
        if status != OK:
            self.fail(status, surplus, self.nbytes)
        return self.given()

    # ---- for waiters

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def swept(self, waits: cython.bint) -> cython.bint:
        """Has anything of the dead come back? Worth a look when backend and reserve have nothing, before anybody is refused.
        Looking at every process costs more than a hand-over, so those who wait look now and then; sleep() looks too."""
        now: cython.double = monotonic()
        if waits and now < self.next_look:
            return False
        self.next_look = now + _LOOK
        return self.mapping.recover() > 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def sleep(self, waiter: uint64_t, seconds: cython.double) -> cython.bint:
        """One sleep of a thread: until it is woken (True), or for the re-poll interval, or for `seconds` unless negative."""
        ns: uint64_t = self.slice_ns
        rc: int64_t
        woken: cython.bint = False
        if seconds >= 0 and seconds * 1e9 < ns:
            ns = cython.cast(uint64_t, seconds * 1e9) + 1
        if waiter == NO_TICKET:  # the queue has no place
            time.sleep(min(ns, 10_000_000) / 1e9)
        else:
            with cython.nogil:
                rc = waiter_sleep(self.ref, waiter, ns)
            self.check_open()
            woken = waiter_state(self.ref, waiter) == WAITER_WOKEN
            if not woken and rc != -EINTR:
                add_count(cython.address(mempool_counts(self.ref).repolls), 1)
                self.mapping.recover()
        PyErr_CheckSignals()
        return woken

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_wait(self, seconds: cython.double) -> cython.int:
        microseconds: uint64_t = cython.cast(uint64_t, seconds * 1e6)
        bucket: uint64_t = 64 - clz64(microseconds) if microseconds else 0
        add_count(cython.address(mempool_counts(self.ref).waits), 1)
        bucket = bucket if bucket < NR_BUCKETS else NR_BUCKETS - 1
        fetch_add_relaxed(
            cython.address(reserve_of(self.ref).histogram[bucket]), 1, b"reserveobject.wait"
        )  # of all processes
        return 0

    def _note_wait(self, seconds: float, timed_out: bool) -> None:
        self.check_open()
        if timed_out:
            add_count(cython.address(mempool_counts(self.ref).timeouts), 1)
        else:
            self.note_wait(seconds)

    def _woken(self, waiter: int) -> bool:
        # Of a pool that is no more, too: the waiter looks again, and is told.
        return not self.is_there() or waiter >= NO_TICKET or waiter_state(self.ref, waiter) == WAITER_WOKEN

    def _repolled(self) -> None:
        self.check_open()
        add_count(cython.address(mempool_counts(self.ref).repolls), 1)
        self.mapping.recover()

    def _calls(self, seen: int) -> int:
        """Sleeps until a task of this process is woken by another process; what to give next time. -1: does not sleep."""
        if not self.is_there():
            return -1
        if seen >= 0:
            value: cython.uint = seen
            ns: uint64_t = self.slice_ns
            with cython.nogil:
                calls_sleep(self.ref, value, ns)
        return calls_seen(self.ref) if self.is_there() else -1

    def _bump(self) -> None:
        if self.is_there():
            calls_bump(self.ref)

    # ---- looking

    @property
    def min_nr(self) -> int:
        """Elements that the reserve is to have."""
        self.check_open()
        return read_once(cython.address(reserve_of(self.ref).min_nr), b"reserveobject.look")

    @property
    def curr_nr(self) -> int:
        """Elements that it has: a moment's look."""
        self.check_open()
        return read_once(cython.address(reserve_of(self.ref).curr_nr), b"reserveobject.look")

    @property
    def saturated(self) -> bool:
        """Has the reserve what it is to have (mempool_is_saturated in include/linux/mempool.h)? A hint."""
        return self.curr_nr >= self.min_nr

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def sum_counts(self, total: cython.pointer(SlotCounts)) -> cython.int:
        """What all processes have done, those that have gone too."""
        to: cython.pointer(uint64_t) = cython.cast(cython.pointer(uint64_t), total)
        of: cython.pointer(uint64_t)
        slot: cython.int
        i: cython.int
        for i in range(7):
            to[i] = 0
            for slot in range(NR_SLOTS + 1):
                of = cython.cast(cython.pointer(uint64_t), cython.address(reserve_of(self.ref).counts[slot]))
                to[i] += read_once(cython.address(of[i]), b"reserveobject.sum")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def nr_waiters(self) -> cython.int:
        r: cython.pointer(Reserve) = reserve_of(self.ref)
        i: cython.int
        waiters: cython.int = 0
        self.check_open()
        for i in range(NR_WAITER_WORDS):
            waiters += popcount64(read_once(cython.address(r.waiting[i]), b"reserveobject.look"))
        return waiters

    def stats(self) -> MempoolStats:
        """What the pool has done and who holds its elements: of all processes, since it was made. Walks the owner map of the
        backend for the holders. Thread-safe, process-safe; a moment's picture."""
        total: SlotCounts
        r: cython.pointer(Reserve) = reserve_of(self.ref)
        i: cython.int
        self.check_open()
        self.sum_counts(cython.address(total))
        low: uint64_t = read_once(cython.address(r.low_water), b"reserveobject.look")
        return MempoolStats(
            self.min_nr,
            self.curr_nr,
            self.outstanding,
            self.nr_waiters(),
            total.backend,
            total.reserve,
            total.refills,
            total.frees,
            total.waits,
            total.repolls,
            total.timeouts,
            self.curr_nr if low > self.curr_nr else low,
            tuple([read_once(cython.address(r.histogram[i]), b"reserveobject.look") for i in range(NR_BUCKETS)]),
            self.elements_by_process(),
        )

    @property
    def repoll(self) -> float:
        """Seconds after which a waiter asks the backend again although nobody has woken it."""
        return self.slice_ns / 1e9

    @property
    def outstanding(self) -> int:
        """Elements that somebody holds."""
        total: SlotCounts
        self.check_open()
        if self.backend != cython.NULL:
            return sum(self.elements_by_process().values())
        self.sum_counts(cython.address(total))
        # More came back than went out if somebody gave what was none of ours.
        return total.backend + total.reserve - total.frees if total.backend + total.reserve > total.frees else 0

    def elements_by_process(self) -> dict:
        """How many elements each process holds, by its id; "shared": those that were pickled. Of a pool of blocks; what a process
        has taken from the same backend by itself counts, too, if it has the size of an element."""
        found: dict = {}
        slot: cython.int
        self.check_open()
        if self.backend == cython.NULL:
            return found
        for slot in range(1, NR_SLOTS + 1):
            if read_once(cython.address(self.ref.arena.slots[slot].state), b"reserveobject.look") & 0xFF == STATE_LIVE:
                nr: uint64_t = mempool_outstanding(self.ref, self.backend, slot)
                if nr:
                    pid = read_once(cython.address(self.ref.arena.slots[slot].pid), b"reserveobject.look")
                    found[pid] = found.get(pid, 0) + nr
        nr = mempool_outstanding(self.ref, self.backend, OWNER_SHARED)
        if nr:
            found["shared"] = nr
        return found

    # ---- who can never be served: see holders.py

    def _publish_stuck(self, nr: int) -> None:
        """How many elements of this process cannot come back before it has been served."""
        if self.is_there():
            write_once(cython.address(mempool_counts(self.ref).stuck), nr, b"reserveobject.stuck")

    def _is_stuck(self) -> tuple:
        """Is every element one of those? With their numbers by process. Relaxed: looked at again after each sleep."""
        found: dict = {}
        slot: cython.int
        stuck: uint64_t
        nr: uint64_t
        self.check_open()
        if read_once(cython.address(reserve_of(self.ref).granted), b"reserveobject.stuck"):
            return False, found  # somebody has been woken who may be served yet
        if self.backend == cython.NULL:
            stuck = read_once(cython.address(mempool_counts(self.ref).stuck), b"reserveobject.stuck")
            return self.outstanding <= stuck and stuck > 0, found
        if mempool_outstanding(self.ref, self.backend, OWNER_SHARED):
            return False, found
        for slot in range(1, NR_SLOTS + 1):
            if read_once(cython.address(self.ref.arena.slots[slot].state), b"reserveobject.look") & 0xFF != STATE_LIVE:
                continue
            nr = mempool_outstanding(self.ref, self.backend, slot)
            stuck = read_once(cython.address(reserve_of(self.ref).counts[slot].stuck), b"reserveobject.stuck")
            if nr > stuck:
                return False, found
            if nr:
                found[read_once(cython.address(self.ref.arena.slots[slot].pid), b"reserveobject.look")] = nr
        return bool(found), found

    def _own_elements(self) -> int:
        """How many elements this process holds."""
        self.check_open()
        if self.backend == cython.NULL:
            return self.outstanding
        return mempool_outstanding(self.ref, self.backend, cython.cast(cython.uint, self.ref.arena.slot[0]))


_pools = weakref.WeakSet()


def _after_fork_in_child():
    pool: ReserveObject
    for pool in list(_pools):
        pool.forked()


os.register_at_fork(after_in_child=_after_fork_in_child)
