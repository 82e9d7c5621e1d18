"""L4: a whole Zram as Python looks at it: sums, counters, settings, what each page is, contradictions."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.zramscan is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.machine.atomics import (
    copy,
    fetch_add_relaxed,
    read_once,
    read_once32,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.objects.zramobject import ZramPages
from cython.cimports.mempools.pools.zramcheck import (
    PageReport,
    ZramSums,
    zram_blocks,
    zram_check,
    zram_objects,
    zram_quiet,
    zram_sums,
)
from cython.cimports.mempools.pools.zramslot import zram_total_pages
from cython.cimports.mempools.pools.zramtable import (
    PRIORITY_SHIFT,
    ZRAM_HUGE,
    ZRAM_IDLE,
    ZRAM_INCOMPRESSIBLE,
    ZRAM_SAME,
    ZRAM_WB,
    ZramStats,
    is_written,
)
from cython.cimports.mempools.pools.zstable import zs_root

from mempools.objects.zsclasses import ZsClasses

register_module(cython.address(this_module_step))

_LOCK_NS = cython.declare(uint64_t, 100_000_000)
_AT_A_TIME = cython.declare(uint64_t, 1 << 16)  # pages, while the GIL is released


def used_pages(pages: ZramPages) -> int:
    """Of the memory of its objects."""
    pages.check_open()
    return zram_total_pages(cython.address(pages.z))


def note_failed(pages: ZramPages, write: cython.bint) -> None:
    pages.check_open()
    if write:
        fetch_add_relaxed(cython.address(pages.z.root.stats.failed_writes), 1, b"zramscan.count")
    else:
        fetch_add_relaxed(cython.address(pages.z.root.stats.failed_reads), 1, b"zramscan.count")


def note_blocks(pages: ZramPages, read: object, written: object) -> None:
    pages.check_open()
    fetch_add_relaxed(cython.address(pages.z.root.stats.bd_reads), to_u64(read), b"zramscan.count")
    fetch_add_relaxed(cython.address(pages.z.root.stats.bd_writes), to_u64(written), b"zramscan.count")


def counters(pages: ZramPages) -> dict:
    """Since the device was made."""
    pages.check_open()
    stats: ZramStats
    copy(cython.address(stats), cython.address(pages.z.root.stats), cython.sizeof(ZramStats), b"zramscan.counters")
    found: dict = stats
    return found


def reset_peak(pages: ZramPages) -> None:
    pages.check_open()
    write_once(
        cython.address(pages.z.root.stats.max_used_pages), zram_total_pages(cython.address(pages.z)), b"zramscan.peak"
    )


def settings(pages: ZramPages) -> dict:
    """limit_pages, wb_limited, wb_budget, wb_batch."""
    pages.check_open()
    r = pages.z.root
    return {
        "limit_pages": read_once(cython.address(r.limit_pages), b"zramscan.settings"),
        "wb_limited": read_once(cython.address(r.wb_limited), b"zramscan.settings"),
        "wb_budget": read_once(cython.address(r.wb_budget), b"zramscan.settings"),
        "wb_batch": read_once(cython.address(r.wb_batch), b"zramscan.settings"),
    }


def put_setting(pages: ZramPages, name: str, value: object) -> None:
    """One of the settings."""
    number: uint64_t = to_u64(value)
    pages.check_open()
    r = pages.z.root
    if name == "limit_pages":
        write_once(cython.address(r.limit_pages), number, b"zramscan.set")
    elif name == "wb_limited":
        write_once(cython.address(r.wb_limited), number, b"zramscan.set")
    elif name == "wb_budget":
        write_once(cython.address(r.wb_budget), number, b"zramscan.set")
    elif name == "wb_batch":
        write_once(cython.address(r.wb_batch), number, b"zramscan.set")
    else:
        raise KeyError(name)


def pages_compacted(pages: ZramPages) -> int:
    pages.check_open()
    return read_once(cython.address(zs_root(pages.ref).pages_compacted), b"zramscan.compacted")


def sums(pages: ZramPages) -> dict:
    """What there is now, see ZramSums in pools/zramcheck.pxd: a walk of the table, 16 bytes a page."""
    found: ZramSums
    first: uint64_t = 0
    last: uint64_t
    memset(cython.address(found), 0, cython.sizeof(ZramSums))
    pages.check_open()
    while first < pages.z.nr_pages:
        last = min(first + _AT_A_TIME, pages.z.nr_pages)
        with cython.nogil:
            zram_sums(cython.address(pages.z), first, last, cython.address(found))
        pages.check_open()
        first = last
    return found


def states(pages: ZramPages, first: object, last: object) -> list:
    """(index, time, flags as letters) of each page from first to last, exclusive, that was written: the kernel's block_state."""
    i: uint64_t
    flags: uint32_t
    found: list = []
    start: uint64_t = to_u64(first)
    end: uint64_t = min(to_u64(last), pages.z.nr_pages)
    pages.check_open()
    for i in range(start, end):
        flags = read_once32(cython.address(pages.z.pages[i].flags), b"zramscan.state")
        if is_written(read_once(cython.address(pages.z.pages[i].word), b"zramscan.state"), flags):
            letters = (
                ("s" if flags & cython.cast(uint32_t, ZRAM_SAME) else ".")
                + ("w" if flags & cython.cast(uint32_t, ZRAM_WB) else ".")
                + ("h" if flags & cython.cast(uint32_t, ZRAM_HUGE) else ".")
                + ("i" if flags & cython.cast(uint32_t, ZRAM_IDLE) else ".")
                + ("r" if flags >> PRIORITY_SHIFT & 3 else ".")
                + ("n" if flags & cython.cast(uint32_t, ZRAM_INCOMPRESSIBLE) else ".")
            )
            found.append((i, read_once32(cython.address(pages.z.pages[i].time), b"zramscan.state"), letters))
    return found


def check(pages: ZramPages) -> list[str]:
    """What contradicts itself, a line each; each page is locked for the look at it. Beside others at work it counts only if it
    stays so."""
    report: PageReport
    first: uint64_t = 0
    last: uint64_t
    quiet: cython.bint
    found: list = []
    memset(cython.address(report), 0, cython.sizeof(PageReport))
    pages.check_open()
    pages.mapping.recover()
    ZsClasses.check(pages)
    quiet = zram_quiet(cython.address(pages.z))
    before: uint64_t = zram_objects(cython.address(pages.z))
    while first < pages.z.nr_pages:
        last = min(first + _AT_A_TIME, pages.z.nr_pages)
        with cython.nogil:
            zram_check(cython.address(pages.z), first, last, cython.address(report), _LOCK_NS)
        pages.check_open()
        first = last
    if report.bad_words:
        found.append(f"{report.bad_words} pages name no object of their size, or no block of the backing file's")
    if report.bad_flags:
        found.append(f"the flags of {report.bad_flags} pages contradict each other")
    if report.locked:
        found.append(f"{report.locked} pages have been locked for long, by nobody who is known to be dead")
    if quiet and not report.locked and zram_quiet(cython.address(pages.z)):
        if before == zram_objects(cython.address(pages.z)) != report.objects:
            found.append(f"there are {before} objects, pages have {report.objects}")
        if zram_blocks(cython.address(pages.z)) != report.blocks:
            found.append(f"{zram_blocks(cython.address(pages.z))} blocks are taken, pages have {report.blocks}")
    return found
