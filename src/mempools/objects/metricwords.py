"""L4: MetricWords, the numbers of the metrics of all processes that use an arena: 64-bit words with a copy for each CPU.

Purpose. A metric must outlive the process that made it, so its words belong to no process, as an Area's do: they lie in the
pool's own table, which the directory makes whole, zeroed, once, whoever races for it or is killed there.

    root     shape: version << 48 | units << 32 | words of a unit; 7 words unused; then the units, each on cache lines of its own

A word is a double: a unit's part of a sum, added to by a compare-and-swap that is repeated if another thread was faster; or,
in unit 0 alone, one of a gauge's cell. Guarantee. Lock-free. Every add is one step: a death before it adds
nothing, a death after it loses nothing, and nothing is folded. Price. An add is one locked instruction, on a line that only
one CPU uses, and the floating-point addition; a sum reads a word for each CPU. As with any sum of doubles, its rounding
depends on which parts were added where: exact as long as the numbers are integers below 2**53.

Every operation may run beside every other. Adding and reading are relaxed: a sum orders nothing. Cells of gauges are three
words of unit 0 each (parts/gaugecell.py).
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.metricwords is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_METRICS
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    read_once,
    this_cpu,
    this_module_step,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.parts.gaugecell import (
    cell_claim,
    cell_own,
    cell_owner,
    cell_read,
    cell_set,
    cell_set_at,
)

from mempools.errors import Corrupt, LayoutMismatch

register_module(cython.address(this_module_step))

_VERSION = cython.declare(uint64_t, 1)
_HEADER = cython.declare(uint64_t, 64)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def as_double(bits: uint64_t) -> cython.double:
    value: cython.double
    memcpy(cython.address(value), cython.address(bits), 8)
    return value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def as_bits(value: cython.double) -> uint64_t:
    bits: uint64_t
    memcpy(cython.address(bits), cython.address(value), 8)
    return bits


@cython.final
@cython.no_gc_clear
@cython.cclass
class MetricWords(PoolObject):
    """`nr_words` 64-bit words in each of `nr_units` units, zero at first, for ever: for `mempools.edges.metrics`.

    IndexError for a word that is not there, PoolError once the arena is closed. Any context but C signal handlers.
    Thread-safe, process-safe, lock-free."""

    def __init__(self):
        raise TypeError("metric words come from Metrics()")

    @cython.cfunc
    @cython.exceptval(check=True)
    def words(self, index: uint64_t, nr: uint64_t) -> cython.pointer(uint64_t):
        """`nr` words of unit 0, of which each unit has its own."""
        self.check_open()
        if self.first == cython.NULL or nr > self.nr_words or index > self.nr_words - nr:
            raise IndexError(f"words from {index} on: there are {self.nr_words}")
        return cython.cast(cython.pointer(uint64_t), self.first + index * 8)

    def at(self, index: uint64_t, /) -> MetricWord:
        """The word, to add to."""
        word: MetricWord = MetricWord.__new__(MetricWord)
        word.first = self.words(index, 1)
        word.pool = self
        word.index = index
        return word

    def sums(self, index: uint64_t, nr: uint64_t) -> list[float]:
        """Of `nr` words from `index` on, each the sum of its doubles over the units."""
        found: list = []
        i: uint64_t
        first: cython.pointer(uint64_t) = self.words(index, nr)
        for i in range(nr):
            found.append(sum_of(self, first + i))
        return found

    def owner(self, index: uint64_t, /) -> int:
        """Of the cell of three words at `index`."""
        return cell_owner(self.words(index, 3))

    def claim(self, index: uint64_t, seen: uint64_t, claimer: uint64_t) -> bool:
        """The cell is the claimer's, if it is still `seen`'s, as `owner` has said; whether it is."""
        return cell_claim(self.words(index, 3), seen, claimer)

    def own(self, index: uint64_t, owner: uint64_t) -> None:
        """The cell that was claimed is `owner`'s, and its value, too."""
        cell_own(self.words(index, 3), owner)

    def cell(self, index: uint64_t, /) -> tuple:
        """A cell's value and time. Of a set that is under way, or was interrupted, the new value may come with the old time."""
        value: uint64_t
        at: uint64_t
        cell_read(self.words(index, 3), cython.address(value), cython.address(at))
        return as_double(value), as_double(at)

    def set_cell(self, index: uint64_t, value: cython.double, at: object = None) -> None:
        """Replaces the value of a cell of one's own, and its time if it has one."""
        cell: cython.pointer(uint64_t) = self.words(index, 3)
        if at is None:
            cell_set(cell, as_bits(value))
        else:
            cell_set_at(cell, as_bits(value), as_bits(at))

    def __repr__(self) -> str:
        return f"<mempools.MetricWords {self.name!r}, {self.nr_words} words in each of {self.nr_units} units>"


