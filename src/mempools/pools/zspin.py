"""L3: pins: what keeps an object of a ZsPool where it is while somebody reads or writes it.

Purpose. A pin is a hazard pointer that others can see and that recovery can clear: an entry with the object's cell in a line,
or a page, of the reader's process slot.
Guarantee. A pinned object is neither moved nor freed. Wait-free for readers but for the search of a free entry: a reader never
waits for a mover, it cancels the move; the last reader of an object that has ended takes the class's lock. A dead process's
pins hold nobody up once recovery has run. Process-safe.
Price. One full swap to pin, one to unpin; a mover or freer looks at the entries that the processes have ever used at a time.
Precondition. The process is registered and stays so while it has pins.

  what runs | beside pin                             | beside unpin
  claim     | [F:zspin.enter]: one sees the other    | [A:zspin.scan]: all that was done through the pin is done
  doom      | likewise                               | [F:zspin.leave]: one of the two frees the object

Rules.
- Only who holds the class's lock sets CELL_CLAIMED, and takes it away or commits before it lets go; a reader, or who gives or
  defers the object, may take it away at any time. So a commit's swap from the claimed word fails if and only if one has
  cancelled it.
- The entry is written before the cell is looked at, and the cell decides. An entry of a reader that has not looked yet holds a
  mover up for nothing, no more.

Crash windows: none of its own. A death with a pin leaves the entry, which recovery clears (clear_pins) before the slot is
anybody else's.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.zspin is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import inside
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import NR_SLOTS
from cython.cimports.mempools.machine.atomics import (
    cmpxchg,
    cmpxchg_relaxed,
    fetch_or_relaxed,
    load_acquire,
    read_once,
    this_module_step,
    write_once,
    xchg,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, NOT_A_BLOCK, NOT_REGISTERED, OK, STALE, TABLE_FULL
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zstable import (
    CELL_CLAIMED,
    CELL_LIVE,
    DOOMED,
    NR_FIRST_PINS,
    NR_PINS,
    Descriptor,
    cell_owner,
    cell_slot,
    cell_zspage,
    desc_class,
    handle_names,
    handle_of,
    header_of,
    index_of,
    name_block,
    object_at,
    word_fits,
    zs_cell,
    zs_desc,
    zs_root,
)

register_module(cython.address(this_module_step))

_END_NS = cython.declare(uint64_t, 20_000_000)  # for the class's lock
_end = cython.declare(end_fn, cython.NULL)


# ---- where pins are: a line in the root, so that reading needs no memory, and a page for a process that has more at a time


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def line_of(pool: cython.pointer(PoolRef), slot: uint64_t) -> cython.pointer(uint64_t):
    return cython.address(zs_root(pool).first_pins[slot * (NR_FIRST_PINS + 1)])


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def pins_of(pool: cython.pointer(PoolRef), slot: uint64_t) -> cython.pointer(uint64_t):
    """A slot's page of pins; NULL: it has none."""
    # Relaxed: its own process has zeroed it; what another may find in it that is older would hold up a mover for nothing.
    offset: uint64_t = read_once(cython.address(zs_root(pool).pins[slot]), b"zspin.page")
    if not inside(pool.arena, offset, 4096):
        return cython.NULL
    return cython.cast(cython.pointer(uint64_t), pool.arena.base + offset)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def used(pins: cython.pointer(uint64_t), most: uint64_t) -> uint64_t:
    """The highest entry ever used, of a line or a page. Relaxed: for others behind a full barrier."""
    high: uint64_t = read_once(pins, b"zspin.high")
    return high if high < most else most


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def enter(pins: cython.pointer(uint64_t), most: uint64_t, index: uint64_t) -> cython.pointer(uint64_t):
    """An entry that names the cell; NULL: there is none free."""
    i: uint64_t
    high: uint64_t
    for i in range(1, most + 1):
        if read_once(cython.address(pins[i]), b"zspin.enter"):  # relaxed: the swap confirms
            continue
        high = read_once(pins, b"zspin.high")
        while high < i and cmpxchg_relaxed(pins, high, i, b"zspin.high") != high:
            high = read_once(pins, b"zspin.high")
        # [F:zspin.enter] full; pairs with [F:zspin.claimed]: either the reader sees the claim and cancels it, or the mover sees
        # the pin and passes by. Without a full barrier on each side both may miss the other: CPU 0 sets the entry, and reads
        # the cell before that is visible. CPU 1 claims the cell, finds no pin, moves the object away and gives the place to
        # another. CPU 0 reads the other's bytes.
        if cmpxchg(cython.address(pins[i]), 0, index + 1, b"F:zspin.enter") == 0:
            return cython.address(pins[i])
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def enter_page(
    pool: cython.pointer(PoolRef), slot: uint64_t, index: uint64_t, pinned: cython.pointer(Pinned)
) -> cython.int:
    """An entry of the process's page, which is made if it has none: OK, TABLE_FULL, EXHAUSTED, CORRUPT."""
    status: cython.int = OK
    pins: cython.pointer(uint64_t)
    if read_once(cython.address(zs_root(pool).pins[slot]), b"zspin.page") == 0:
        status = name_block(pool, cython.address(zs_root(pool).pins[slot]), 4096)
    if status != OK:
        return status
    pins = pins_of(pool, slot)
    if pins == cython.NULL:
        return CORRUPT
    pinned.entry = enter(pins, NR_PINS - NR_FIRST_PINS, index)
    return OK if pinned.entry != cython.NULL else TABLE_FULL


