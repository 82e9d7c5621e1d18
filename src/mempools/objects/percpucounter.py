"""L4: PerCpuCounter, a number that many threads and processes add to (the kernel's lib/percpu_counter.c).

Purpose. Each unit of an area has a signed 64-bit part; adding changes the part of the CPU that one runs on, the number is the
sum of all. Guarantee. Nothing lies in a process's own memory, so a death or a thread's end loses only what was not yet added,
and there is nothing to fold. An add is one relaxed atomic read-modify-write: a signal handler that adds in the middle of
another add, and threads that are moved between CPUs, lose nothing. Price. A few nanoseconds to add; a sum reads every unit.

Every operation may run beside every other. Relaxed: a part orders nothing, and each add is one step.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.percpucounter is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.machine.atomics import fetch_add_relaxed, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.area import Area
from cython.cimports.mempools.pools.percpu import percpu_this_unit

register_module(cython.address(this_module_step))


@cython.cfunc
def counter_of(area: Area) -> PerCpuCounter:
    """For PerCpu.counter and for what arrives by a pickle: a counter over an area of 8 bytes."""
    if area.nbytes < 8 or area.address & 7:
        raise ValueError(f"{area!r} is no counter's: 8 aligned bytes are needed")
    counter: PerCpuCounter = PerCpuCounter.__new__(PerCpuCounter)
    area.hold()
    counter.area = area
    counter.units = cython.address(area.pool.units_ref)
    counter.first = area.copy_of(0)
    return counter


@cython.final
@cython.no_gc_clear
@cython.cclass
class PerCpuCounter:
    """A signed 64-bit number, a part of it in each unit, from `PerCpu.counter()` (lib/percpu_counter.c).

    Its memory is freed when it is dropped. Pickling it shares it with the process that unpickles it, as an Area. All methods
    may be called from any context but C signal handlers. Thread-safe, process-safe, lock-free."""

    def __init__(self):
        raise TypeError("counters come from PerCpu.counter()")

    def __dealloc__(self):
        if self.area is not None:
            self.area.let_go()

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def change(self, amount: uint64_t) -> cython.int:
        if self.first == cython.NULL:  # by PerCpuCounter.__new__, not by a pool
            self.__init__()
        if self.units.pool.gone:
            self.area.pool.check_open()
        fetch_add_relaxed(
            cython.cast(cython.pointer(uint64_t), self.first + percpu_this_unit(self.units) * self.units.unit_nbytes),
            amount,
            b"percpucounter.add",
        )
        return 0

    def inc(self) -> None:
        """Adds 1 (percpu_counter_inc). Thread-safe, process-safe, lock-free."""
        self.change(1)

    def dec(self) -> None:
        """Subtracts 1 (percpu_counter_dec). Thread-safe, process-safe, lock-free."""
        self.change(~cython.cast(uint64_t, 0))

    def add(self, amount: int64_t, /) -> None:
        """Adds an int of 64 bits, modulo 2**64 (percpu_counter_add). OverflowError for a larger one. Thread-safe, process-safe,
        lock-free."""
        self.change(cython.cast(uint64_t, amount))

    def sum(self) -> int:
        """The number (percpu_counter_sum): exact when nobody adds, else each part as it is when it is read. Thread-safe,
        process-safe, lock-free."""
        total: uint64_t = 0
        unit: uint64_t
        self.change(0)
        for unit in range(self.units.nr_units):
            total += read_once(
                cython.cast(cython.pointer(uint64_t), self.first + unit * self.units.unit_nbytes),
                b"percpucounter.sum",
            )
        return cython.cast(int64_t, total)

    def __reduce__(self):
        if self.first == cython.NULL:
            self.__init__()
        return _load, (self.area,)

    def __repr__(self) -> str:
        return f"<mempools.PerCpuCounter of {self.area!r}>"


def _load(area: Area) -> PerCpuCounter:
    """The other end of a counter's pickle."""
    return counter_of(area)
