"""L4: post-processing of a Zram as Python calls it: which pages are chosen, what becomes of them, blocks of the backing file.

One thread of one process at a time is at it (begin_processing). It first marks the pages that it has chosen, then takes one after
the other: whoever touches a page meanwhile takes the mark away, and the page is passed by.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.zramprocess is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    fetch_add_relaxed,
    monotonic,
    read_once,
    read_once32,
    this_module_step,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.objects.zramobject import ZramPages, expect
from cython.cimports.mempools.parts.robustlock import robust_trylock, robust_unlock
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.zramslot import (
    Expected,
    block_claim,
    block_release,
    is_expected,
    page_mark,
    page_unmark,
)
from cython.cimports.mempools.pools.zramtable import (
    PRIORITY_SHIFT,
    RECORD_BYTES,
    ZRAM_HUGE,
    ZRAM_IDLE,
    ZRAM_INCOMPRESSIBLE,
    ZRAM_PP,
    ZRAM_SIZE,
    ZRAM_WB,
    Held,
    has_object,
    page_unlock,
)

register_module(cython.address(this_module_step))

IDLE = ZRAM_IDLE
HUGE = ZRAM_HUGE
INCOMPRESSIBLE = ZRAM_INCOMPRESSIBLE


def begin_processing(pages: ZramPages) -> bool:
    """False: another thread or process is at it."""
    pages.check_open()
    pages.mapping.ensure_slot()
    slot: uint32_t = cython.cast(uint32_t, pages.ref.arena.slot[0])
    if robust_trylock(cython.address(pages.z.root.processing), slot) == OK:
        return True
    return pages.mapping.recover() > 0 and robust_trylock(cython.address(pages.z.root.processing), slot) == OK


def end_processing(pages: ZramPages) -> None:
    if not pages.mapping.closed and not pages.ref.gone:
        robust_unlock(cython.address(pages.z.root.processing), cython.cast(uint32_t, pages.ref.arena.slot[0]))


def is_chosen(pages: ZramPages, index: object) -> bool:
    """Has nobody touched the page since post-processing chose it? A hint: `put` and the others ask again."""
    i: uint64_t = pages.index_of(index)
    return (
        read_once32(cython.address(pages.z.pages[i].flags), b"zramprocess.chosen") & cython.cast(uint32_t, ZRAM_PP) != 0
    )


def mark_incompressible(pages: ZramPages, index: object, word: object) -> bool:
    """Of a page that was chosen and is still that."""
    held: Held
    expected: Expected
    i: uint64_t = pages.index_of(index)
    flags: uint32_t
    fits: cython.bint
    expect(cython.address(expected), 0, to_u64(word), True)
    pages.lock(i, cython.address(held))
    fits = is_expected(cython.address(held), cython.address(expected))
    flags = held.flags
    if fits:
        flags = flags & ~cython.cast(uint32_t, ZRAM_PP) | cython.cast(uint32_t, ZRAM_INCOMPRESSIBLE)
    page_unlock(cython.address(pages.z), cython.address(held), flags)
    return fits


def claim_block(pages: ZramPages) -> int:
    """A block of the backing file that nothing is in, this process's; -1: there is none."""
    found: int64_t
    pages.check_open()
    if pages.z.nr_blocks == 0:
        return -1
    found = block_claim(cython.address(pages.z), pages.next_block)
    if found >= 0:
        pages.next_block = found >> 3
    return found


def release_block(pages: ZramPages, block: object) -> None:
    """Of this process's."""
    pages.check_open()
    block_release(cython.address(pages.z), to_u64(block))


def write_back(pages: ZramPages, index: object, block: object, word: object, compressed: cython.bint) -> bool:
    """The content of a page that was chosen and is still that is in a block of this process's now: the object ends. False:
    it is something else by now."""
    expected: Expected
    none: uint64_t = 0
    flags: uint32_t = ZRAM_WB
    i: uint64_t = pages.index_of(index)
    at: uint64_t = to_u64(block)
    instance: uint64_t
    expect(cython.address(expected), 0, to_u64(word), True)
    if at >= pages.z.nr_blocks:
        raise ValueError(f"the backing file of zram {pages.name!r} has {pages.z.nr_blocks} blocks, not {at}")
    if compressed:  # constant while the page is what is expected
        flags |= read_once32(cython.address(pages.z.pages[i].flags), b"zramprocess.how") & cython.cast(
            uint32_t, ZRAM_SIZE | ZRAM_HUGE | 3 << PRIORITY_SHIFT
        )
    else:
        flags |= RECORD_BYTES | ZRAM_HUGE
    # Relaxed: a number that no other writeback has; it goes round after 2**32.
    instance = fetch_add_relaxed(cython.address(pages.z.root.instance), 1, b"zramprocess.instance") + 1
    return pages.change(i, instance << 32 | at, flags, cython.address(none), at + 1, cython.address(expected))


