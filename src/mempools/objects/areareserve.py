"""L4: the reserve of a PerCpuPool (percpupool.py): a Mempool's, over areas of a PerCpu instead of blocks of a GenPool.

Nothing here is new: an area is a block in the owner map of the PerCpu's chunks, unit 0's, so the reserve of pools/mempool.py
takes and gives it like any other. Areas in the reserve are OWNER_RESERVE's; what a dead process held, or had claimed to fill the
reserve with, goes into it as far as it wants any, else back to the PerCpu. That takes one rule in recovery: reserves before
PerCpus (layout/recovery.py). Areas are zeroed when they are taken, for they may come from the dead.

Nobody waits for the reserve, so the queue stays empty; `timeouts` of its counts are the requests that found nothing.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.areareserve is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.directory import directory_drop
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_PERCPU_POOL
from cython.cimports.mempools.machine.atomics import fill, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.area import Area, empty_area, fill_area
from cython.cimports.mempools.objects.percpuobject import PerCpu
from cython.cimports.mempools.objects.reserveobject import add_count
from cython.cimports.mempools.parts.status import MISMATCH, OK, TIMED_OUT
from cython.cimports.mempools.pools.mempool import mempool_counts, mempool_wants
from cython.cimports.mempools.pools.mempoolmake import MempoolConfig, mempool_make
from cython.cimports.mempools.pools.mempoolmend import mempool_check
from cython.cimports.mempools.pools.percpu import percpu_free, percpu_ptr
from cython.cimports.mempools.pools.reserve import NO_TICKET, Reserve, SlotCounts, reserve_of

from mempools.errors import Busy, Corrupt, LayoutMismatch

register_module(cython.address(this_module_step))


@cython.final
@cython.no_gc_clear
@cython.cclass
class AreaReserve(ReserveObject):
    """For PerCpuPool. Thread-safe, process-safe; nothing here waits for more than the reserve's lock but `add_area`."""

    def __init__(self):
        raise TypeError("a reserve of areas is made by Arena.percpu_pool")

    # ---- what ReserveObject asks for

    @cython.cfunc
    def of_word(self, word: uint64_t) -> object:
        area: Area
        unit: uint64_t
        try:
            area = empty_area(self.percpu, self.nbytes)
        except BaseException:
            self.put_back(word)
            raise
        for unit in range(self.percpu.units_ref.nr_units):
            fill(percpu_ptr(cython.address(self.percpu.units_ref), word, unit), 0, self.nbytes, b"areareserve.zero")
        fill_area(area, word)
        return area

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_back(self, word: uint64_t) -> cython.int:
        percpu_free(cython.address(self.percpu.units_ref), word)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def to_backend(self, element: object) -> cython.int:
        area: Area = element
        area.free()
        return 0

    # ---- for percpupool.py

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_both(self) -> cython.int:
        self.check_open()
        return self.percpu.check_open()

    def take_area(self) -> object:
        """An area of the reserve, zeroed; None if it is empty."""
        word: uint64_t
        waiter: uint64_t = NO_TICKET
        self.check_both()
        if self.take(1, cython.address(word), cython.address(waiter), 0) != OK:
            add_count(cython.address(mempool_counts(self.ref).timeouts), 1)
            return None
        return self.of_word(word)

    @property
    def wants(self) -> bool:
        """Has the reserve room for an area? A hint."""
        self.check_open()
        return mempool_wants(self.ref)

    def add_area(self) -> bool:
        """One more area from the PerCpu, which may have to grow; False if the reserve has got full meanwhile. Errors of
        PerCpu.alloc."""
        taken: uint64_t = 0
        word: uint64_t
        self.check_both()
        word = self.percpu.claim(self.nbytes, 8 if self.nbytes >= 8 else 4, True)
        try:
            self.give_words(cython.address(word), 1, cython.address(taken))
        finally:
            if not taken:
                self.put_back(word)
        return taken > 0

    def set_size(self, nr: int) -> None:
        """How many areas it is to have. What is too much goes back to the PerCpu."""
        self.check_both()
        self.set_min(nr)

    def counts(self) -> tuple:
        """Of all processes since it was made: taken, asked for in vain, put in; and the lowest level."""
        total: SlotCounts
        self.check_open()
        self.sum_counts(cython.address(total))
        low: uint64_t = read_once(cython.address(reserve_of(self.ref).low_water), b"areareserve.look")
        return total.reserve, total.timeouts, total.refills, min(low, self.curr_nr)

    def empty(self) -> None:
        """All areas go back to the PerCpu."""
        word: uint64_t
        waiter: uint64_t = NO_TICKET
        self.check_both()
        while self.take(1, cython.address(word), cython.address(waiter), 0) == OK:
            self.put_back(word)

    def check(self) -> None:
        """Corrupt if the reserve names what is not an area of the reserve's."""
        named: uint64_t = 0
        wrong: uint64_t = 0
        self.check_both()
        while self.mend(mempool_check(self.ref, self.backend, cython.address(named), cython.address(wrong))):
            pass
        if wrong:
            raise Corrupt(f"{self.name!r}: {wrong} of the {named} areas in the reserve are not the reserve's")

    def destroy(self) -> None:
        """Busy if another process has it open; it is empty then."""
        status: cython.int
        self.check_open()
        self.empty()
        while True:
            with cython.nogil:
                status = directory_drop(cython.address(self.mapping.ref), self.ref.index, True)
            if status == OK:
                self.mapping.pool_gone(self.ref)
                return
            if not self.may_retry(status):
                raise Busy(f"{self.name!r} is open in another process: it is empty now, and stays")


def open_reserve(arena: object, mapping: Mapping, name: str, nbytes: uint64_t, high: uint64_t, percpu: PerCpu):
    """For Arena: the reserve of that name, made if absent, and empty then."""
    pool: AreaReserve = AreaReserve.__new__(AreaReserve)
    config: MempoolConfig
    status: cython.int
    pool.arena = arena
    pool.percpu = percpu
    pool.prepare(1.0)
    # Its own chunks only hold cells of a large reserve.
    pool.open_ref(mapping, name, KIND_PERCPU_POOL, 6, 0, 0, cython.sizeof(Reserve), 0, True)
    pool.backend = percpu.ref
    config.nbytes = nbytes
    config.min_nr = high
    config.backend = percpu.ref.index
    config.fifo = 0
    config.poison = 0
    while True:
        status = mempool_make(pool.ref, pool.backend, cython.address(config))
        if status == OK:
            break
        if status == MISMATCH:
            r: cython.pointer(Reserve) = reserve_of(pool.ref)
            raise LayoutMismatch(
                f"{name!r} is a pool of {r.asked} areas of {r.nbytes} bytes, of another PerCpu or not, and not of {high} of "
                f"{nbytes} bytes of {percpu.name!r}: open it with its own configuration"
            )
        mapping.ensure_slot()
        pool.mend(TIMED_OUT)
    pool.nbytes = nbytes
    if pool.min_nr == 0:  # new, or its maker has been killed meanwhile
        pool.set_min(high)
    pool.private = mapping.fd < 0
    return pool
