"""The memory that simulated CPUs share.

Values live in the messages of views.py, not in memory. Memory that simulated CPUs share is a *region*: a protected one is
inaccessible while they run, so that an access which is no step is caught and reported; one in ordinary memory holds what
is also read plainly (a process's own references), and is put back before each execution. Hooked accesses to anything else
(locals) are done natively.

An operation carries a region's *key*, not its address: who makes the memory anew for each execution gives it the same key.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.regions is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint8_t, uint64_t
from cython.cimports.libc.stdlib import malloc
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.check.perform import fail
from cython.cimports.mempools.check.state import MAX_NAMES, MAX_REGIONS, Engine, Region
from cython.cimports.mempools.check.views import memory_find, memory_loc
from cython.cimports.posix.mman import mprotect


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def region_of(e: cython.pointer(Engine), addr: uint64_t) -> cython.pointer(Region):
    i: cython.int
    for i in range(e.nr_regions):
        if e.regions[i].lo <= addr and addr < e.regions[i].hi:
            return cython.address(e.regions[i])
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def piece(e: cython.pointer(Engine), source: uint64_t, to: uint64_t, nbytes: uint64_t) -> uint64_t:
    """Bytes that a declared copy moves at once: a word where what is shared of the two sides is aligned, else less."""
    size: uint64_t = 8
    shared: uint64_t = 0
    if region_of(e, to) != cython.NULL:
        shared = to
    if region_of(e, source) != cython.NULL:
        shared |= source
    while size > nbytes or shared & (size - 1):
        size >>= 1
    return size


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def initial_value(e: cython.pointer(Engine), key: uint64_t, size: cython.int) -> uint64_t:
    value: uint64_t = 0
    i: cython.int
    region: cython.pointer(Region)
    for i in range(e.nr_regions):
        region = cython.address(e.regions[i])
        if region.key <= key and key < region.key + (region.hi - region.lo):
            if region.shadow != cython.NULL:
                memcpy(cython.address(value), region.shadow + (key - region.key), size)
            else:
                memcpy(cython.address(value), cython.cast(cython.p_void, region.lo + (key - region.key)), size)
    return value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def locate(e: cython.pointer(Engine), key: uint64_t, size: cython.int) -> cython.int:
    """The location's number; -1: there are too many, or it is used with two sizes."""
    fresh: cython.bint = False
    loc: cython.int = memory_find(cython.address(e.memory), key)
    if loc < 0:
        loc = memory_loc(cython.address(e.memory), key, size, initial_value(e, key, size), cython.address(fresh))
    if loc >= 0 and e.memory.locs[loc].size != size:
        fail(e, e.current, b"a word is accessed with two sizes, which the model does not have")
        return -1
    return loc


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_region(e: cython.pointer(Engine), lo: cython.p_void, nbytes: uint64_t, protect: cython.bint) -> cython.int:
    """Memory that the CPUs share, as it is now; -1: no room. `protect`: whole pages, inaccessible while CPUs run."""
    region: cython.pointer(Region) = cython.address(e.regions[e.nr_regions])
    if e.nr_regions == MAX_REGIONS:
        return -1
    region.shadow = cython.cast(cython.pointer(uint8_t), malloc(nbytes))
    if region.shadow == cython.NULL:
        return -1
    memcpy(region.shadow, lo, nbytes)
    region.lo = cython.cast(uint64_t, lo)
    region.hi = region.lo + nbytes
    region.key = region.lo
    region.protected_ = protect
    e.nr_regions += 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_initial(e: cython.pointer(Engine), addr: uint64_t, value: uint64_t) -> cython.int:
    """A location that lies in no region (a litmus test's variable): its number."""
    fresh: cython.bint = False
    return memory_loc(cython.address(e.memory), addr, 8, value, cython.address(fresh))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def protect(e: cython.pointer(Engine), prot: cython.int) -> cython.int:
    i: cython.int
    for i in range(e.nr_regions):
        if e.regions[i].protected_ and mprotect(
            cython.cast(cython.p_void, e.regions[i].lo), e.regions[i].hi - e.regions[i].lo, prot
        ):
            return -1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def engine_name(
    e: cython.pointer(Engine), lo: cython.p_void, nbytes: uint64_t, text: cython.p_const_char
) -> cython.void:
    """What traces call this memory; the first name that fits counts."""
    if e.nr_names < MAX_NAMES:
        e.names[e.nr_names].lo = cython.cast(uint64_t, lo)
        e.names[e.nr_names].hi = cython.cast(uint64_t, lo) + nbytes
        e.names[e.nr_names].text = text
        e.nr_names += 1
