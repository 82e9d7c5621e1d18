"""L3: the index of a PerCpu pool: which chunk has room, without looking at its map.

Purpose. The owner map says what is free; it takes a walk to say where the longest free run is. So each page of a unit (a
block) has a word that says how much is free in it, how long its longest free run is, and how long those at its two borders
are; each chunk has the longest run of all, and stands in a list by its size ("slot"), the fullest chunks first.

Guarantee. A request fails only if no fitting run exists (tests/unit/test_percpu.py). The index is a cache: recovery
throws it away by marking every block stale.
Price. Under the index lock: one block is read anew (128 words) for each page that an allocation touched or that was freed
in. The kernel keeps hints that may be too low instead, with a second one ("scan_hint") and an invariant between the two,
which it broke several times; reading a block anew costs a tenth of a microsecond, and there is nothing to get wrong.

Who writes. `stale` anybody, at any time, without a lock: a free clears bytes of the map, then sets the bit. All else the
holder of the index lock. Reading a block anew begins with taking the bit away, so that a free that comes later sets it again:
  free:     release the bytes;            [R:percpuindex.mark]  set the bit
  refresh:  [A:percpuindex.take] take it; read the bytes
If the refresher does not see the bit, the bit is there for the next one; if it does, it sees the bytes too.

Crash window [D:percpuindex.taken]: the bit is taken and the block not yet looked at. The dead process holds the index lock,
and recovery marks every block stale before it gives the lock back (pools/percpu.py).
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.percpuindex is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_known
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.machine.atomics import (
    fetch_or_release,
    read_once,
    this_module_step,
    window,
    write_once,
    xchg_acquire,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import clz64, ctz64, every_lane, free_lanes
from cython.cimports.mempools.parts.search import NOWHERE, find_run

register_module(cython.address(this_module_step))

# Of the free lanes of a word: how many, and the longest run of them.
_free = cython.declare(cython.uchar[256])
_longest = cython.declare(cython.uchar[256])


@cython.cfunc
@cython.exceptval(check=False)
def fill_tables() -> cython.void:
    lanes: cython.int
    lane: cython.int
    run: cython.int
    for lanes in range(256):
        _free[lanes] = _longest[lanes] = run = 0
        for lane in range(8):
            run = run + 1 if lanes >> lane & 1 else 0
            _free[lanes] += lanes >> lane & 1
            _longest[lanes] = run if run > _longest[lanes] else _longest[lanes]


fill_tables()


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def slot_of(nbytes: uint64_t) -> uint64_t:
    """Which list a chunk stands in whose longest free run has nbytes > 0 bytes: two for less than 32, then one for each
    power of two (pcpu_size_to_slot in mm/percpu.c). 0 is for chunks without room."""
    bits: uint64_t = 64 - clz64(nbytes)
    return bits - 3 if bits > 4 else 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sidelined(units: cython.pointer(Units)) -> uint64_t:
    """The list after those by size; then come that of wholly free chunks, and that of chunks to be depopulated."""
    return slot_of(units.unit_nbytes) + 1


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def pack(left: uint64_t, right: uint64_t, largest: uint64_t, nr_free: uint64_t, areas: uint64_t) -> uint64_t:
    return left | right << 12 | largest << 24 | nr_free << 36 | areas << 48


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scan_block(map: cython.pointer(uint64_t), block: uint64_t) -> uint64_t:
    """A block's word, off the map. Relaxed reads: see above for why a byte that is freed meanwhile is not missed."""
    w: uint64_t
    word: uint64_t
    lanes: uint64_t
    taken: uint64_t
    areas: uint64_t = 0
    run: uint64_t = 0
    left: uint64_t = BLOCK_GRANULES
    largest: uint64_t = 0
    nr_free: uint64_t = 0
    for w in range(block * BLOCK_GRANULES // 8, (block + 1) * BLOCK_GRANULES // 8):
        word = read_once(cython.address(map[w]), b"percpuindex.scan")
        lanes = free_lanes(word)
        if lanes == 0xFF:
            run += 8
            nr_free += 8
            continue
        areas += ((word >> 7) & every_lane(1)) * every_lane(1) >> 56
        nr_free += _free[lanes]
        taken = ~lanes & 0xFF
        run += ctz64(taken)
        left = left if left < BLOCK_GRANULES else run
        largest = run if run > largest else largest
        largest = _longest[lanes] if _longest[lanes] > largest else largest
        run = clz64(taken) - 56
    return pack(left, run, run if run > largest else largest, nr_free, areas)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_of(units: cython.pointer(Units), i: uint64_t) -> cython.pointer(ChunkIndex):
    """The index of the i-th chunk, which this process knows. NULL for a chunk whose units do not lie in the arena."""
    chunk: cython.pointer(ChunkRef) = cython.address(units.pool.chunks[i])
    nbytes: uint64_t = units.pool.arena.nbytes
    if (
        chunk.nr != units.nr
        or chunk.base & 63
        or chunk.base < cython.sizeof(ChunkIndex)
        or chunk.base > nbytes
        or units.nr_units * units.unit_nbytes > nbytes - chunk.base
    ):
        return cython.NULL
    return cython.cast(cython.pointer(ChunkIndex), units.pool.arena.base + chunk.base - cython.sizeof(ChunkIndex))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mark_stale(units: cython.pointer(Units), i: uint64_t, at: uint64_t, nr: uint64_t) -> cython.void:
    """Granules [at, at + nr) of a chunk were freed. Without a lock, in any context."""
    index: cython.pointer(ChunkIndex) = index_of(units, i)
    first: uint64_t = at // BLOCK_GRANULES
    last: uint64_t = (at + nr - 1) // BLOCK_GRANULES
    if index != cython.NULL and last < units.nr_blocks:
        # [R:percpuindex.mark] release; pairs with [A:percpuindex.take]: whoever takes the bit sees the freed
        # bytes. Else it would look too early, the bit would be gone, and the room would be found by nobody.
        fetch_or_release(
            cython.address(index.stale),
            (~cython.cast(uint64_t, 0) >> (63 - (last - first))) << first,
            b"R:percpuindex.mark",
        )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def summarise(units: cython.pointer(Units), index: cython.pointer(ChunkIndex)) -> cython.void:
    """From a chunk's blocks to the chunk, and to its place in the lists. Under the index lock."""
    b: uint64_t
    word: uint64_t
    run: uint64_t = 0
    largest: uint64_t = 0
    nr_free: uint64_t = 0
    nr_empty: uint64_t = 0
    areas: uint64_t = 0
    populated: uint64_t = read_once(cython.address(index.populated), b"percpuindex.summarise")
    old: uint64_t = read_once(cython.address(index.slot), b"percpuindex.summarise")
    new: uint64_t
    for b in range(units.nr_blocks):
        word = read_once(cython.address(index.blocks[b]), b"percpuindex.summarise")
        nr_free += block_free(word)
        areas += block_areas(word)
        if block_free(word) == BLOCK_GRANULES:
            run += BLOCK_GRANULES
            nr_empty += populated >> b & 1
            continue
        run += block_left(word)
        if run > largest:
            largest = run
        if block_largest(word) > largest:
            largest = block_largest(word)
        run = block_right(word)
    if run > largest:
        largest = run
    write_once(cython.address(index.largest), largest, b"percpuindex.summarise")
    write_once(cython.address(index.nr_free), nr_free, b"percpuindex.summarise")
    write_once(cython.address(index.nr_empty), nr_empty, b"percpuindex.summarise")
    write_once(cython.address(index.nr_areas), areas, b"percpuindex.summarise")
    if read_once(cython.address(index.isolated), b"percpuindex.summarise"):
        new = sidelined(units) + 2
    elif nr_free == units.nr:
        new = sidelined(units) + 1
    elif old == sidelined(units):
        new = old  # until maintenance reintegrates it, or an allocation is served from it
    else:
        new = slot_of(largest << PERCPU_SHIFT) if largest else 0
    if new != old:
        move(units, index, old, new)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move(units: cython.pointer(Units), index: cython.pointer(ChunkIndex), old: uint64_t, new: uint64_t) -> cython.void:
    """To the front of its list if it has more room than before, to the end if less: the fullest are served first."""
    table: cython.pointer(PerCpuTable) = units.table
    rank: uint64_t
    if new > old:
        rank = read_once(cython.address(table.front), b"percpuindex.move") - 1
        write_once(cython.address(table.front), rank, b"percpuindex.move")
    else:
        rank = read_once(cython.address(table.back), b"percpuindex.move") + 1
        write_once(cython.address(table.back), rank, b"percpuindex.move")
    write_once(cython.address(index.slot), new, b"percpuindex.move")
    write_once(cython.address(index.rank), rank, b"percpuindex.move")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def refresh_blocks(units: cython.pointer(Units), i: uint64_t, first: uint64_t, last: uint64_t) -> cython.void:
    """Reads blocks first .. last of a chunk anew. Under the index lock."""
    index: cython.pointer(ChunkIndex) = index_of(units, i)
    b: uint64_t
    for b in range(first, last + 1):
        write_once(cython.address(index.blocks[b]), scan_block(units.pool.chunks[i].map, b), b"percpuindex.refresh")
    summarise(units, index)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def refresh(units: cython.pointer(Units)) -> uint64_t:
    """Takes up what was freed since, in the chunks that this process knows; how many chunks that is. Under the index lock."""
    i: uint64_t
    b: uint64_t
    stale: uint64_t
    known: uint64_t = pool_known(units.pool)
    index: cython.pointer(ChunkIndex)
    for i in range(known):
        index = index_of(units, i)
        # Relaxed: a bit that is set later is for the next one; see above.
        if index == cython.NULL or read_once(cython.address(index.stale), b"percpuindex.stale") == 0:
            continue
        # [A:percpuindex.take] acquire; pairs with [R:percpuindex.mark]: see there. The reads below come after
        # the bit is gone.
        stale = xchg_acquire(cython.address(index.stale), 0, b"A:percpuindex.take")
        window(b"D:percpuindex.taken")
        while stale:
            b = ctz64(stale)
            stale &= stale - 1
            write_once(cython.address(index.blocks[b]), scan_block(units.pool.chunks[i].map, b), b"percpuindex.refresh")
        summarise(units, index)
    return known


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nr_empty_populated(units: cython.pointer(Units)) -> uint64_t:
    """Populated pages of a unit that are wholly free, without those of isolated chunks. Under the index lock."""
    i: uint64_t
    nr: uint64_t = 0
    index: cython.pointer(ChunkIndex)
    for i in range(pool_known(units.pool)):
        index = index_of(units, i)
        if index != cython.NULL and not read_once(cython.address(index.isolated), b"percpuindex.empty"):
            nr += read_once(cython.address(index.nr_empty), b"percpuindex.empty")
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def nr_areas(units: cython.pointer(Units)) -> uint64_t:
    """Areas that there are, reserves' included. Under the index lock, refreshed."""
    i: uint64_t
    nr: uint64_t = 0
    index: cython.pointer(ChunkIndex)
    for i in range(pool_known(units.pool)):
        index = index_of(units, i)
        if index != cython.NULL:
            nr += read_once(cython.address(index.nr_areas), b"percpuindex.areas")
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fit(
    units: cython.pointer(Units), i: uint64_t, nr: uint64_t, align: uint64_t, populated_only: cython.bint
) -> uint64_t:
    """The lowest fitting granule of a chunk, or NOWHERE; on request only where every page is populated."""
    chunk: cython.pointer(ChunkRef) = cython.address(units.pool.chunks[i])
    bits: uint64_t
    first: uint64_t
    last: uint64_t
    at: uint64_t
    if not populated_only:
        return find_run(chunk.map, chunk.summary, 0, chunk.nr, nr, align, 0)
    bits = read_once(cython.address(index_of(units, i).populated), b"percpuindex.fit")
    while bits:
        first = ctz64(bits)
        last = first + 1
        while last < units.nr_blocks and bits >> last & 1:
            last += 1
        at = find_run(chunk.map, chunk.summary, first * BLOCK_GRANULES, last * BLOCK_GRANULES, nr, align, 0)
        if at != NOWHERE:
            return at
        bits = bits >> (last - 1) >> 1 << (last - 1) << 1
    return NOWHERE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_area(
    units: cython.pointer(Units),
    nr: uint64_t,
    align: uint64_t,
    populated_only: cython.bint,
    chunk: cython.pointer(uint64_t),
    at: cython.pointer(uint64_t),
) -> cython.bint:
    """Where `nr` granules are free, in the first chunk of the lists that has them: of those whose longest run may do, the
    fullest first, then the sidelined, the wholly free, and last those to be depopulated. Under the index lock, refreshed."""
    least: uint64_t = slot_of(nr << PERCPU_SHIFT)
    tried: uint64_t = 0
    i: uint64_t
    best: uint64_t
    slot: uint64_t
    rank: uint64_t
    best_slot: uint64_t = 0
    best_rank: uint64_t = 0
    index: cython.pointer(ChunkIndex)
    known: uint64_t = pool_known(units.pool)
    while True:
        best = NOWHERE
        for i in range(known):
            index = index_of(units, i)
            if tried >> i & 1 or index == cython.NULL:
                continue
            slot = read_once(cython.address(index.slot), b"percpuindex.find")
            rank = read_once(cython.address(index.rank), b"percpuindex.find")
            if slot < least or read_once(cython.address(index.largest), b"percpuindex.find") < nr:
                continue
            if best == NOWHERE or slot < best_slot or (slot == best_slot and rank < best_rank):
                best = i
                best_slot = slot
                best_rank = rank
        if best == NOWHERE:
            return False
        at[0] = fit(units, best, nr, align, populated_only)
        if at[0] != NOWHERE:
            chunk[0] = best
            return True
        tried |= cython.cast(uint64_t, 1) << best
