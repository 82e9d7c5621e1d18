"""L1: the owner map: who holds each granule, claimed and released by compare-and-swap of whole words.

Purpose. One byte per granule: 0 = free, else the owner, with START on the first granule of a block (layout/structs.pxd has
the values and the invariants). The claim *is* the ownership record, so there is no instant at which a granule is taken
but nobody's, and the bytes alone tell a double, foreign, interior or wrong-size free.

Guarantee. Lock-free: some caller always advances; a single caller may retry as long as others succeed. No state is ever
left that another caller, a signal handler on the same CPU or another process would have to wait for.

Price. One compare-and-swap per word (8 granules) to claim and to release; none shared between words.

  what runs      | beside claim        | beside release       | beside sweep of a dead owner
  claim          | words are all-or-nothing, upwards; the loser of a word rolls back downwards | any | any: disjoint lanes
  release        | any                 | of the same block: the last word decides, one wins | the owner is alive: disjoint
  transfer       | any (lanes stay taken) | the caller holds the block | the caller acts for the dead owner
  note_full      | a full bit may be late, never wrong for good: see [F:ownermap.note_full]

Rules. Upwards to claim, downwards to release, sweep and roll back: at every instant each block's granules are a prefix of
it, START included. So whatever a death leaves is a block, only shorter, and a granule without START always has its owner
before it. Nothing is stored outside the map's words except the summary, which is a hint.

Crash windows. [D:ownermap.claim] between two words of a claim, [D:ownermap.release] between two words of a release,
[D:ownermap.transfer] and [D:ownermap.sweep] between two of theirs; [D:ownermap.note_full] between setting a full bit and
looking again, [D:ownermap.freed] between freeing a lane and clearing the word's full bit. The first two leave a prefix
with the dead owner's byte: `sweep` clears it. A transfer is resumed by whoever mends the structure that it served, a
sweep is run again. The last two can leave a full bit on a word that is not full: `forget_full`, which recovery calls,
clears them all.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.parts.ownermap is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cmpxchg_relaxed,
    cmpxchg_release,
    fetch_and_relaxed,
    fetch_or,
    read_once,
    smp_mb_after_atomic,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import (
    block_lanes,
    clz64,
    every_lane,
    free_lanes,
    get_lane,
    has_free_lane,
    lane_mask,
    lanes_equal,
    popcount64,
    spread_lanes,
)
from cython.cimports.mempools.parts.owners import OWNER_MASK, START
from cython.cimports.mempools.parts.status import (
    BUSY,
    DOUBLE_FREE,
    FOREIGN,
    INTERIOR,
    OK,
    WRONG_SIZE,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim_lanes(word: cython.pointer(uint64_t), mask: uint64_t, value: uint64_t) -> cython.int:
    """Claims the lanes of `mask`, all or none."""
    old: uint64_t = read_once(word, b"ownermap.claim")  # relaxed: a guess that the swap confirms
    seen: uint64_t
    while True:
        if old & mask:
            return BUSY
        # [A:ownermap.claim] acquire; pairs with [R:ownermap.release]: the last owner's writes to the block happen before
        # the next owner's. Without it: CPU 0 writes the block and releases; CPU 1 claims, writes, and CPU 0's late write
        # lands on top.
        seen = cmpxchg_acquire(word, old, old | value, b"A:ownermap.claim")
        if seen == old:
            return OK
        old = seen


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def unmark_full(summary: cython.pointer(uint64_t), w: uint64_t, old: uint64_t) -> cython.void:
    """After a swap that freed lanes of word w, which was `old` before: clears its full bit."""
    bit: uint64_t
    if not has_free_lane(old):
        window(b"D:ownermap.freed")
        # [F:ownermap.freed] full; pairs with [F:ownermap.note_full]: whoever makes a full word not full looks at its bit
        # after the swap. Long argument there. A word that was not full before is left alone: whoever made it so looks.
        smp_mb_after_atomic(b"F:ownermap.freed")
        bit = cython.cast(uint64_t, 1) << (w & 63)
        if read_once(cython.address(summary[w >> 6]), b"ownermap.freed") & bit:
            fetch_and_relaxed(cython.address(summary[w >> 6]), ~bit, b"ownermap.freed")  # 0 is always right


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unclaim(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), first: uint64_t, last_word: uint64_t
) -> cython.void:
    """Gives back the words of a failed claim, downwards from last_word (exclusive). Nobody else changes these lanes, and
    nothing was written to the granules: relaxed is enough for them."""
    w: uint64_t = last_word
    lane: uint64_t
    mask: uint64_t
    old: uint64_t
    seen: uint64_t
    while w > first >> 3:
        w -= 1
        lane = first & 7 if w == first >> 3 else 0
        mask = lane_mask(lane, 8 - lane)
        old = read_once(cython.address(map[w]), b"ownermap.unclaim")
        while True:
            seen = cmpxchg_relaxed(cython.address(map[w]), old, old & ~mask, b"ownermap.unclaim")
            if seen == old:
                break
            old = seen
        unmark_full(summary, w, old)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), first: uint64_t, nr: uint64_t, owner: uint32_t
) -> cython.int:
    """Claims granules first .. first + nr - 1 as one block: OK, or BUSY with nothing changed."""
    w: uint64_t = first >> 3
    lane: uint64_t = first & 7
    left: uint64_t = nr
    here: uint64_t
    while True:
        here = left if left < 8 - lane else 8 - lane
        if (
            claim_lanes(
                cython.address(map[w]),
                lane_mask(lane, here),
                block_lanes(lane, here, owner, START if left == nr else 0),
            )
            != OK
        ):
            unclaim(map, summary, first, w)
            return BUSY
        left -= here
        if left == 0:
            return OK
        window(b"D:ownermap.claim")
        w += 1
        lane = 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def inspect(
    map: cython.pointer(uint64_t), nr_words: uint64_t, first: uint64_t, nr: uint64_t, owner: uint32_t
) -> cython.int:
    """OK if granules first .. first + nr - 1 are exactly one block of `owner`; else what they are instead.
    All reads are relaxed: the caller's own block does not change under it, and of any other the answer is a snapshot."""
    byte: uint64_t = get_lane(read_once(cython.address(map[first >> 3]), b"ownermap.inspect"), first & 7)
    end: uint64_t = first + nr
    w: uint64_t
    lane: uint64_t
    here: uint64_t
    word: uint64_t
    if byte == 0:
        return DOUBLE_FREE
    if byte & OWNER_MASK != owner:
        return FOREIGN
    if not byte & START:
        return INTERIOR
    if end > nr_words * 8:
        return WRONG_SIZE
    w = first >> 3
    lane = first & 7
    while w * 8 < end:
        if lane == 0 and end - w * 8 >= 8 and w != first >> 3:
            if read_once(cython.address(map[w]), b"ownermap.inspect") != every_lane(owner):
                return WRONG_SIZE
            w += 1
            continue
        here = (end - w * 8 if end - w * 8 < 8 else 8) - lane
        word = read_once(cython.address(map[w]), b"ownermap.inspect") & lane_mask(lane, here)
        if word != block_lanes(lane, here, owner, START if w == first >> 3 else 0):
            return WRONG_SIZE
        lane = 0
        w += 1
    if end < nr_words * 8:
        byte = get_lane(read_once(cython.address(map[end >> 3]), b"ownermap.inspect"), end & 7)
        if byte != 0 and not byte & START:
            return WRONG_SIZE
    return OK


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def release_lanes(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), w: uint64_t, mask: uint64_t, value: uint64_t
) -> cython.int:
    """Clears the lanes of `mask` if they hold `value`; OK, or DOUBLE_FREE with nothing changed."""
    old: uint64_t = read_once(cython.address(map[w]), b"ownermap.release")  # relaxed: the swap confirms
    seen: uint64_t
    while True:
        if old & mask != value:
            return DOUBLE_FREE
        # [R:ownermap.release] release; pairs with [A:ownermap.claim]: see there.
        seen = cmpxchg_release(cython.address(map[w]), old, old & ~mask, b"R:ownermap.release")
        if seen == old:
            break
        old = seen
    unmark_full(summary, w, old)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def release(
    map: cython.pointer(uint64_t),
    summary: cython.pointer(uint64_t),
    nr_words: uint64_t,
    first: uint64_t,
    nr: uint64_t,
    owner: uint32_t,
) -> cython.int:
    """Releases one whole block of `owner`: OK, or what is wrong with nothing changed. Two callers that release the same
    block race for its last word; the loser gets DOUBLE_FREE."""
    status: cython.int
    w: uint64_t = first >> 3
    lane: uint64_t = first & 7
    end: uint64_t = first + nr
    here: uint64_t
    word: uint64_t
    if lane + nr < 8:
        # Most blocks lie inside one word, with the lane after them in it too: one look tells all. Relaxed: the swap confirms.
        word = read_once(cython.address(map[w]), b"ownermap.release")
        here = get_lane(word, lane + nr)
        if word & lane_mask(lane, nr) == block_lanes(lane, nr, owner, START) and (here == 0 or here & START):
            return release_lanes(map, summary, w, lane_mask(lane, nr), block_lanes(lane, nr, owner, START))
    w = (end - 1) >> 3
    status = inspect(map, nr_words, first, nr, owner)
    if status != OK:
        return status
    while True:
        lane = first & 7 if w == first >> 3 else 0
        here = (end - w * 8 if end - w * 8 < 8 else 8) - lane
        status = release_lanes(
            map, summary, w, lane_mask(lane, here), block_lanes(lane, here, owner, START if w == first >> 3 else 0)
        )
        if status != OK or w == first >> 3:
            return status
        window(b"D:ownermap.release")
        w -= 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def transfer(
    map: cython.pointer(uint64_t),
    nr_words: uint64_t,
    first: uint64_t,
    nr: uint64_t,
    from_owner: uint32_t,
    to_owner: uint32_t,
) -> cython.int:
    """Hands granules first .. first + nr - 1 from one owner to another; lanes that are to_owner's already stay (a transfer
    that a death cut short is done again). The lanes stay taken, so nobody else touches them: relaxed is enough."""
    end: uint64_t = first + nr
    w: uint64_t = first >> 3
    lane: uint64_t = first & 7
    old: uint64_t
    seen: uint64_t
    lanes: uint64_t
    if nr == 0 or end > nr_words * 8 or end < first:
        return WRONG_SIZE
    while w * 8 < end:
        mask: uint64_t = lane_mask(lane, (end - w * 8 if end - w * 8 < 8 else 8) - lane)
        old = read_once(cython.address(map[w]), b"ownermap.transfer")
        while True:
            lanes = spread_lanes(lanes_equal(old, from_owner, START)) & mask
            if (lanes | spread_lanes(lanes_equal(old, to_owner, START))) & mask != mask:
                return FOREIGN
            seen = cmpxchg_relaxed(
                cython.address(map[w]), old, old ^ (lanes & every_lane(from_owner ^ to_owner)), b"ownermap.transfer"
            )
            if seen == old:
                break
            old = seen
        window(b"D:ownermap.transfer")
        lane = 0
        w += 1
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def owner_at(map: cython.pointer(uint64_t), index: uint64_t) -> uint32_t:
    """The byte of one granule, START included: a snapshot."""
    return get_lane(read_once(cython.address(map[index >> 3]), b"ownermap.owner_at"), index & 7)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_start(map: cython.pointer(uint64_t), index: uint64_t) -> uint64_t:
    """The first granule of the block that `index` lies in (a snapshot; index itself if it is free)."""
    while index > 0:
        byte: uint32_t = owner_at(map, index)
        if byte == 0 or byte & START:
            break
        index -= 1
    return index


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_length(map: cython.pointer(uint64_t), nr: uint64_t, first: uint64_t) -> uint64_t:
    """Granules of the block that starts at `first`, in a map of nr granules (a snapshot)."""
    end: uint64_t = first + 1
    while end < nr:
        byte: uint32_t = owner_at(map, end)
        if byte == 0 or byte & START:
            break
        end += 1
    return end - first


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim_singles(map: cython.pointer(uint64_t), word: uint64_t, nr: uint64_t, owner: uint32_t) -> uint64_t:
    """Claims up to `nr` free granules of one word as blocks of one granule each, with one swap: the lanes, a bit each."""
    old: uint64_t = read_once(cython.address(map[word]), b"ownermap.claim_singles")  # relaxed: the swap confirms
    seen: uint64_t
    lanes: uint64_t
    while True:
        lanes = free_lanes(old)
        while nr < 8 and cython.cast(uint64_t, popcount64(lanes)) > nr:
            lanes ^= cython.cast(uint64_t, 1) << (63 - clz64(lanes))  # the lowest stay
        if lanes == 0:
            return 0
        # [A:ownermap.claim_singles] acquire; pairs with [R:ownermap.release]: as for claim.
        seen = cmpxchg_acquire(
            cython.address(map[word]),
            old,
            old | (spread_lanes(lanes) & every_lane(owner | START)),
            b"A:ownermap.claim_singles",
        )
        if seen == old:
            return lanes
        old = seen


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def release_singles(
    map: cython.pointer(uint64_t),
    summary: cython.pointer(uint64_t),
    nr_words: uint64_t,
    word: uint64_t,
    lanes: uint64_t,
    owner: uint32_t,
) -> cython.int:
    """Releases blocks of one granule each, all in one word: OK, or what is wrong with nothing changed."""
    mask: uint64_t = spread_lanes(lanes)
    value: uint64_t = mask & every_lane(owner | START)
    old: uint64_t = read_once(cython.address(map[word]), b"ownermap.release_singles")
    after: uint64_t
    if old & mask != value:
        return DOUBLE_FREE
    # The granule after a single must not continue it.
    after = (lanes << 1) & 0xFF
    if after & free_lanes(old & every_lane(START)) & ~free_lanes(old):
        return WRONG_SIZE
    if lanes & 0x80 and word + 1 < nr_words:
        byte: uint64_t = get_lane(read_once(cython.address(map[word + 1]), b"ownermap.release_singles"), 0)
        if byte != 0 and not byte & START:
            return WRONG_SIZE
    return release_lanes(map, summary, word, mask, value)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def note_full(map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), word: uint64_t) -> cython.void:
    """Marks a word that a search found full, so that the next search steps over it.

    The mark must not outlive the word's fullness, or free granules would be lost to every search. Searcher: set bit; look
    at the word again, and take the bit back if a lane is free. Releaser: free the lane; look at the bit, and clear it. If
    neither sees the other's store, the bit stays: the store-buffering shape, which full barriers on both sides forbid."""
    bit: uint64_t = cython.cast(uint64_t, 1) << (word & 63)
    if read_once(cython.address(summary[word >> 6]), b"ownermap.note_full") & bit:
        return
    # [F:ownermap.note_full] full; pairs with [F:ownermap.freed]: the argument above.
    fetch_or(cython.address(summary[word >> 6]), bit, b"F:ownermap.note_full")
    window(b"D:ownermap.note_full")
    if has_free_lane(read_once(cython.address(map[word]), b"ownermap.note_full")):
        fetch_and_relaxed(cython.address(summary[word >> 6]), ~bit, b"ownermap.note_full")  # 0 is always right


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sweep(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), nr_words: uint64_t, owner: uint32_t
) -> uint64_t:
    """Releases every granule of a dead owner, downwards; returns how many. Its caller holds the owner's slot, so nobody
    claims or releases in its name; claims of others go on in other lanes. May be cut short and run again."""
    nr: uint64_t = 0
    w: uint64_t = nr_words
    old: uint64_t
    lanes: uint64_t
    mask: uint64_t
    while w > 0:
        w -= 1
        old = read_once(cython.address(map[w]), b"ownermap.sweep")
        if old == 0:
            continue
        lanes = lanes_equal(old, owner, START)
        if lanes == 0:
            continue
        mask = spread_lanes(lanes)
        release_lanes(map, summary, w, mask, old & mask)
        nr += popcount64(lanes)
        window(b"D:ownermap.sweep")
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def forget_full(summary: cython.pointer(uint64_t), nr_words: uint64_t) -> cython.void:
    """Clears all full bits; the next searches set them again. For recovery: a dead searcher or releaser may have left one
    on a word that is not full."""
    i: uint64_t
    for i in range((nr_words + 63) >> 6):
        write_once(cython.address(summary[i]), 0, b"ownermap.forget_full")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_owner(
    map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), nr_words: uint64_t, owner: uint32_t
) -> uint64_t:
    """How many granules `owner` holds (0: how many are free). Not a snapshot: each word at its own instant."""
    nr: uint64_t = 0
    w: uint64_t = 0
    full: uint64_t
    while w < nr_words:
        if owner == 0 and w & 63 == 0:
            full = read_once(cython.address(summary[w >> 6]), b"ownermap.count")
            if full == ~cython.cast(uint64_t, 0):
                w += 64
                continue
        nr += popcount64(
            lanes_equal(read_once(cython.address(map[w]), b"ownermap.count"), owner, START if owner else 0)
        )
        w += 1
    return nr
