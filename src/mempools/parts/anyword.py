"""L1: atomic operations on words of 1, 2, 4 and 8 bytes, for per-CPU areas.

Purpose. The kernel's this_cpu operations need be atomic on their own CPU only. Here a thread may be moved to another CPU
between reading the CPU's number and the operation, and processes share a CPU's copy: each change is one atomic
read-modify-write, which on a line that no other CPU uses costs a few nanoseconds.
Guarantee. Lock-free; no change is lost, whoever changes the word by these functions. Relaxed: a copy's value orders nothing,
only the sum over the copies means something, and that once its writers are known to be done.
Price. One locked instruction for 8 bytes; for fewer, a swap of the 4 bytes around them that is repeated when a neighbour
changes. The 4 bytes are the granule of an area: nobody else's memory is in them.

Every operation may run beside every other.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.parts.anyword is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t, uintptr_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    cmpxchg_relaxed32,
    fetch_add_relaxed,
    fetch_and_relaxed,
    fetch_or_relaxed,
    read_once,
    read_once32,
    this_module_step,
    xchg_relaxed,
)
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def around(where: cython.p_char) -> cython.pointer(uint32_t):
    return cython.cast(cython.pointer(uint32_t), cython.cast(uintptr_t, where) & ~cython.cast(uintptr_t, 3))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def shift_of(where: cython.p_char, nbytes: uint64_t) -> uint64_t:
    """How far from the lowest bit of the 4 bytes around it a narrow word begins."""
    at: uint64_t = cython.cast(uintptr_t, where) & 3
    one: uint32_t = 1
    if cython.cast(cython.p_char, cython.address(one))[0] == 0:  # big-endian
        at = 4 - at - nbytes
    return at * 8


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def any_read(where: cython.p_char, nbytes: uint64_t) -> uint64_t:
    if nbytes == 8:
        return read_once(cython.cast(cython.pointer(uint64_t), where), b"anyword.read")
    return (cython.cast(uint64_t, read_once32(around(where), b"anyword.read")) >> shift_of(where, nbytes)) & any_mask(
        nbytes
    )


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def changed(value: uint64_t, change: cython.int, operand: uint64_t) -> uint64_t:
    if change == ADD:
        return value + operand
    if change == AND:
        return value & operand
    if change == OR:
        return value | operand
    return operand


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def any_change(where: cython.p_char, nbytes: uint64_t, change: cython.int, operand: uint64_t) -> uint64_t:
    """Changes the word and returns what it was before."""
    wide: cython.pointer(uint64_t) = cython.cast(cython.pointer(uint64_t), where)
    word: cython.pointer(uint32_t)
    shift: uint64_t
    mask: uint64_t
    old: uint32_t
    new: uint32_t
    seen: uint32_t
    if nbytes == 8:
        if change == ADD:
            return fetch_add_relaxed(wide, operand, b"anyword.change")
        if change == AND:
            return fetch_and_relaxed(wide, operand, b"anyword.change")
        if change == OR:
            return fetch_or_relaxed(wide, operand, b"anyword.change")
        return xchg_relaxed(wide, operand, b"anyword.change")
    word = around(where)
    shift = shift_of(where, nbytes)
    mask = any_mask(nbytes)
    old = read_once32(word, b"anyword.change")
    while True:
        new = cython.cast(
            uint32_t, old & ~(mask << shift) | (changed(old >> shift & mask, change, operand) & mask) << shift
        )
        seen = cmpxchg_relaxed32(word, old, new, b"anyword.change")
        if seen == old:
            return old >> shift & mask
        old = seen


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def any_cmpxchg(where: cython.p_char, nbytes: uint64_t, old: uint64_t, new: uint64_t) -> uint64_t:
    """Writes `new` if the word is `old`; what it was before."""
    word: cython.pointer(uint32_t)
    shift: uint64_t
    mask: uint64_t
    was: uint32_t
    seen: uint32_t
    if nbytes == 8:
        return cmpxchg_relaxed(cython.cast(cython.pointer(uint64_t), where), old, new, b"anyword.cmpxchg")
    word = around(where)
    shift = shift_of(where, nbytes)
    mask = any_mask(nbytes)
    was = read_once32(word, b"anyword.cmpxchg")
    while was >> shift & mask == old:
        seen = cmpxchg_relaxed32(
            word, was, cython.cast(uint32_t, was & ~(mask << shift) | new << shift), b"anyword.cmpxchg"
        )
        if seen == was:
            break
        was = seen
    return was >> shift & mask
