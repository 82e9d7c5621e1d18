"""L4: Mempool over Python objects, and what it shares with the Mempool over blocks (blockmempool.py): waiting.

The order of an allocation: the backend, without waiting; the reserve; the backend again, with the caller's permission to wait;
the reserve again, and the queue; then, after each sleep, the backend and the reserve once more. Only who has been woken looks
into the reserve first: there is what it was woken for. pools/mempool.py has the reserve, pools/reserve.py the queue,
reserveobject.py the sleep, sleepers.py the tasks of event loops, holders.py those who can never be served.

No lock is held while Python runs. Whoever waits for the reserve's lock and finds its holder dead lets recovery mend it.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.mempoolobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.structs import KIND_MEMPOOL
from cython.cimports.mempools.machine.atomics import monotonic, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.reserveobject import ReserveObject, add_count
from cython.cimports.mempools.objects.restricted import is_restricted
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.mempool import TAKE_QUEUES, mempool_counts, mempool_wants
from cython.cimports.mempools.pools.mempoolmake import MempoolConfig, mempool_make
from cython.cimports.mempools.pools.reserve import NO_TICKET, WAITER_ASYNC, Reserve

from mempools.errors import Exhausted, NotOwned, WouldBlock
from mempools.layout.mapping import create_private
from mempools.objects.acquiring import Acquired
from mempools.objects.contexts import callback, check_wait

register_module(cython.address(this_module_step))

_MAX_BULK = cython.declare(uint64_t, 1 << 20)
_REPOLL = 0.5
_NO_BACKEND = cython.declare(uint64_t, 1 << 32)  # of attempt's flags


@cython.no_gc_clear
@cython.cclass
class Mempool(ReserveObject):
    """A guaranteed reserve of `min_nr` elements over a backend (the kernel's mempool, mm/mempool.c).

    `Mempool(min_nr, alloc, free)`: elements are whatever `alloc()` returns, each an object of its own; None or
    MemoryError say that there is none now, and `free(element)` disposes of one.
    `reset(element)` makes one that comes back as good as new. As long as `alloc` succeeds
    the reserve is left alone; when it fails an element comes from there, and when that is empty the caller waits for one that
    is given back. So an allocation that may wait does not fail, if elements come back. `fifo`: who waits longest is served
    first, and nobody overtakes; without it a newcomer may take an element that has just come back. `repoll`: seconds after
    which a waiter asks the backend again although nobody has woken it.

    A callback runs inside `noio`; it may not wait for this pool, and `may_wait()` tells it whether it may wait at all. What it
    raises, but MemoryError, passes through, and the pool is as it was. Elements are of one process: a forked child has
    copies of those in the reserve. For elements that processes share: `Arena.mempool`.

    Thread-safe; `free` and `alloc(wait=False)` are legal in destructors, signal handlers and on event loops."""

    def __init__(
        self,
        min_nr: int,
        alloc: object,
        free: object = None,
        *,
        reset: object = None,
        fifo: bool = False,
        repoll: float = _REPOLL,
        name: str = "objects",
    ) -> None:
        config: MempoolConfig
        if self.ref.arena != cython.NULL:
            raise TypeError("this Mempool is made already")
        check_min_nr(min_nr)
        if not callable(alloc) or not (free is None or callable(free)) or not (reset is None or callable(reset)):
            raise TypeError("Mempool(min_nr, alloc, free): alloc, free and reset are called")
        self.alloc_fn = alloc
        self.free_fn = free
        self.reset_fn = reset
        self.objects = {}
        self.prepare(repoll)
        # With cells for the largest reserve: address space that is not touched before it is used.
        mapping = create_private(_MAX_BULK * 64)
        self.open_ref(mapping, name, KIND_MEMPOOL, 6, 0, 0, cython.sizeof(Reserve), 0, True)
        self.private = True
        config.nbytes = 0
        config.min_nr = min_nr
        config.backend = 0
        config.fifo = bool(fifo)
        config.poison = 0
        mempool_make(self.ref, cython.NULL, cython.address(config))
        try:
            self.set_min(min_nr)
            self.fill_reserve()
        except BaseException:
            self.empty()
            raise

    # ---- what kinds of elements do in their own way

    @cython.cfunc
    def from_backend(self, waits: cython.bint) -> object:
        """A new element, None if there is none."""
        if self.fault():
            return None
        try:
            with callback(self, waits):
                element = self.alloc_fn()
        except MemoryError:
            return None
        if element is not None:
            add_count(cython.address(mempool_counts(self.ref).backend), 1)
        return element

    @cython.cfunc
    def of_word(self, word: uint64_t) -> object:
        return self.objects.pop(word)[0]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_back(self, word: uint64_t) -> cython.int:
        return self.give(self.of_word(word))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def to_backend(self, element: object) -> cython.int:
        if self.free_fn is not None:
            with callback(self, True):
                self.free_fn(element)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def give(self, element: object) -> cython.int:
        """An element comes back. In `objects` from the start: of two who give the same one, one is told."""
        word: uint64_t = id(element)
        taken: uint64_t = 0
        mine: tuple = (element,)
        if element is None:
            raise TypeError("None is no element: it says that there is none")
        if self.objects.setdefault(word, mine) is not mine:
            raise NotOwned(
                f"{self!r}: double free: {element!r} is in the reserve, or on its way there (elements are told apart by "
                "identity: each must be an object of its own)"
            )
        try:
            if self.reset_fn is not None:
                with callback(self, True):
                    self.reset_fn(element)
            self.give_words(cython.address(word), 1, cython.address(taken))
        finally:
            if not taken:
                del self.objects[word]
        add_count(cython.address(mempool_counts(self.ref).frees), 1)
        return 0 if taken else self.to_backend(element)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fault(self) -> cython.bint:
        """Is this attempt to fail, as a test wants it?"""
        if self.faults is None:
            return False
        self.nr_attempts += 1
        return bool(self.faults(self.nr_attempts - 1))

    def fail_backend(self, when: object = None) -> None:
        """For tests, of this object: let the backend fail whenever `when(n)` is true for its n-th attempt from now on, counted
        from 0; None: no more. A bulk allocation has one attempt for each element (fail_mempool_alloc in mm/mempool.c)."""
        self.nr_attempts = 0
        self.faults = when

    # ---- allocating

    def alloc(self, *, wait: cython.bint = True, timeout: object = None) -> object:
        """An element (mempool_alloc in mm/mempool.c): from the backend, else from the reserve, else, after waiting, one that
        came back.

        `timeout`: seconds; WouldBlock when they are over, or at once with wait=False (GFP_NOWAIT). Without a timeout it does
        not fail. WaitForbidden where waiting could never end: on an event loop's thread, in a callback of this pool, or when
        all elements are certainly held by those who wait for more (`with` blocks of waiting threads and tasks, or all that
        single-threaded processes have). Waiting lets other threads run; signal handlers run, KeyboardInterrupt loses nothing.
        Thread-safe; with wait=False legal in destructors, signal handlers and on event loops."""
        if wait and is_restricted():
            check_wait(self, "a wait for an element", "use `await pool.alloc_async()`, or wait=False", timeout)
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        element = self.from_backend(False)
        if element is not None:
            return element
        return self.wait_for(1, [], wait, timeout, True)[0]

    def alloc_bulk(self, nr: int, *, wait: cython.bint = True, timeout: object = None) -> list:
        """`nr` elements, all or none: what the backend does not give comes from the reserve in one piece, so that two callers
        cannot starve each other (mempool_alloc_bulk in mm/mempool.c). ValueError for more than the reserve has place for, for
        that might never come. The rest as for `alloc`. Thread-safe."""
        if wait and is_restricted():
            check_wait(self, "a wait for elements", "use `await pool.alloc_bulk_async()`, or wait=False", timeout)
        self.check_bulk(nr)
        return self.wait_for(nr, [], wait, timeout, False)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_bulk(self, nr: object) -> cython.int:
        self.check_open()
        most = max(self.min_nr, 1)
        if not 0 <= nr <= most:
            raise ValueError(
                f"{nr} elements at once of {self!r}: at most min_nr ({most}) can be guaranteed; resize it, or ask in pieces"
            )
        return 0

    def alloc_preallocated(self) -> object:
        """An element of the reserve, never of the backend, without waiting (mempool_alloc_preallocated in mm/mempool.c).
        WouldBlock if it is empty. Thread-safe, legal where `free` is."""
        word: uint64_t
        waiter: uint64_t = NO_TICKET
        self.check_open()
        if self.take(1, cython.address(word), cython.address(waiter), 0) != OK:
            raise WouldBlock(f"{self!r}: the reserve is empty")
        return self.of_word(word)

    def alloc_noreserve(self, *, wait: cython.bint = True) -> object:
        """An element of the backend, never of the reserve (mempool_alloc_noreserve of Linux 6.12): Exhausted if it has
        none. Thread-safe."""
        self.check_open()
        element = self.from_backend(wait)
        if element is None and self.swept(False):
            element = self.from_backend(wait)
        if element is None:
            raise Exhausted(f"{self!r}: the backend has no element now, and the reserve was not to be used")
        return element

    def alloc_async(self, timeout: object = None) -> object:
        """`await`: as `alloc`, for tasks of an event loop (asyncio). Cancellation and time-outs lose no element.
        Thread-safe; tasks of several loops may wait for one pool."""
        self.check_open()
        return self.asleep().alloc_one(self, timeout)

    def alloc_bulk_async(self, nr: int, timeout: object = None) -> object:
        """`await`: as `alloc_bulk`, for tasks of an event loop."""
        self.check_bulk(nr)
        return self.asleep().alloc(self, nr, timeout)

    @cython.cfunc
    def asleep(self) -> object:
        """The module of those who wait in tasks."""
        from mempools.objects import sleepers

        with cython.critical_section(self):
            if self.sleepers is None:
                self.sleepers = sleepers.Sleepers()
        return sleepers

    def acquire(self, timeout: object = None) -> Acquired:
        """For `with` and `async with`: an element that is given back at the end of the block. While it lasts, the thread or task
        is known as its holder, so that a wait for ever is found out (see `alloc`)."""
        return Acquired(self, timeout)

    # ---- waiting

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def attempt(
        self, nr: uint64_t, got: list, waits: cython.bint, waiter: cython.pointer(uint64_t), flags: uint64_t
    ) -> cython.bint:
        """Fills `got` up to nr elements: from the backend, unless it has just been asked, then what is missing from the
        reserve. True: it is full."""
        words: uint64_t[64]
        missing: uint64_t = nr - len(got)
        i: uint64_t
        self.check_open()
        while missing > 0 and not flags & _NO_BACKEND:
            element = self.from_backend(waits)
            if element is None:
                break
            got.append(element)
            missing -= 1
        if missing == 0:
            if waiter[0] != NO_TICKET:
                i = waiter[0]
                waiter[0] = NO_TICKET
                self.leave(i)
            return True
        if missing > 64:
            return self.attempt_many(missing, got, waiter, flags)
        if self.take(missing, words, waiter, flags) != OK:
            return False
        return self.take_out(words, missing, got)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_out(self, words: cython.pointer(uint64_t), nr: uint64_t, got: list) -> cython.bint:
        """The elements behind words that have been taken out of the reserve; if one raises, the rest go back there."""
        i: uint64_t = 0
        try:
            while i < nr:
                i += 1
                got.append(self.of_word(words[i - 1]))
        except BaseException:
            while i < nr:
                i += 1
                self.put_back(words[i - 1])
            raise
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def attempt_many(
        self, missing: uint64_t, got: list, waiter: cython.pointer(uint64_t), flags: uint64_t
    ) -> cython.bint:
        room: bytearray = bytearray(8 * missing)
        words: cython.pointer(uint64_t) = cython.cast(cython.pointer(uint64_t), cython.cast(cython.p_char, room))
        if self.take(missing, words, waiter, flags) != OK:
            return False
        return self.take_out(words, missing, got)

    @cython.cfunc
    def wait_for(self, nr: uint64_t, got: list, waits: cython.bint, timeout: object, asked: cython.bint) -> list:
        """nr elements; those in `got` already, of which none is lost if this raises. `asked`: the backend has none now."""
        waiter: uint64_t = NO_TICKET
        known: cython.bint = False  # to `holders`, as one who waits
        woken: cython.bint = False
        begun: cython.double = -1
        deadline: cython.double = 0
        remaining: cython.double = -1
        try:
            if self.attempt(nr, got, False, cython.address(waiter), _NO_BACKEND if asked else 0):
                return got
            if self.swept(waits) and self.attempt(nr, got, False, cython.address(waiter), 0):
                return got
            if not waits:
                raise WouldBlock(f"{self!r}: no element now, and waiting was not allowed")
            begun = monotonic()
            if timeout is not None:
                deadline = begun + timeout
                if deadline != deadline:
                    raise ValueError("a time-out is a number of seconds")
            while True:
                if woken and self.attempt(nr, got, False, cython.address(waiter), _NO_BACKEND):
                    break
                if self.attempt(nr, got, True, cython.address(waiter), TAKE_QUEUES):
                    break
                if nr > max(self.min_nr, 1):
                    raise WouldBlock(f"{self!r} was resized to less than the {nr} elements that are waited for")
                if timeout is not None:
                    remaining = deadline - monotonic()
                    if remaining <= 0:
                        add_count(cython.address(mempool_counts(self.ref).timeouts), 1)
                        raise WouldBlock(f"{self!r}: no element came back within {timeout} s")
                elif self.holders.waits(self):
                    known = True
                woken = self.sleep(waiter, remaining)
                if known and not woken:
                    # Who has been woken is nobody who waits for ever: `granted` says so until it has its elements.
                    known = False
                    self.holders.waits_no_more(self)
            self.note_wait(monotonic() - begun)
            if known:
                self.holders.waits_no_more(self)
            return got
        except BaseException:
            if begun >= 0 and timeout is None:
                self.holders.waits_no_more(self)
            self.give_up(waiter, got)
            raise

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def give_up(self, waiter: uint64_t, got: list) -> cython.int:
        """Leaves the queue and gives back what it has, all of it, whatever callbacks raise."""
        if waiter != NO_TICKET:
            self.leave(waiter)
        while got:
            try:
                self.give(got.pop())
            except BaseException:
                self.give_up(NO_TICKET, got)
                raise
        return 0

    # For sleepers.py, which is plain Python: `place` is a list of the waiter's number, empty for none; who takes the number
    # out is the one to leave the queue.

    def _attempt(self, nr: int, got: list, place: list, queue: bool) -> bool:
        ticket: uint64_t = to_u64(place.pop()) if place else NO_TICKET
        flags: uint64_t = TAKE_QUEUES | WAITER_ASYNC if queue else 0
        done: cython.bint
        try:
            done = self.attempt(nr, got, False, cython.address(ticket), flags)
            if not done and not queue and self.swept(True):
                done = self.attempt(nr, got, False, cython.address(ticket), flags)
            return done
        finally:
            if ticket != NO_TICKET:
                place.append(ticket)

    def _give_up(self, place: list, got: list) -> None:
        try:
            waiter: uint64_t = to_u64(place.pop())
        except IndexError:
            waiter = NO_TICKET
        self.give_up(waiter, got)

    # ---- freeing

    def free(self, element: object) -> None:
        """Give an element back (mempool_free in mm/mempool.c): to the reserve if that lacks any, and whoever waits longest is
        woken; else to the backend. NotOwned for what is no element of this pool's, as far as that can be told; nothing is
        changed then. Never waits for elements. Thread-safe; legal in destructors, weakref callbacks, signal handlers and on
        event loops."""
        self.check_open()
        self.give(element)

    def free_bulk(self, elements: object) -> None:
        """Give many back (mempool_free_bulk in mm/mempool.c). If one is refused, those before it are free. Thread-safe."""
        self.check_open()
        for element in elements:
            self.give(element)

    # ---- the reserve's size

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fill_reserve(self) -> cython.int:
        """Exhausted if the backend has not enough. It ends though others take what it fills, and if the table takes nothing."""
        tries: uint64_t = 2 * self.min_nr + 64
        while mempool_wants(self.ref) and tries > 0:
            tries -= 1
            element = self.from_backend(True)
            if element is None:
                if self.swept(False):
                    continue
                raise Exhausted(
                    f"{self!r}: the backend has only {self.curr_nr} of the {max(self.min_nr, 1)} elements of the reserve"
                )
            self.give(element)
        return 0

    def resize(self, min_nr: int) -> bool:
        """Change the size of the reserve, beside any allocations and frees (mempool_resize in mm/mempool.c). True if it is
        full now; False if the backend had not enough: frees fill it later. Waiters that want more than that at once get
        WouldBlock. Thread-safe."""
        check_min_nr(min_nr)
        self.check_open()
        self.set_min(min_nr)
        try:
            self.fill_reserve()
        except Exhausted:
            pass
        return self.curr_nr >= max(min_nr, 1)  # others may take and free meanwhile

    def empty(self) -> None:
        """Give the whole reserve back to the backend, as before the pool's end (mempool_exit in mm/mempool.c); elements in
        somebody's hands stay. Frees fill it again. Thread-safe."""
        word: uint64_t
        waiter: uint64_t = NO_TICKET
        self.check_open()
        while self.take(1, cython.address(word), cython.address(waiter), 0) == OK:
            add_count(cython.address(mempool_counts(self.ref).frees), 1)
            self.to_backend(self.of_word(word))


@cython.cfunc
@cython.exceptval(-1, check=False)
def check_min_nr(min_nr: object) -> cython.int:
    if not 0 <= min_nr <= _MAX_BULK:
        raise ValueError(f"min_nr {min_nr}: 0 to {_MAX_BULK}")
    return 0