@cython.cfunc
@cython.exceptval(check=False)
def sum_of(pool: MetricWords, first: cython.pointer(uint64_t)) -> cython.double:
    total: cython.double = 0.0
    unit: uint64_t
    at: cython.p_char = cython.cast(cython.p_char, first)
    for unit in range(pool.nr_units):
        total += as_double(read_once(cython.cast(cython.pointer(uint64_t), at), b"metricwords.sum"))
        at += pool.stride
    return total


@cython.final
@cython.no_gc_clear
@cython.cclass
class MetricWord:
    """A double, a part of it for each CPU, that all processes add to; from `MetricWords.at()`.

    Any context but C signal handlers. Thread-safe, process-safe, lock-free."""

    def __init__(self):
        raise TypeError("words come from MetricWords.at()")

    def inc(self, amount: cython.double = 1.0) -> None:
        """Adds 1, or more; ValueError for a negative amount or NaN."""
        if not amount >= 0:
            raise ValueError(f"a counter only grows, and cannot by {amount}: use a gauge")
        self.change(amount)

    def add(self, amount: cython.double, /) -> None:
        """Adds, as one step. The thread may be moved to another CPU just before: its part is then changed from afar."""
        self.change(amount)

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def change(self, amount: cython.double) -> cython.int:
        if self.first == cython.NULL:  # by MetricWord.__new__, not by a pool
            self.__init__()
        self.pool.check_open()
        unit: uint64_t = cython.cast(uint64_t, this_cpu())
        if unit >= self.pool.nr_units:
            unit %= self.pool.nr_units
        word: cython.pointer(uint64_t) = cython.cast(
            cython.pointer(uint64_t), cython.cast(cython.p_char, self.first) + unit * self.pool.stride
        )
        seen: uint64_t = read_once(word, b"metricwords.add")
        old: uint64_t
        while True:
            old = seen
            seen = cmpxchg_relaxed(word, old, as_bits(as_double(old) + amount), b"metricwords.add")
            if seen == old:
                return 0

    def sum(self) -> float:
        """The number: exact when nobody adds, else each part as it is when it is read."""
        if self.first == cython.NULL:
            self.__init__()
        self.pool.check_open()
        return sum_of(self.pool, self.first)


def open_words(arena: object, mapping: Mapping, name: str, nr_units: uint64_t, nr_words: uint64_t) -> MetricWords:
    """The words of that name, made with that shape if absent, else as they are.

    LayoutMismatch if they are another build's, or the name is another pool's; Corrupt if their shape makes no sense; Exhausted.
    May wait for another process that makes a pool. Thread-safe, process-safe, not lock-free."""
    pool: MetricWords = MetricWords.__new__(MetricWords)
    want: uint64_t = _VERSION << 48 | nr_units << 32 | nr_words
    seen: uint64_t
    pool.arena = arena
    pool.open_ref(mapping, name, KIND_METRICS, 3, 0, 0, _HEADER + nr_units * stride_of(nr_words), 0, True)
    if pool.ref.root == cython.NULL or pool.ref.root_nbytes < _HEADER:
        raise Corrupt(f"metrics {name!r}: the pool has no table")
    # The shape is that of whoever made the table only if it fits the table: of those that race here with other wishes, some
    # do not fit.
    seen = read_once(cython.cast(cython.pointer(uint64_t), pool.ref.root), b"metricwords.shape")
    if seen == 0:
        if fits(pool.ref.root_nbytes, want):
            # Relaxed: one shape for all, whoever is first, and nothing else was written before.
            seen = cmpxchg_relaxed(cython.cast(cython.pointer(uint64_t), pool.ref.root), 0, want, b"metricwords.shape")
            seen = want if seen == 0 else seen
        else:
            raise LayoutMismatch(
                f"metrics {name!r}: the table has {pool.ref.root_nbytes} bytes and no shape yet, and {nr_units} units of "
                f"{nr_words} words need another: open it with the capacity that it was made with"
            )
    if seen >> 48 != _VERSION:
        raise LayoutMismatch(
            f"metrics {name!r} have format {seen >> 48}, this build has {_VERSION}: use the build that made them, or "
            "another arena"
        )
    if not fits(pool.ref.root_nbytes, seen):
        raise Corrupt(f"metrics {name!r}: a shape of {seen:#x} is not that of a table of {pool.ref.root_nbytes} bytes")
    pool.nr_units = seen >> 32 & 0xFFFF
    pool.nr_words = seen & 0xFFFFFFFF
    pool.stride = stride_of(pool.nr_words)
    pool.first = pool.ref.root + _HEADER
    return pool


@cython.cfunc
@cython.exceptval(check=False)
def stride_of(nr_words: uint64_t) -> uint64_t:
    return (nr_words * 8 + 63) & ~cython.cast(uint64_t, 63)


@cython.cfunc
@cython.exceptval(check=False)
def fits(nbytes: uint64_t, shape: uint64_t) -> cython.bint:
    nr_units: uint64_t = shape >> 32 & 0xFFFF
    nr_words: uint64_t = shape & 0xFFFFFFFF
    return nr_units > 0 and nr_words > 0 and nbytes == _HEADER + nr_units * stride_of(nr_words)
