"""L3: the size classes of a ZsPool, and how full a zspage is (mm/zsmalloc.c): arithmetic, no state.

Up to a page the classes are the kernel's: slots of 32, 48 .. 4096 bytes, of which 8 are the header that names the object's
cell; a zspage of a class is the run of 1 to `chain` pages in which the least is left over; a class whose zspages have as many
pages and slots as those of the next larger one is that one. Beyond a page the arena's contiguous memory makes more of the
same rule: slots of 5, 6 .. 16 KiB in up to 16 pages, and whole pages for one object up to 64 KiB. A class with one object a
zspage is *huge*: the header is in the descriptor, so that a whole page (or 16) fits.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.zsgeometry is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset

_PAGE = cython.declare(uint32_t, 4096)
_HEADER = cython.declare(uint32_t, 8)
_tables = cython.declare(Geometry[NR_CHAINS])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def raw_size(raw: uint32_t) -> uint32_t:
    """Bytes of a slot of the raw-th class, before merging."""
    if raw < NR_RAW:
        return 32 + 16 * raw
    raw -= NR_RAW
    return (5 + raw) << 10 if raw < 12 else (5 + raw - 12) << 12


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def raw_of(size: uint64_t) -> uint32_t:
    """The smallest raw class with slots of at least `size` bytes; NR_SIZES: there is none."""
    if size <= 4096:
        return 0 if size <= 32 else cython.cast(uint32_t, (size - 17) >> 4)
    if size <= 16 << 10:
        return NR_RAW + cython.cast(uint32_t, (size - 4097) >> 10)
    if size <= MAX_OBJECT:
        return NR_RAW + 12 + cython.cast(uint32_t, (size - 16385) >> 12)
    return NR_SIZES


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def best_pages(size: uint32_t, limit: uint32_t) -> uint32_t:
    """The number of pages, at most `limit`, of which slots of `size` bytes leave the least over; the fewest of several."""
    best: uint32_t = 0
    least: uint32_t = size
    pages: uint32_t
    for pages in range(1, limit + 1):
        if pages * _PAGE >= size and pages * _PAGE % size < least:
            least = pages * _PAGE % size
            best = pages
    return best


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def shape_of(size: uint32_t, chain: uint32_t, shape: cython.pointer(Shape)) -> cython.void:
    shape.size = size
    if size % _PAGE == 0:
        shape.pages = size // _PAGE
    elif size & (size - 1) == 0:
        shape.pages = 1
    else:
        shape.pages = best_pages(size, chain if size < _PAGE else MAX_LARGE_PAGES)
    shape.objs = shape.pages * _PAGE // size
    shape.huge = shape.objs == 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def build(chain: uint32_t) -> cython.void:
    g: cython.pointer(Geometry) = cython.address(_tables[chain])
    shapes: Shape[NR_SIZES]
    raw: cython.int
    memset(g, 0, cython.sizeof(Geometry))
    g.chain = chain
    for raw in range(NR_SIZES):
        shape_of(raw_size(raw), chain, cython.address(shapes[raw]))
    for raw in range(NR_SIZES):
        # A class leads if its larger neighbour has zspages of another shape.
        if (
            raw == NR_SIZES - 1
            or shapes[raw].pages != shapes[raw + 1].pages
            or shapes[raw].objs != shapes[raw + 1].objs
        ):
            g.shapes[g.nr] = shapes[raw]
            g.nr += 1
            if raw < NR_RAW and shapes[raw].pages != 1 and shapes[raw].objs != 1:
                g.huge_size = shapes[raw].size - _HEADER + 1
            g.leader[raw] = g.nr - 1
        else:
            g.leader[raw] = g.nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def geometry_of(chain: uint64_t) -> cython.pointer(Geometry):
    """NULL for a chain that no pool has."""
    return cython.address(_tables[chain]) if chain >= MIN_CHAIN and chain <= MAX_CHAIN else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def class_of(g: cython.pointer(Geometry), nbytes: uint64_t) -> cython.int:
    """The class of an object of nbytes bytes; -1: no class has such objects."""
    leader: uint32_t
    if nbytes == 0 or nbytes > MAX_OBJECT:
        return -1
    leader = g.leader[raw_of(nbytes)]
    if g.shapes[leader].huge:
        return leader
    return g.leader[raw_of(nbytes + _HEADER)]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def group_of(inuse: uint64_t, objs: uint64_t) -> uint64_t:
    """The fullness group of a zspage: exactly 10 % is in group 2, as in the kernel."""
    if inuse == 0:
        return 0
    return NR_GROUPS - 1 if inuse >= objs else 100 * inuse // objs // 10 + 1


_chain = cython.declare(cython.int)
for _chain in range(MIN_CHAIN, MAX_CHAIN + 1):
    build(_chain)