# ---- readers


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_pin(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, pinned: cython.pointer(Pinned)
) -> cython.int:
    """OK; STALE: the object has been freed; NOT_A_BLOCK: it never was one; TABLE_FULL: this process has NR_PINS pins;
    EXHAUSTED: it has NR_FIRST_PINS, and there is no room for its page; NOT_REGISTERED, CORRUPT."""
    slot: uint64_t = pool.arena.slot[0]
    index: uint64_t = index_of(handle)
    cell: cython.pointer(uint64_t) = zs_cell(pool, index)
    bit: uint64_t = cython.cast(uint64_t, 1) << (slot & 63)
    word: uint64_t
    status: cython.int
    if slot == 0:
        return NOT_REGISTERED
    if cell == cython.NULL:
        return NOT_A_BLOCK
    # Relaxed: only this slot's processes set the bit, and the full barrier of the pin stands between this and the look at the
    # cell.
    if not read_once(cython.address(zs_root(pool).pinners[slot >> 6]), b"zspin.pinners") & bit:
        fetch_or_relaxed(cython.address(zs_root(pool).pinners[slot >> 6]), bit, b"zspin.make")
    pinned.entry = enter(line_of(pool, slot), NR_FIRST_PINS, index)
    if pinned.entry == cython.NULL:
        status = enter_page(pool, slot, index, pinned)
        if status != OK:
            return status
    pinned.handle = handle
    while True:
        # [A:zspin.cell] acquire; pairs with [R:zsalloc.live] and [R:zscompact.moved]: the object's bytes are where its cell
        # says. Without it a reader might find the new place and yet the bytes that were there before the object was.
        word = load_acquire(cell, b"A:zspin.cell")
        if not handle_names(handle, word & ~cython.cast(uint64_t, CELL_CLAIMED)):
            let_go(pool, g, pinned)
            return not_named(handle, word)
        if not word & cython.cast(uint64_t, CELL_CLAIMED):
            break
        # Relaxed: it takes something away from the mover, and publishes nothing.
        if cmpxchg_relaxed(cell, word, word & ~cython.cast(uint64_t, CELL_CLAIMED), b"zspin.cancel") == word:
            word &= ~cython.cast(uint64_t, CELL_CLAIMED)
            break
    status = locate(pool, g, word, pinned)
    if status != OK:
        let_go(pool, g, pinned)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def let_go(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), pinned: cython.pointer(Pinned)) -> cython.void:
    """The end of a pin that has not found what it looked for. Whoever retired what is in the cell now has seen a pin of it, and
    left it to its last reader. If the class's lock is not to be had, the next recovery ends it."""
    if zs_unpin(pool, pinned):
        _end(pool, g, pinned.handle, _END_NS)


