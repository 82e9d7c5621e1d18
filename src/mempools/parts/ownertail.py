"""L1: the end of a block in an owner map (see ownermap.py first): cut off, and put on again.

Guarantee. As of ownermap.py: a block's granules are a prefix of it at every instant, so whatever a death leaves is the block,
only shorter or longer, and whoever mends it sees by its length how far the dead one got. Lock-free, process-safe.
Precondition. The caller alone decides how long the block is.

  what runs | beside claim of what is free there         | beside release, transfer of the block
  cut       | as a release: [R:ownermap.release]         | not possible: the caller's precondition
  extend    | as a claim: [A:ownermap.claim], one wins   | likewise

Crash windows. [D:ownertail.cut], [D:ownertail.extend] between two words: the block is longer than it was to be.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.parts.ownertail is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.machine.atomics import this_module_step, window
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import block_lanes, lane_mask
from cython.cimports.mempools.parts.ownermap import claim_lanes, release_lanes, unclaim
from cython.cimports.mempools.parts.status import BUSY, OK

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cut(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), first: uint64_t, nr: uint64_t, owner: uint32_t
) -> cython.int:
    """Frees the last nr granules, from `first` on, of a block of `owner` that begins before them: OK, or DOUBLE_FREE: they are
    not; downwards, those behind are free."""
    end: uint64_t = first + nr
    w: uint64_t = (end - 1) >> 3
    lane: uint64_t
    here: uint64_t
    status: cython.int
    while True:
        lane = first & 7 if w == first >> 3 else 0
        here = (end - w * 8 if end - w * 8 < 8 else 8) - lane
        status = release_lanes(map, summary, w, lane_mask(lane, here), block_lanes(lane, here, owner, 0))
        if status != OK or w == first >> 3:
            return status
        window(b"D:ownertail.cut")
        w -= 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def extend(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), first: uint64_t, nr: uint64_t, owner: uint32_t
) -> cython.int:
    """Adds the nr granules from `first` on to the block of `owner` that ends before them: OK, or BUSY with nothing changed."""
    w: uint64_t = first >> 3
    lane: uint64_t = first & 7
    left: uint64_t = nr
    here: uint64_t
    while True:
        here = left if left < 8 - lane else 8 - lane
        if claim_lanes(cython.address(map[w]), lane_mask(lane, here), block_lanes(lane, here, owner, 0)) != OK:
            unclaim(map, summary, first, w)
            return BUSY
        left -= here
        if left == 0:
            return OK
        window(b"D:ownertail.extend")
        w += 1
        lane = 0
