"""L4: one word of an Area, changed on the copy of the CPU that one runs on. The synchronization story is in parts/anyword.py."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.percpuword is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.objects.area import Area
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.parts.anyword import (
    ADD,
    AND,
    OR,
    XCHG,
    any_change,
    any_cmpxchg,
    any_mask,
    any_read,
    any_signed,
)
from cython.cimports.mempools.pools.percpu import percpu_this_unit

_FORMATS = {"b": 1, "h": 2, "i": 4, "q": 8, "B": 1, "H": 2, "I": 4, "Q": 8}


@cython.cfunc
def word_of(area: Area, offset: uint64_t, format: str) -> PerCpuWord:
    """For Area.word."""
    if format not in _FORMATS:
        raise ValueError(f"format {format!r}: one of {' '.join(_FORMATS)} (1, 2, 4, 8 bytes; small letters are signed)")
    size: uint64_t = _FORMATS[format]
    if offset > area.nbytes or size > area.nbytes - offset:
        raise ValueError(f"a word of {size} bytes at {offset} is not inside the area of {area.nbytes} bytes")
    if (area.address + offset) % size:
        raise ValueError(f"a word of {size} bytes at {offset} is not aligned to its size")
    word: PerCpuWord = PerCpuWord.__new__(PerCpuWord)
    area.hold()
    word.area = area
    word.units = cython.address(area.pool.units_ref)
    word.first = area.copy_of(0) + offset
    word.itemsize = size
    word.signed = format.islower()
    return word


@cython.cfunc
@cython.inline
@cython.exceptval(0xDEAD, check=True)
def operand(value: object) -> uint64_t:
    """Any int from -2**63 to 2**64 - 1, modulo 2**64: of what a narrower word takes only the low bits."""
    if not isinstance(value, int):
        raise TypeError(f"an int is needed, not {type(value).__name__}")
    if value >= 0:
        return value
    return cython.cast(uint64_t, cython.cast(int64_t, value))


@cython.final
@cython.no_gc_clear
@cython.cclass
class PerCpuWord:
    """A word of an area, from `Area.word()`: the kernel's this_cpu operations (include/linux/percpu-defs.h).

    Each changes the copy of the CPU it runs on, atomically: the thread may be moved to another CPU just before, and other
    processes run on this one too, so the change is a relaxed atomic read-modify-write, a few nanoseconds on a line that stays.
    Nothing is ordered by it. A single copy's value has no meaning; `sum()` has, once the writers are known to be done.
    Operands are taken modulo the word's size, as in C: adding -1 to an unsigned word subtracts, adding 2**32 - 1 to
    one of 8 bytes adds 2**32 - 1. Any context but C signal handlers. Thread-safe, process-safe, lock-free."""

    def __init__(self):
        raise TypeError("words come from Area.word()")

    def __dealloc__(self):
        if self.area is not None:
            self.area.let_go()

    @cython.cfunc
    @cython.exceptval(check=True)
    def here(self) -> cython.p_char:
        if self.first == cython.NULL:  # by PerCpuWord.__new__, not by an area
            self.__init__()
        if self.units.pool.gone:
            self.area.pool.check_open()
        return self.first + percpu_this_unit(self.units) * self.units.unit_nbytes

    @cython.cfunc
    @cython.exceptval(check=True)
    def of(self, unit: object) -> cython.p_char:
        number: uint64_t = to_u64(unit)
        self.here()
        if number >= self.units.nr_units:
            raise IndexError(f"unit {number}: there are {self.units.nr_units}")
        return self.first + number * self.units.unit_nbytes

    @cython.cfunc
    def number(self, value: uint64_t) -> object:
        if self.signed:
            return any_signed(value, self.itemsize)
        return value & any_mask(self.itemsize)

    def read(self, unit: object = None) -> int:
        """This CPU's copy (this_cpu_read), or that of a unit (per_cpu)."""
        return self.number(any_read(self.here() if unit is None else self.of(unit), self.itemsize))

    def write(self, value: object, unit: object = None) -> None:
        """Replaces this CPU's copy (this_cpu_write), or that of a unit: what others add to it at that moment is replaced too."""
        any_change(self.here() if unit is None else self.of(unit), self.itemsize, XCHG, operand(value))

    def add(self, value: object, /) -> None:
        """Adds, modulo the word's size (this_cpu_add)."""
        any_change(self.here(), self.itemsize, ADD, operand(value))

    def add_return(self, value: object, /) -> int:
        """Adds, and what this CPU's copy is then (this_cpu_add_return)."""
        amount: uint64_t = operand(value)
        return self.number(any_change(self.here(), self.itemsize, ADD, amount) + amount)

    def and_(self, mask: object, /) -> None:
        """Keeps the bits of the mask (this_cpu_and)."""
        any_change(self.here(), self.itemsize, AND, operand(mask))

    def or_(self, mask: object, /) -> None:
        """Sets the bits of the mask (this_cpu_or)."""
        any_change(self.here(), self.itemsize, OR, operand(mask))

    def xchg(self, value: object, /) -> int:
        """Replaces this CPU's copy, and what it was (this_cpu_xchg)."""
        return self.number(any_change(self.here(), self.itemsize, XCHG, operand(value)))

    def cmpxchg(self, old: object, new: object, /) -> int:
        """Replaces this CPU's copy by `new` if it is `old`; what it was (this_cpu_cmpxchg)."""
        mask: uint64_t = any_mask(self.itemsize)
        return self.number(any_cmpxchg(self.here(), self.itemsize, operand(old) & mask, operand(new) & mask))

    def sum(self) -> int:
        """The sum over the units, each read at its own instant: exact when nobody changes them. For 8 bytes modulo 2**64."""
        total: uint64_t = 0
        unit: uint64_t
        self.here()
        for unit in range(self.units.nr_units):
            value: uint64_t = any_read(self.first + unit * self.units.unit_nbytes, self.itemsize)
            total += cython.cast(uint64_t, any_signed(value, self.itemsize)) if self.signed else value
        return cython.cast(int64_t, total) if self.signed else total

    def __repr__(self) -> str:
        return f"<mempools.PerCpuWord of {self.itemsize} bytes of {self.area!r}>"
