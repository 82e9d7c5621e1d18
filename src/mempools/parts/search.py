"""L1: searching an owner map for a run of free granules.

Every function reads only (except for full bits, see ownermap.note_full), takes a snapshot word by word, and promises
nothing: the claim that follows confirms, or fails and the search is repeated. All reads are relaxed for that reason.

A word whose full bit is set is stepped over, 64 words at a time where a whole summary word is set, so a search costs by
the words that have room, not by the size of the pool.

Alignment: granule i is aligned when (i + phase) is a multiple of `align` granules, a power of two; `phase` is the place of
granule 0 (its address in granules, modulo align), so that alignment is of the address, not of the place in the chunk.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.parts.search is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64, free_lanes
from cython.cimports.mempools.parts.ownermap import note_full

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def skip_full(summary: cython.pointer(uint64_t), word: uint64_t, nr_words: uint64_t) -> uint64_t:
    """The first word at or after `word` whose full bit is clear, or nr_words."""
    while word < nr_words:
        bits: uint64_t = ~read_once(cython.address(summary[word >> 6]), b"search.skip") >> (word & 63)
        if bits:
            word += ctz64(bits)
            return word if word < nr_words else nr_words
        word = (word | 63) + 1
    return nr_words


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def aligned(index: uint64_t, align: uint64_t, phase: uint64_t) -> uint64_t:
    """The first aligned granule at or after index."""
    return index + ((align - ((index + phase) & (align - 1))) & (align - 1))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def next_run(
    map: cython.pointer(uint64_t),
    summary: cython.pointer(uint64_t),
    start: uint64_t,
    end: uint64_t,
    enough: uint64_t,
    run_end: cython.pointer(uint64_t),
) -> uint64_t:
    """The first free run at or after `start`: its first granule, and its end in run_end; followed no further than
    `enough` granules. NOWHERE if all is taken up to `end`."""
    nr_words: uint64_t = (end + 7) >> 3
    word: uint64_t
    lanes: uint64_t
    first: uint64_t
    stop: uint64_t
    w: uint64_t = start >> 3
    lane: uint64_t = start & 7
    while True:
        if lane == 0:
            w = skip_full(summary, w, nr_words)
        if w >= nr_words:
            return NOWHERE
        word = read_once(cython.address(map[w]), b"search.read")
        lanes = free_lanes(word)
        if lanes == 0:
            note_full(map, summary, w)
        lanes &= cython.cast(uint64_t, 0xFF) << lane
        lane = 0
        if lanes:
            break
        w += 1
    first = ctz64(lanes)
    lanes = ~(lanes >> first)
    stop = first + ctz64(lanes)  # the lanes above the eighth read as taken
    first += w * 8
    stop += w * 8
    while stop == (w + 1) * 8 and stop < end and stop - first < enough:
        w += 1
        word = read_once(cython.address(map[w]), b"search.read")
        stop += 8 if word == 0 else ctz64(~free_lanes(word))
    if first >= end:
        return NOWHERE
    run_end[0] = stop if stop < end else end
    return first


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_run(
    map: cython.pointer(uint64_t),
    summary: cython.pointer(uint64_t),
    start: uint64_t,
    end: uint64_t,
    nr: uint64_t,
    align: uint64_t,
    phase: uint64_t,
) -> uint64_t:
    """The lowest aligned granule in [start, end) where `nr` free granules begin, or NOWHERE."""
    stop: uint64_t = 0
    first: uint64_t
    while start < end and end - start >= nr:
        first = next_run(map, summary, start, end, nr + align - 1, cython.address(stop))
        if first == NOWHERE:
            return NOWHERE
        start = aligned(first, align, phase)
        if start < stop and stop - start >= nr:
            return start
        start = stop
    return NOWHERE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_best(
    map: cython.pointer(uint64_t),
    summary: cython.pointer(uint64_t),
    end: uint64_t,
    nr: uint64_t,
    align: uint64_t,
    phase: uint64_t,
) -> uint64_t:
    """The aligned start of the smallest free run that holds `nr` granules, the lowest of equals; stops at an exact fit."""
    best: uint64_t = NOWHERE
    best_nr: uint64_t = NOWHERE
    start: uint64_t = 0
    stop: uint64_t = 0
    first: uint64_t
    at: uint64_t
    while start < end:
        first = next_run(map, summary, start, end, NOWHERE, cython.address(stop))
        if first == NOWHERE:
            break
        at = aligned(first, align, phase)
        if at < stop and stop - at >= nr and stop - first < best_nr:
            best = at
            best_nr = stop - first
            if best_nr == nr:
                break
        start = stop
    return best


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def largest_run(map: cython.pointer(uint64_t), summary: cython.pointer(uint64_t), end: uint64_t) -> uint64_t:
    """Granules of the longest free run (a snapshot)."""
    largest: uint64_t = 0
    start: uint64_t = 0
    stop: uint64_t = 0
    first: uint64_t
    while start < end:
        first = next_run(map, summary, start, end, NOWHERE, cython.address(stop))
        if first == NOWHERE:
            break
        if stop - first > largest:
            largest = stop - first
        start = stop
    return largest