def choose(
    pages: ZramPages,
    first: object,
    last: object,
    must: cython.uint,
    must_not: cython.uint,
    threshold: object,
    below: cython.int,
) -> list:
    """Marks the pages from first to last, exclusive, that are in memory, have all of the flags `must` and none of `must_not`, at
    least `threshold` bytes, and a priority below that: size << 40 | index of each."""
    i: uint64_t
    flags: uint32_t
    found: list = []
    start: uint64_t = to_u64(first)
    end: uint64_t = to_u64(last)
    least: uint64_t = to_u64(threshold)
    pages.check_open()
    if end > pages.z.nr_pages:
        raise IndexError(f"zram {pages.name!r} has {pages.z.nr_pages} pages, not {end}")
    for i in range(start, end):
        flags = read_once32(cython.address(pages.z.pages[i].flags), b"zramprocess.flags")
        if (
            not has_object(read_once(cython.address(pages.z.pages[i].word), b"zramprocess.word"), flags)
            or flags & must != must
            or flags & must_not
            or flags & cython.cast(uint32_t, ZRAM_SIZE) < least
            or cython.cast(cython.int, flags >> PRIORITY_SHIFT & 3) >= below
        ):
            continue
        # A page that somebody has locked is being touched.
        if page_mark(cython.address(pages.z), i, flags, ZRAM_PP):
            found.append(cython.cast(uint64_t, flags & cython.cast(uint32_t, ZRAM_SIZE)) << 40 | i)
    return found


def unchoose(pages: ZramPages, indices: object) -> None:
    """The marks that are left, of those that were not done."""
    pages.check_open()
    for index in indices:
        page_unmark(cython.address(pages.z), pages.index_of(index), ZRAM_PP)


def mark_idle(pages: ZramPages, seconds: object) -> int:
    """Marks as idle the pages in memory that nobody has touched for that many seconds, 0 for all: how many."""
    i: uint64_t
    flags: uint32_t
    nr: uint64_t = 0
    age: uint64_t = to_u64(seconds)
    now: uint32_t = cython.cast(uint32_t, cython.cast(uint64_t, monotonic()))
    pages.check_open()
    for i in range(pages.z.nr_pages):
        flags = read_once32(cython.address(pages.z.pages[i].flags), b"zramprocess.flags")
        if (
            flags & cython.cast(uint32_t, ZRAM_IDLE)
            or not has_object(read_once(cython.address(pages.z.pages[i].word), b"zramprocess.word"), flags)
            or cython.cast(uint32_t, now - read_once32(cython.address(pages.z.pages[i].time), b"zramprocess.time"))
            < age
        ):
            continue
        nr += page_mark(cython.address(pages.z), i, flags, ZRAM_IDLE)
    return nr


def take_budget(pages: ZramPages, units: object) -> bool:
    """Takes that much of what may still be written back, all or nothing; True where there is no limit."""
    nr: uint64_t = to_u64(units)
    left: uint64_t
    pages.check_open()
    while read_once(cython.address(pages.z.root.wb_limited), b"zramprocess.limited"):
        left = read_once(cython.address(pages.z.root.wb_budget), b"zramprocess.budget")
        if left < nr:
            return False
        if cmpxchg_relaxed(cython.address(pages.z.root.wb_budget), left, left - nr, b"zramprocess.budget") == left:
            return True
    return True


def give_budget(pages: ZramPages, units: object) -> None:
    """What was taken and not used."""
    pages.check_open()
    if read_once(cython.address(pages.z.root.wb_limited), b"zramprocess.limited"):
        fetch_add_relaxed(cython.address(pages.z.root.wb_budget), to_u64(units), b"zramprocess.budget")
