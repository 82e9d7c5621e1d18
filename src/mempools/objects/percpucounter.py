"""L4: PerCpuCounter as Python calls it. The synchronization story is in pools/unitcounter.py."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.percpucounter is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.layout.proctable import registration_lives
from cython.cimports.mempools.objects.area import Area
from cython.cimports.mempools.parts.status import BUSY, NOT_REGISTERED, OK
from cython.cimports.mempools.pools.percpu import percpu_this_unit
from cython.cimports.mempools.pools.unitcounter import (
    COUNTER_ALIGN,
    COUNTER_BYTES,
    counter_add,
    counter_compare,
    counter_folder,
    counter_limited_add,
    counter_read,
    counter_set,
    counter_sum,
    counter_sync,
    counter_take_over,
)


@cython.cfunc
def counter_of(area: Area, index: uint64_t, batch: uint64_t) -> PerCpuCounter:
    """For PerCpu.counters and for what arrives by a pickle: the index-th counter of an area."""
    if area.address & (COUNTER_ALIGN - 1) or index >= area.nbytes // COUNTER_BYTES:
        raise ValueError(f"{area!r} has no counter {index}: each takes {COUNTER_BYTES} aligned bytes")
    counter: PerCpuCounter = PerCpuCounter.__new__(PerCpuCounter)
    area.hold()
    counter.area = area
    counter.units = cython.address(area.pool.units_ref)
    counter.index = index
    counter.batch = batch
    counter.number.first = area.copy_of(0) + index * COUNTER_BYTES
    counter.number.stride = area.pool.units_ref.unit_nbytes
    counter.number.nr_units = area.pool.units_ref.nr_units
    return counter


@cython.final
@cython.no_gc_clear
@cython.cclass
class PerCpuCounter:
    """A signed 64-bit number, a part of it in each unit, from `PerCpu.counter()` (lib/percpu_counter.c).

    To add touches the copy of the CPU that one runs on alone, and what was added is there when the call returns, whatever then
    becomes of the thread or the process. `sum()` visits all copies; `read()` is one word, off by less than `batch` times the
    number of units and the adds that are on their way, however many were made with `add_local`.

    Its memory is freed when it is dropped, that of several made together when all are. Pickling it shares it with the process
    that unpickles it, as an Area. All methods may be called from any context but C signal handlers. Thread-safe, process-safe;
    lock-free, nobody waits. Numbers are taken modulo 2**64."""

    def __init__(self):
        raise TypeError("counters come from PerCpu.counter()")

    def __dealloc__(self):
        if self.area is not None:
            self.area.let_go()

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def check_made(self) -> cython.int:
        if self.number.first == cython.NULL:  # by PerCpuCounter.__new__, not by a pool
            self.__init__()
        if self.units.pool.gone:
            self.area.pool.check_open()
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def change(self, amount: uint64_t, batch: uint64_t) -> cython.int:
        status: cython.int
        self.check_made()
        status = counter_add(
            cython.address(self.number),
            percpu_this_unit(self.units),
            amount,
            batch,
            self.units.pool.arena.slot[1],
        )
        return 0 if status == OK else self.settle(status)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def settle(self, status: cython.int) -> cython.int:
        """The add is done, the fold was not: another is at it, who may be dead; or this process is not known to the arena yet."""
        if status == NOT_REGISTERED:
            self.area.pool.mapping.ensure_slot()
        elif status == BUSY:
            self.take_over()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_over(self) -> cython.int:
        """Finish what a process has begun that is known to be dead."""
        folder: uint64_t = counter_folder(cython.address(self.number))
        if folder and not registration_lives(self.units.pool.arena, folder):
            counter_take_over(cython.address(self.number), folder, self.units.pool.arena.slot[1])
        return 0

    # ---- adding

    def inc(self) -> None:
        """Adds 1 (percpu_counter_inc)."""
        self.change(1, self.batch)

    def dec(self) -> None:
        """Subtracts 1 (percpu_counter_dec)."""
        self.change(~cython.cast(uint64_t, 0), self.batch)

    def add(self, amount: int64_t, /) -> None:
        """Adds an int of 64 bits (percpu_counter_add_batch). OverflowError for a larger one."""
        self.change(cython.cast(uint64_t, amount), self.batch)

    def add_local(self, amount: int64_t, /) -> None:
        """As `add`, without ever folding: `read`, `compare` and `limited_add` may know nothing of it before somebody else folds
        this unit, or `sync` does (percpu_counter_add_local). For numbers of which only the sum is asked."""
        self.change(cython.cast(uint64_t, amount), 0)

    def limited_add(self, limit: int64_t, amount: int64_t, /) -> bool:
        """Adds unless the number would go beyond `limit`: above it for a positive amount, below it for a negative one
        (percpu_counter_limited_add); whether it did.

        Those who only use this, in all processes, never overstep the limit together. Of other adds it counts those that had
        returned when it began (not those of `add_local`); one that comes meanwhile may take the number beyond."""
        self.check_made()
        return counter_limited_add(cython.address(self.number), limit, amount, self.batch)

    def set(self, value: int64_t, /) -> None:
        """The number is `value` (percpu_counter_set). An add beside it comes before it or after it."""
        self.check_made()
        counter_set(cython.address(self.number), cython.cast(uint64_t, value))

    def sync(self) -> None:
        """Fold all parts, so that `read` is exact if nobody adds (percpu_counter_sync). If another process is folding at this
        moment it is left to that one, unless it is dead."""
        status: cython.int
        self.check_made()
        self.area.pool.mapping.ensure_slot()
        status = counter_sync(cython.address(self.number), self.units.pool.arena.slot[1])
        if status == BUSY:
            self.area.pool.mapping.recover()
            self.take_over()

    # ---- reading

    def sum(self) -> int:
        """The number (percpu_counter_sum): exact when nobody adds, else each part as it is when it is read."""
        self.check_made()
        return counter_sum(cython.address(self.number))

    def sum_positive(self) -> int:
        """As `sum`, 0 if that is negative (percpu_counter_sum_positive)."""
        return max(self.sum(), 0)

    def read(self) -> int:
        """An estimate that visits no copy (percpu_counter_read): see above for its bound."""
        value: int64_t = 0
        self.check_made()
        counter_read(cython.address(self.number), cython.address(value))
        return value

    def read_positive(self) -> int:
        """As `read`, 0 if that is negative, as an estimate of a small number may be (percpu_counter_read_positive)."""
        return max(self.read(), 0)

    def compare(self, other: int64_t, /) -> int:
        """-1, 0 or 1: less than `other`, equal, more (percpu_counter_compare). Visits the copies only if the estimate is too
        close to it."""
        self.check_made()
        return counter_compare(cython.address(self.number), other, self.batch)

    def __reduce__(self):
        self.check_made()
        return _load, (self.area, self.index, self.batch)

    def __repr__(self) -> str:
        return f"<mempools.PerCpuCounter {self.index} of {self.area!r}>"


def _load(area: Area, index: int, batch: int) -> PerCpuCounter:
    """The other end of a counter's pickle."""
    return counter_of(area, index, batch)
