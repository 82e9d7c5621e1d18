"""L2: pages of the arena's file that exist, and pages that were given back to the system.

An arena's pages exist from its creation on, so touching one cannot fail. A pool may give pages of its own back to the system (a
hole in the file); before anybody touches them again, they must be reserved again, which can fail where the system has no
memory left: an error then, not a SIGBUS later.

Rules.
  Only the pool that owns a page makes a hole of it, when nobody can be touching the page.
  `holes` in the superblock is set before the first hole is made, and stays. Whoever takes pages from the arena while it is set
  reserves them first (growth.py), for a pool that ended, or whose process died, leaves its holes in the arena's free pages.
      the giver:  holes = 1; make the hole; release the page's byte
      the taker:  claim the page's byte; look at holes
  The page map's release and acquire are between the two, so the taker sees the flag.

In memory of one process alone there is no file: nothing is given back. Each page is written to all the same, so that the model
checker sees whoever touches a page that is gone.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.layout.backing is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.refs import ArenaRef
from cython.cimports.mempools.layout.structs import PAGE_SHIFT
from cython.cimports.mempools.machine.atomics import fill, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.machine.memory import punch_range, reserve_range
from cython.cimports.mempools.parts.status import EXHAUSTED, INVALID, OK

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_back(arena: cython.pointer(ArenaRef), offset: uint64_t, nbytes: uint64_t) -> cython.int:
    """The pages exist: OK, or EXHAUSTED if the system has no memory for them. Pages that exist keep what is in them."""
    if arena.fd < 0 or reserve_range(arena.fd, offset, nbytes) == 0:
        return OK
    return EXHAUSTED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_unback(arena: cython.pointer(ArenaRef), offset: uint64_t, nbytes: uint64_t) -> cython.int:
    """Gives the pages back to the system: OK, or INVALID where the file system cannot, and nothing has changed."""
    at: uint64_t
    if arena.fd < 0:
        for at in range(nbytes >> PAGE_SHIFT):
            fill(arena.base + offset + (at << PAGE_SHIFT), 0, 8, b"backing.unback")
        return OK
    if read_once(cython.address(arena.super.holes), b"backing.holes") == 0:
        write_once(cython.address(arena.super.holes), 1, b"backing.holes")
    return OK if punch_range(arena.fd, offset, nbytes) == 0 else INVALID


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_taken(arena: cython.pointer(ArenaRef), offset: uint64_t, nbytes: uint64_t) -> cython.int:
    """Of pages that the caller has just taken from the arena: they exist, or EXHAUSTED."""
    if read_once(cython.address(arena.super.holes), b"backing.holes") == 0:
        return OK
    return pages_back(arena, offset, nbytes)
