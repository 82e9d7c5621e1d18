"""L2: the superblock: what an arena says of itself, written once and believed only after validation.

`inspect` reads it into private memory (a file that is too short is an error there, never a SIGBUS) and compares every
word with what this build would have written. Nothing is taken from an arena that another layout or machine has made.
"""

import os
from dataclasses import dataclass

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.layout.superblock is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.layout.pages import pages_header_nbytes
from cython.cimports.mempools.layout.structs import ARENA_PERSIST, LAYOUT_VERSION, PAGE_BYTES, Superblock
from cython.cimports.mempools.layout.superblock import POOLS_OFFSET, SLOTS_OFFSET
from cython.cimports.mempools.machine.atomics import this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module

from mempools.errors import Corrupt, LayoutMismatch

register_module(cython.address(this_module_step))

_MAGIC = cython.declare(uint64_t, 0x6D656D706F6F6C73)  # "mempools"
_MAGIC_SWAPPED = cython.declare(uint64_t, 0x736C6F6F706D656D)
_BYTE_ORDER = cython.declare(uint64_t, 0x0102030405060708)
_READY = cython.declare(uint64_t, 0x7265616479)  # "ready"

HEADER_NBYTES = cython.sizeof(Superblock)


@dataclass(frozen=True)
class Header:
    """The constant part of a valid superblock. `nbytes` bytes, `created_ns` nanoseconds of the real-time clock."""

    nbytes: int
    id: str
    persist: bool
    created_ns: int


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _checksum(sb: cython.pointer(Superblock)) -> uint64_t:
    # Each round is a bijection of the running value and of the word, so that any change within one word shows.
    words: cython.pointer(uint64_t) = cython.cast(cython.pointer(uint64_t), sb)
    h: uint64_t = 0x2545F4914F6CDD1D
    i: cython.int
    for i in range(cython.cast(cython.int, cython.address(sb.checksum) - words)):
        h ^= words[i]
        h = (h ^ (h >> 32)) * cython.cast(uint64_t, 0x1B873593CC9E2D51)
        h ^= h >> 29
    return h


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def superblock_format(
    sb: cython.pointer(Superblock),
    nbytes: uint64_t,
    id_lo: uint64_t,
    id_hi: uint64_t,
    flags: uint64_t,
    created_ns: uint64_t,
) -> cython.void:
    sb.magic = _MAGIC
    sb.version = LAYOUT_VERSION
    sb.byte_order = _BYTE_ORDER
    sb.page_bytes = PAGE_BYTES
    sb.nbytes = nbytes
    sb.id_lo = id_lo
    sb.id_hi = id_hi
    sb.flags = flags
    sb.created_ns = created_ns
    sb.slots = SLOTS_OFFSET
    sb.pools = POOLS_OFFSET
    sb.checksum = _checksum(sb)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def superblock_publish(sb: cython.pointer(Superblock)) -> cython.void:
    # Relaxed: nobody can look before the system call that gives the file its name (or sends the descriptor), which orders
    # all of this. The word only tells a finished arena from the file of a creator who died.
    write_once(cython.address(sb.ready), _READY, b"superblock.ready")


def nbytes_min(nbytes: uint64_t) -> int:
    """Bytes that an arena of `nbytes` bytes needs for its own tables and one page of content."""
    return pages_header_nbytes(nbytes) + PAGE_BYTES


@cython.cfunc
def _id_text(sb: cython.pointer(Superblock)) -> str:
    return f"{sb.id_hi:016x}{sb.id_lo:016x}"


@cython.cfunc
def _fault(sb: cython.pointer(Superblock), file_nbytes: uint64_t) -> object:
    """None, or the exception that says what is wrong."""
    if sb.magic == _MAGIC_SWAPPED:
        return LayoutMismatch("an arena of a machine with the other byte order; it can only be used there")
    if sb.magic != _MAGIC:
        return LayoutMismatch(f"not an arena: it begins with {sb.magic:#018x}, an arena with {_MAGIC:#018x}")
    if sb.version != LAYOUT_VERSION:
        return LayoutMismatch(
            f"an arena of layout {sb.version}, this build of mempools has layout {LAYOUT_VERSION}: "
            "use the same version in every process, or remove the arena and make it again"
        )
    if sb.checksum != _checksum(sb):
        return Corrupt(
            f"the superblock's checksum is {sb.checksum:#018x}, its words give {_checksum(sb):#018x}: "
            "the arena was overwritten; remove it"
        )
    if sb.byte_order != _BYTE_ORDER or sb.page_bytes != PAGE_BYTES:
        return LayoutMismatch(
            f"an arena with byte order {sb.byte_order:#018x} and pages of {sb.page_bytes} bytes, "
            f"here they are {_BYTE_ORDER:#018x} and {PAGE_BYTES}"
        )
    if sb.slots != SLOTS_OFFSET or sb.pools != POOLS_OFFSET:
        return Corrupt(f"tables at {sb.slots} and {sb.pools}, expected at {SLOTS_OFFSET} and {POOLS_OFFSET}")
    if sb.nbytes != file_nbytes:
        return Corrupt(
            f"the superblock says {sb.nbytes} bytes, the file has {file_nbytes}: "
            "it was truncated or extended; remove it"
        )
    if sb.nbytes % PAGE_BYTES or sb.nbytes < pages_header_nbytes(sb.nbytes) + PAGE_BYTES:
        return Corrupt(f"{sb.nbytes} bytes are no size of an arena")
    if sb.ready != _READY:
        return Corrupt("the arena was never finished: its creator died; remove it")
    return None


def inspect(fd: cython.int) -> Header:
    """The validated header of the file behind `fd`; LayoutMismatch or Corrupt if it is no usable arena.

    Takes no lock and maps nothing. Thread-safe.
    """
    sb = cython.declare(Superblock)
    memset(cython.address(sb), 0, cython.sizeof(Superblock))
    head: bytes = os.pread(fd, HEADER_NBYTES, 0)
    file_nbytes: uint64_t = os.fstat(fd).st_size
    if len(head) < HEADER_NBYTES:
        raise LayoutMismatch(f"not an arena: {file_nbytes} bytes, a superblock alone has {HEADER_NBYTES}")
    memcpy(cython.address(sb), cython.cast(cython.p_char, head), cython.sizeof(Superblock))
    fault = _fault(cython.address(sb), file_nbytes)
    if fault is not None:
        raise fault
    return Header(sb.nbytes, _id_text(cython.address(sb)), bool(sb.flags & ARENA_PERSIST), sb.created_ns)
