"""L3: looking at a Zram: what there is, by the table, and what contradicts itself.

The table is the truth about what there is now: no count beside it could survive a death, or fall below 0. Sums read it without
locks, each page at its own instant.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zramcheck is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.structs import NR_SLOTS
from cython.cimports.mempools.machine.atomics import read_once, read_once32, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import count_owner, owner_at
from cython.cimports.mempools.parts.owners import OWNER_MASK, OWNER_STRUCT
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.zramslot import block_of
from cython.cimports.mempools.pools.zramtable import (
    NR_ENTRIES,
    RECORD_BYTES,
    ZRAM_HUGE,
    ZRAM_IDLE,
    ZRAM_INCOMPRESSIBLE,
    ZRAM_SAME,
    ZRAM_SIZE,
    ZRAM_WB,
    Held,
    ZramRef,
    entry_of,
    has_object,
    is_written,
    page_lock,
    page_unlock,
)
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zstable import CELL_LIVE, cell_owner, zs_cell

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_sums(
    z: cython.pointer(ZramRef), first: uint64_t, last: uint64_t, sums: cython.pointer(ZramSums)
) -> cython.void:
    """Adds up the pages from first to last, exclusive. Relaxed: a picture."""
    i: uint64_t
    word: uint64_t
    flags: uint32_t
    for i in range(first, last):
        flags = read_once32(cython.address(z.pages[i].flags), b"zramcheck.sums")
        word = read_once(cython.address(z.pages[i].word), b"zramcheck.sums")
        if not is_written(word, flags):
            continue
        sums.stored += 1
        sums.same += flags & cython.cast(uint32_t, ZRAM_SAME) != 0
        sums.written_back += flags & cython.cast(uint32_t, ZRAM_WB) != 0
        if has_object(word, flags):
            sums.objects += 1
            sums.nbytes += flags & cython.cast(uint32_t, ZRAM_SIZE)
            sums.huge += flags & cython.cast(uint32_t, ZRAM_HUGE) != 0
            sums.incompressible += flags & cython.cast(uint32_t, ZRAM_INCOMPRESSIBLE) != 0
            sums.idle += flags & cython.cast(uint32_t, ZRAM_IDLE) != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def word_wrong(z: cython.pointer(ZramRef), held: cython.pointer(Held)) -> cython.bint:
    """Of a locked page: so an object that it names is live, and its block its own."""
    pinned: Pinned
    wrong: cython.bint
    if held.flags & cython.cast(uint32_t, ZRAM_WB):
        return (
            block_of(held.word) >= z.nr_blocks or owner_at(z.blocks, block_of(held.word)) & OWNER_MASK != OWNER_STRUCT
        )
    if not has_object(held.word, held.flags):
        return False
    if zs_pin(z.pool, z.g, held.word, cython.address(pinned)) != OK:
        return True
    wrong = pinned.nbytes != (held.flags & cython.cast(uint32_t, ZRAM_SIZE))
    if zs_unpin(z.pool, cython.address(pinned)):
        wrong = True  # doomed, though a page names it
    return wrong


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flags_wrong(word: uint64_t, flags: uint32_t) -> cython.bint:
    size: uint32_t = flags & cython.cast(uint32_t, ZRAM_SIZE)
    if flags & cython.cast(uint32_t, ZRAM_SAME):
        return size != 0 or flags & cython.cast(uint32_t, ZRAM_WB | ZRAM_HUGE) != 0
    if not is_written(word, flags):
        return size != 0 or flags & cython.cast(uint32_t, ZRAM_WB | ZRAM_HUGE) != 0
    if size > RECORD_BYTES or (flags & cython.cast(uint32_t, ZRAM_HUGE) and size != RECORD_BYTES):
        return True
    return size == 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_check(
    z: cython.pointer(ZramRef),
    first: uint64_t,
    last: uint64_t,
    report: cython.pointer(PageReport),
    timeout_ns: uint64_t,
) -> cython.void:
    """Adds what is wrong with the pages from first to last, exclusive, each under its lock."""
    held: Held
    i: uint64_t
    for i in range(first, last):
        # Relaxed: most pages of a device were never written.
        if (
            read_once32(cython.address(z.pages[i].flags), b"zramcheck.look") == 0
            and read_once(cython.address(z.pages[i].word), b"zramcheck.look") == 0
        ):
            continue
        if page_lock(z, i, cython.address(held), timeout_ns) != OK:
            report.locked += 1
            continue
        report.bad_flags += flags_wrong(held.word, held.flags)
        report.bad_words += word_wrong(z, cython.address(held))
        report.objects += has_object(held.word, held.flags)
        report.blocks += held.flags & cython.cast(uint32_t, ZRAM_WB) != 0
        page_unlock(z, cython.address(held), held.flags)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_objects(z: cython.pointer(ZramRef)) -> uint64_t:
    """Of the pool, that are no process's: a page has each, or is about to, or to have had it."""
    index: uint64_t = 0
    nr: uint64_t = 0
    word: uint64_t
    cell: cython.pointer(uint64_t) = zs_cell(z.pool, 0)
    while cell != cython.NULL:
        word = read_once(cell, b"zramcheck.objects")
        if word == 0:
            break
        nr += word & cython.cast(uint64_t, CELL_LIVE) != 0 and cell_owner(word) == OWNER_STRUCT
        index += 1
        cell = zs_cell(z.pool, index)
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_blocks(z: cython.pointer(ZramRef)) -> uint64_t:
    """That pages have, of the backing file's."""
    return count_owner(z.blocks, z.full, z.nr_words, OWNER_STRUCT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zram_quiet(z: cython.pointer(ZramRef)) -> cython.bint:
    """Is nobody changing or looking at a page?"""
    slot: uint32_t
    i: uint32_t
    for slot in range(1, NR_SLOTS + 1):
        for i in range(NR_ENTRIES):
            if read_once(cython.address(entry_of(z, slot, i).page), b"zramcheck.quiet"):
                return False
    return True
