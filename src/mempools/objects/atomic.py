"""L4: an atomic 64-bit word in memory that threads and processes share.

Guarantee: lock-free, process-safe, and sequentially consistent among AtomicU64 operations: each one that writes is
fully ordered, and load is an acquire. Price: one locked instruction on x86-64, on aarch64 one between two fences.
Precondition: all who touch the word do so atomically; the bytes are in the machine's byte order.

Every operation may run beside every other.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.atomic is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.buffer import PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.exc import PyErr_Clear
from cython.cimports.cpython.number import PyNumber_Index
from cython.cimports.libc.stdint import uint64_t, uintptr_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg,
    fetch_add,
    fetch_and,
    fetch_or,
    load_acquire,
    this_module_step,
    xchg,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.atomic import PyErr_Occurred, PyLong_AsUnsignedLongLong

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.exceptval(0xDEAD, check=True)
def convert(value: object, lowest: object) -> uint64_t:
    """What is no int, or does not fit without a sign: modulo 2**64, from `lowest` on."""
    PyErr_Clear()
    number: object = PyNumber_Index(value)
    if not lowest <= number < 1 << 64:
        raise OverflowError(f"{number} does not fit: give {lowest} to 2**64 - 1")
    return number & ((1 << 64) - 1)


@cython.cfunc
@cython.inline
@cython.exceptval(0xDEAD, check=True)
def as_word(value: object) -> uint64_t:
    word: uint64_t = PyLong_AsUnsignedLongLong(value)
    if word == ~cython.cast(uint64_t, 0) and PyErr_Occurred() != cython.NULL:
        return convert(value, 0)
    return word


@cython.cfunc
@cython.inline
@cython.exceptval(0xDEAD, check=True)
def as_delta(value: object) -> uint64_t:
    """As as_word, and -n is 2**64 - n: adding wraps around, so a negative number subtracts."""
    word: uint64_t = PyLong_AsUnsignedLongLong(value)
    if word == ~cython.cast(uint64_t, 0) and PyErr_Occurred() != cython.NULL:
        return convert(value, -(1 << 63))
    return word


@cython.final
@cython.cclass
class AtomicU64:
    """AtomicU64(buffer, offset=0, /)

    The 64-bit word at byte `offset` of a writable buffer (a bytearray, an mmap, a block of shared memory), read and
    changed atomically by threads and by processes that map the same memory. Nothing is written when it is made, so any
    number of them, in any number of processes, may stand for one word.

    The word holds 0 to 2**64 - 1, in the machine's byte order, and its address is a multiple of 8. The buffer stays
    exported as long as the object lives: a bytearray cannot be resized, an mmap not be closed.

    Raises ValueError for a word that is misaligned or not inside the buffer, BufferError for a read-only buffer,
    OverflowError for a value that does not fit. Every method may be called from any context. One object shared by
    threads of a free-threaded build pays for its reference count: give each thread its own.

    The kernel's atomic64_t. Thread-safe, process-safe, lock-free.
    """

    def __cinit__(self, buffer: object, offset: object = 0, /):
        try:
            PyObject_GetBuffer(buffer, cython.address(self.view), PyBUF_WRITABLE)
        except BufferError as error:
            raise BufferError(
                f"AtomicU64 needs a writable buffer, and this {type(buffer).__name__} gives none ({error}): "
                "use a bytearray, an mmap or a block"
            ) from error
        start: object = PyNumber_Index(offset)
        nbytes: object = self.view.len
        if start < 0 or start + 8 > nbytes:
            raise ValueError(f"bytes {start} to {start + 8} are not inside the buffer of {nbytes} bytes")
        address: uintptr_t = cython.cast(uintptr_t, self.view.buf) + cython.cast(uintptr_t, start)
        if address & 7:
            raise ValueError(
                f"the word at offset {start} is misaligned: its address is {address & 7} past a multiple of 8"
            )
        self.word = cython.cast(cython.pointer(uint64_t), address)

    def __dealloc__(self):
        PyBuffer_Release(cython.address(self.view))

    def load(self) -> object:
        """The word's value. An acquire: what was written before the operation that stored it is seen."""
        # [A:atomic.load] acquire; pairs with [F:atomic.store], [F:atomic.add], [F:atomic.cas], [F:atomic.xchg],
        # [F:atomic.and] and [F:atomic.or]: whoever sees a value sees what its writer did before. Enough for sequential
        # consistency, because the writers have a barrier on both sides.
        return load_acquire(self.word, b"A:atomic.load")

    def store(self, value: object, /):
        """Writes the word. Fully ordered: the kernel's smp_store_mb."""
        # [F:atomic.store] full; pairs with [A:atomic.load] and with itself: of two threads that each store one word and
        # then load the other's, one sees the other's store. A release would let both loads pass the stores.
        xchg(self.word, as_word(value), b"F:atomic.store")

    def add(self, delta: object, /) -> object:
        """Adds, modulo 2**64, and returns the value from before. A negative number, down to -2**63, subtracts.
        Fully ordered: the kernel's atomic64_fetch_add."""
        # [F:atomic.add] full; pairs with [A:atomic.load]: see there.
        return fetch_add(self.word, as_delta(delta), b"F:atomic.add")

    def and_(self, mask: object, /) -> object:
        """Keeps the bits of the mask and returns the value from before. Fully ordered: atomic64_fetch_and."""
        # [F:atomic.and] full; pairs with [A:atomic.load]: see there.
        return fetch_and(self.word, as_word(mask), b"F:atomic.and")

    def or_(self, mask: object, /) -> object:
        """Sets the bits of the mask and returns the value from before. Fully ordered: atomic64_fetch_or."""
        # [F:atomic.or] full; pairs with [A:atomic.load]: see there.
        return fetch_or(self.word, as_word(mask), b"F:atomic.or")

    def xchg(self, value: object, /) -> object:
        """Writes the word and returns the value from before. Fully ordered: the kernel's atomic64_xchg."""
        # [F:atomic.xchg] full; pairs with [A:atomic.load]: see there.
        return xchg(self.word, as_word(value), b"F:atomic.xchg")

    def cas(self, expected: object, new: object, /) -> object:
        """Writes `new` if the word is `expected`, and says whether it was. Fully ordered when it was, unordered when it
        was not: the kernel's atomic64_try_cmpxchg."""
        old: uint64_t = as_word(expected)
        # [F:atomic.cas] full; pairs with [A:atomic.load]: see there.
        return cmpxchg(self.word, old, as_word(new), b"F:atomic.cas") == old