@cython.cfunc
@cython.exceptval(check=False)
def register_end(end: end_fn) -> cython.void:
    """What the last reader of an object does: pools/zsalloc.py, which needs this module, says."""
    global _end
    _end = end


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def not_named(handle: uint64_t, word: uint64_t) -> cython.int:
    """Why a handle names nothing: STALE if it may have been one."""
    if word == 0 or handle >> 40 == 0 or handle >> 56 or (handle >> 32 & 0xFF) != (word >> 38 & 0xFF):
        return NOT_A_BLOCK
    # Generations go round: what is ahead of the cell's, or the same although there is no object, has not been given out yet.
    return STALE if ((word >> 48) - (handle >> 40) - 1 & 0xFFFF) < 0x8000 else NOT_A_BLOCK


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def locate(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), word: uint64_t, pinned: cython.pointer(Pinned)
) -> cython.int:
    """The bytes of a pinned object. Relaxed: neither its descriptor nor its header changes while it is pinned."""
    d: cython.pointer(Descriptor) = zs_desc(pool, cell_zspage(word))
    where: uint64_t
    header: uint64_t
    room: uint64_t
    if d == cython.NULL:
        return CORRUPT
    where = read_once(cython.address(d.word), b"zspin.locate")
    if not word_fits(pool, g, where) or cell_slot(word) >= g.shapes[desc_class(where)].objs:
        return CORRUPT
    header = read_once(header_of(pool, g, d, where, cell_slot(word)), b"zspin.locate")
    pinned.object = object_at(pool, g, where, cell_slot(word))
    pinned.nbytes = header >> 1 & 0x7FFFFFFF
    room = g.shapes[desc_class(where)].size - (0 if g.shapes[desc_class(where)].huge else 8)
    if pinned.nbytes > room or header >> 32 != index_of(pinned.handle):
        return CORRUPT
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_doomed(pool: cython.pointer(PoolRef), handle: uint64_t) -> cython.bint:
    """Has an object ended but for its readers and its place? Relaxed: if it does so at this moment, either answer is right."""
    cell: cython.pointer(uint64_t) = zs_cell(pool, index_of(handle))
    word: uint64_t = 0 if cell == cython.NULL else read_once(cell, b"zspin.doomed")
    return handle_names(handle, word) and cell_owner(word) == DOOMED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def zs_unpin(pool: cython.pointer(PoolRef), pinned: cython.pointer(Pinned)) -> cython.bint:
    cell: cython.pointer(uint64_t) = zs_cell(pool, index_of(pinned.handle))
    word: uint64_t
    # [F:zspin.leave] full; pairs with [A:zspin.scan], which sees that all that was done through the pin is done before the
    # place becomes another's, and with [F:zsretire.doomed]: either who retires the object sees that it is not pinned any
    # more, or this process sees that it is doomed. Without that an object that was being read stays for ever.
    xchg(pinned.entry, 0, b"F:zspin.leave")
    pinned.entry = cython.NULL
    word = read_once(cell, b"zspin.doomed")
    if not word & cython.cast(uint64_t, CELL_LIVE) or cell_owner(word) != DOOMED:
        return False
    pinned.handle = handle_of(word, index_of(pinned.handle))
    return True


# ---- movers and freers


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def names(pins: cython.pointer(uint64_t), most: uint64_t, index: uint64_t) -> cython.bint:
    i: uint64_t
    for i in range(1, used(pins, most) + 1):
        # [A:zspin.scan] acquire; pairs with [F:zspin.leave]: see there.
        if load_acquire(cython.address(pins[i]), b"A:zspin.scan") == index + 1:
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_pinned(pool: cython.pointer(PoolRef), index: uint64_t) -> cython.bint:
    """Has anybody an entry that names the cell? After a full barrier."""
    w: uint64_t
    slot: uint64_t
    slots: uint64_t
    pins: cython.pointer(uint64_t)
    for w in range(2):
        slots = read_once(cython.address(zs_root(pool).pinners[w]), b"zspin.pinners")
        while slots:
            slot = (w << 6) + ctz64(slots)
            slots &= slots - 1
            if slot > NR_SLOTS:
                break
            if names(line_of(pool, slot), NR_FIRST_PINS, index):
                return True
            pins = pins_of(pool, slot)
            if pins != cython.NULL and names(pins, NR_PINS - NR_FIRST_PINS, index):
                return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def claim_locked(
    pool: cython.pointer(PoolRef), index: uint64_t, cell: cython.pointer(uint64_t), word: uint64_t
) -> cython.int:
    """OK, or BUSY: somebody reads it, or has given it to another owner, and nothing has been changed. Swaps: a gift
    (pools/zsgive.py) and a deferred free (pools/zsdefer.py) take no lock, and neither may be overwritten."""
    # [F:zspin.claimed] full; pairs with [F:zspin.enter]: see there.
    if cmpxchg(cell, word, word | cython.cast(uint64_t, CELL_CLAIMED), b"F:zspin.claimed") != word:
        return BUSY
    if not is_pinned(pool, index):
        return OK
    cmpxchg_relaxed(cell, word | cython.cast(uint64_t, CELL_CLAIMED), word, b"zspin.unclaim")
    return BUSY


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def has_pins(pool: cython.pointer(PoolRef), slot: uint64_t) -> cython.bint:
    """Has a process any pin? Relaxed: for itself."""
    pins: cython.pointer(uint64_t) = line_of(pool, slot)
    i: uint64_t
    for i in range(1, NR_FIRST_PINS + 1):
        if read_once(cython.address(pins[i]), b"zspin.has"):
            return True
    pins = pins_of(pool, slot)
    if pins != cython.NULL:
        for i in range(1, NR_PINS - NR_FIRST_PINS + 1):
            if read_once(cython.address(pins[i]), b"zspin.has"):
                return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def clear_pins(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.void:
    """The pins of a dead process. Relaxed: it reads and writes no more."""
    pins: cython.pointer(uint64_t) = line_of(pool, slot)
    i: uint64_t
    for i in range(1, used(pins, NR_FIRST_PINS) + 1):
        write_once(cython.address(pins[i]), 0, b"zspin.clear")
    pins = pins_of(pool, slot)
    if pins != cython.NULL:
        for i in range(1, used(pins, NR_PINS - NR_FIRST_PINS) + 1):
            write_once(cython.address(pins[i]), 0, b"zspin.clear")
