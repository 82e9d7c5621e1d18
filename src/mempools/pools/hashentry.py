"""L3: the entries of a store: objects of its ZsPool, filled by one process, read by all, moved by compaction.

Guarantee. An entry does not change, but for its times (hashclock.py), from the commit that brings it in until it is
retired; a reader that has it open reads it whole, wherever it is moved before and after. An entry that is too large for one
object has parts, each an object; a reader whose entry is replaced meanwhile may find a part gone (STALE), and looks again.
Process-safe.
Price. A pin for each object that is read; one swap for each that is given.

  what runs | beside open, walk                                           | beside compaction
  give      | nothing that a reader looks at                              | it passes the object by
  retire    | an open entry stays until it is closed; parts may end early | under the class's lock

Rules.
- Whoever makes an entry owns its objects until the index's commit gives them to OWNER_STRUCT, one by one, under the stripe's
  lock; what the commit has put out is given back to who is to retire it. So at its death recovery finds each object by its
  owner, or by the stripe's journal.
- Objects with parts behind them fill a zspage each, so they are never moved: the owner reads the next one's handle without a pin.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashentry is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import compare, copy, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import (
    CORRUPT,
    EXHAUSTED,
    INTERRUPTED,
    NOT_FOUND,
    NOT_REGISTERED,
    OK,
    TABLE_FULL,
    TIMED_OUT,
)
from cython.cimports.mempools.pools.zsalloc import zs_alloc, zs_free
from cython.cimports.mempools.pools.zsgeometry import Geometry, class_of
from cython.cimports.mempools.pools.zsgive import zs_give, zs_look
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zsretire import zs_retire
from cython.cimports.mempools.pools.zstable import ZS_SHIFT

register_module(cython.address(this_module_step))

_LAST_READER_NS = cython.declare(uint64_t, 20_000_000)  # for the class's lock


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parts_of(nr: uint64_t, size: uint64_t) -> uint64_t:
    """How many parts an entry has that has so many bytes of key and stored value, in objects of `size` bytes."""
    if nr + ENTRY_BYTES <= size:
        return 0
    return (nr - (size - SPILLED_BYTES) - 1) // (size - PART_BYTES) + 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_of(g: cython.pointer(Geometry), nbytes: uint64_t) -> uint64_t:
    """What an object takes of its zspage, with its part of what is left over there, its cell and its descriptor."""
    c: cython.int = class_of(g, nbytes)
    return ((cython.cast(uint64_t, g.shapes[c].pages) << ZS_SHIFT) + 64) // g.shapes[c].objs + 8


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_size(g: cython.pointer(Geometry), nr: uint64_t) -> uint64_t:
    """Of what objects an entry with so many bytes of key and stored value is best made: beyond a page classes are few, so pages
    and a rest may take less by a sixteenth. Otherwise of one object, or of as few as there can be."""
    one: uint64_t
    parts: uint64_t
    if nr + ENTRY_BYTES <= SMALL_OBJECT or nr + ENTRY_BYTES > LARGE_OBJECT:
        return LARGE_OBJECT
    one = share_of(g, nr + ENTRY_BYTES)
    parts = parts_of(nr, SMALL_OBJECT)
    nr -= SMALL_OBJECT - SPILLED_BYTES + (parts - 1) * (SMALL_OBJECT - PART_BYTES)
    parts = parts * share_of(g, SMALL_OBJECT) + share_of(g, PART_BYTES + nr)
    return SMALL_OBJECT if parts + one // 16 < one else LARGE_OBJECT


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_taken(g: cython.pointer(Geometry), item: cython.pointer(Item)) -> uint64_t:
    """Bytes of the slots of an entry and its parts."""
    nr: uint64_t = item.nr_key + item.nr_stored
    if item.parts == 0:
        return g.shapes[class_of(g, ENTRY_BYTES + nr)].size
    nr -= item.size - SPILLED_BYTES + (item.parts - 1) * (item.size - PART_BYTES)
    return item.parts * item.size + g.shapes[class_of(g, PART_BYTES + nr)].size


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def outside_of(nr_stored: uint64_t, data: cython.pointer(cython.const[cython.char])) -> uint64_t:
    """Bytes that an entry with CODEC_FILE has in a file."""
    nr: uint64_t = 0
    if nr_stored == STUB_BYTES:
        copy(cython.address(nr), data, 8, b"hashentry.outside")
    return nr


# ---- reading


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def unpin(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), pinned: cython.pointer(Pinned)) -> cython.void:
    """The last reader of an object that was retired meanwhile frees it. If the lock is not to be had, the next recovery does."""
    handle: uint64_t = pinned.handle
    if zs_unpin(pool, pinned):
        zs_free(pool, g, handle, _LAST_READER_NS)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse(found: cython.pointer(Found)) -> cython.int:
    """What a pinned object says that it is: OK, or CORRUPT. Relaxed, as all reading of entries: whoever has found one finds it
    filled, by [F:zspin.leave] of who filled it, and by the pin; and it does not change, but for its times."""
    entry: cython.pointer(Entry) = cython.cast(cython.pointer(Entry), found.pinned.object)
    item: cython.pointer(Item) = cython.address(found.item)
    header: uint64_t = ENTRY_BYTES
    what: uint64_t
    if found.pinned.nbytes < ENTRY_BYTES:
        return CORRUPT
    what = read_once(cython.address(entry.what), b"hashentry.open")
    item.handle = found.pinned.handle
    item.nr_key = what & 0xFFFF
    item.nr_logical = what >> 32
    item.parts = item.size = 0
    item.at = ENTRY_BYTES
    found.codec = what >> 16 & 0xFF
    item.kind = what >> 24 & 0x7F
    found.times = read_once(cython.address(entry.times), b"hashentry.open")
    item.expiry = expiry_of(found.times)
    found.next = 0
    if what >> 24 & ENTRY_SPILLED:
        item.size = found.pinned.nbytes
        if item.size != LARGE_OBJECT and item.size != SMALL_OBJECT:
            return CORRUPT
        header = SPILLED_BYTES
        found.next = read_once(cython.address(entry.next), b"hashentry.open")
        item.nr_stored = read_once(cython.address(entry.stored), b"hashentry.open")
        if item.nr_stored > MAX_VALUE or item.nr_key + item.nr_stored <= item.size - SPILLED_BYTES:
            return CORRUPT
        item.parts = parts_of(item.nr_key + item.nr_stored, item.size)
    elif item.nr_key > found.pinned.nbytes - ENTRY_BYTES:
        return CORRUPT
    else:
        item.nr_stored = found.pinned.nbytes - ENTRY_BYTES - item.nr_key
    found.bytes = found.pinned.object + header
    found.nr_here = found.pinned.nbytes - header
    item.outside = 0
    if found.codec == CODEC_FILE and item.parts == 0:
        item.outside = outside_of(item.nr_stored, found.bytes + item.nr_key)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_open(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, found: cython.pointer(Found)
) -> cython.int:
    """OK, and the entry stays until entry_close; CORRUPT, and as of zs_pin; TABLE_FULL: no pin is to be had now."""
    status: cython.int = zs_pin(pool, g, handle, cython.address(found.pinned))
    if status == EXHAUSTED:
        return TABLE_FULL
    if status == OK:
        status = parse(found)
        if status != OK:
            entry_close(pool, g, found)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_close(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), found: cython.pointer(Found)
) -> cython.void:
    unpin(pool, g, cython.address(found.pinned))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def take(
    source: cython.pointer(cython.const[cython.char]),
    nbytes: uint64_t,
    to: cython.p_char,
    other: cython.pointer(cython.const[cython.char]),
) -> cython.int:
    if other == cython.NULL:
        copy(to, source, nbytes, b"hashentry.walk")
        return OK
    return OK if compare(source, other, nbytes, b"hashentry.walk") == 0 else NOT_FOUND


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_walk(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    found: cython.pointer(Found),
    skip: uint64_t,
    nbytes: uint64_t,
    to: cython.p_char,
    other: cython.pointer(cython.const[cython.char]),
) -> cython.int:
    """Copies bytes of an open entry's key and stored value, `nbytes` after the first `skip`, to `to`; or, if there is an `other`,
    compares them with that. OK; NOT_FOUND: they differ; STALE: a part has ended, so the entry is not the key's any more;
    CORRUPT, and as of zs_pin."""
    pinned: Pinned
    here: uint64_t = found.nr_here  # bytes so far
    next: uint64_t = found.next
    done: uint64_t = 0
    size: uint64_t
    status: cython.int = OK
    if skip < here:
        done = nbytes if nbytes < here - skip else here - skip
        status = take(found.bytes + skip, done, to, other)
    while done < nbytes and status == OK:
        status = zs_pin(pool, g, next, cython.address(pinned)) if next else CORRUPT
        if status != OK:
            break
        if pinned.nbytes <= PART_BYTES:
            unpin(pool, g, cython.address(pinned))
            return CORRUPT
        size = pinned.nbytes - PART_BYTES
        next = read_once(cython.cast(cython.pointer(uint64_t), pinned.object), b"hashentry.part")
        if skip + done < here + size:
            size = here + size - skip - done  # from there to the part's end
            size = size if size < nbytes - done else nbytes - done
            status = take(
                pinned.object + PART_BYTES + (skip + done - here),
                size,
                to + done,
                other + done if other != cython.NULL else other,
            )
            done += size
        here += pinned.nbytes - PART_BYTES
        unpin(pool, g, cython.address(pinned))
    return status


# ---- making


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fill_bytes(
    room: cython.p_char,
    key: cython.pointer(Key),
    data: cython.pointer(cython.const[cython.char]),
    skip: uint64_t,
    nbytes: uint64_t,
) -> cython.void:
    """`nbytes` of key and value, after the first `skip`."""
    of_key: uint64_t = 0
    if skip < key.nbytes:
        of_key = nbytes if nbytes < key.nbytes - skip else key.nbytes - skip
        copy(room, key.data + skip, of_key, b"hashentry.fill")
    if nbytes > of_key:
        copy(room + of_key, data + (skip + of_key - key.nbytes), nbytes - of_key, b"hashentry.fill")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_object(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    nbytes: uint64_t,
    pinned: cython.pointer(Pinned),
    timeout_ns: uint64_t,
) -> cython.int:
    """An object of this process's, pinned for it to be filled: OK, and as of zs_alloc and zs_pin."""
    handle: uint64_t = 0
    status: cython.int
    if pool.arena.slot[0] == 0:
        return NOT_REGISTERED
    status = zs_alloc(pool, g, nbytes, pool.arena.slot[0], cython.address(handle), timeout_ns)
    if status == OK:
        status = zs_pin(pool, g, handle, pinned)
        if status != OK:
            zs_free(pool, g, handle, timeout_ns)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_new(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    codec: uint64_t,
    nr_logical: uint64_t,
    data: cython.pointer(cython.const[cython.char]),
    nr_stored: uint64_t,
    times: uint64_t,
    size: uint64_t,
    item: cython.pointer(Item),
    timeout_ns: uint64_t,
) -> cython.int:
    """An entry of this process's own, in objects of `size` bytes, LARGE_OBJECT or SMALL_OBJECT, if it has parts: OK,
    EXHAUSTED, and as of zs_alloc and zs_pin. Whatever the status, what `item` names then is to be retired, or brought in."""
    pinned: Pinned
    entry: cython.pointer(Entry)
    nr: uint64_t = key.nbytes + nr_stored
    parts: uint64_t = parts_of(nr, size)
    here: uint64_t
    status: cython.int
    item.handle = item.parts = item.at = 0
    item.size = size
    item.kind = key.kind
    item.nr_key = key.nbytes
    item.nr_stored = nr_stored
    item.nr_logical = nr_logical
    item.expiry = expiry_of(times)
    while item.parts < parts:  # the last part first, for each names the next one
        here = nr - (size - SPILLED_BYTES) - (parts - 1 - item.parts) * (size - PART_BYTES)
        status = new_object(pool, g, PART_BYTES + here, cython.address(pinned), timeout_ns)
        if status != OK:
            item.parts -= item.parts != 0  # behind the first
            return status
        write_once(cython.cast(cython.pointer(uint64_t), pinned.object), item.handle, b"hashentry.fill")
        fill_bytes(pinned.object + PART_BYTES, key, data, nr - here, here)
        item.handle = pinned.handle
        unpin(pool, g, cython.address(pinned))
        nr -= here
        item.parts += 1
    status = new_object(pool, g, size if parts else ENTRY_BYTES + nr, cython.address(pinned), timeout_ns)
    if status != OK:
        item.parts -= item.parts != 0
        return status
    entry = cython.cast(cython.pointer(Entry), pinned.object)
    write_once(
        cython.address(entry.what),
        key.nbytes | codec << 16 | (key.kind | (ENTRY_SPILLED if parts else 0)) << 24 | nr_logical << 32,
        b"hashentry.fill",
    )
    write_once(cython.address(entry.times), times, b"hashentry.fill")
    if parts:
        write_once(cython.address(entry.next), item.handle, b"hashentry.fill")
        write_once(cython.address(entry.stored), nr_stored, b"hashentry.fill")
    fill_bytes(pinned.object + (SPILLED_BYTES if parts else ENTRY_BYTES), key, data, 0, nr)
    item.handle = pinned.handle
    item.at = ENTRY_BYTES
    item.outside = outside_of(nr_stored, data) if codec == CODEC_FILE and parts == 0 else 0
    unpin(pool, g, cython.address(pinned))
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_inherit(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, times: uint64_t
) -> cython.int:
    """An entry of this process's own, that nobody else has seen, gets other times: OK, and as of zs_pin. Relaxed: it can be found
    after its unpin, as all that fills it."""
    pinned: Pinned
    status: cython.int = zs_pin(pool, g, handle, cython.address(pinned))
    if status == OK:
        write_once(cython.address(cython.cast(cython.pointer(Entry), pinned.object).times), times, b"hashentry.inherit")
        unpin(pool, g, cython.address(pinned))
    return TABLE_FULL if status == EXHAUSTED else status


# ---- owners


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def next_of(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, at: uint64_t) -> uint64_t:
    """The handle of the part behind an object that has one; 0: the arena holds garbage."""
    seen: Pinned
    if zs_look(pool, g, handle, cython.address(seen)) != OK or seen.nbytes % SMALL_OBJECT:
        return 0
    return read_once(cython.cast(cython.pointer(uint64_t), seen.object + at), b"hashentry.next")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_give(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), handle: uint64_t, parts: uint64_t, owner: uint64_t
) -> cython.int:
    """An entry and its parts are that owner's: OK or CORRUPT. Under the stripe's lock, or the dead holder's."""
    at: uint64_t = ENTRY_BYTES
    next: uint64_t
    while handle:
        next = next_of(pool, g, handle, at) if parts else 0
        if zs_give(pool, handle, owner) != OK or (parts != 0 and next == 0):
            return CORRUPT
        handle = next
        parts -= parts != 0
        at = 0
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_retire(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), item: cython.pointer(Item), timeout_ns: uint64_t
) -> cython.int:
    """Ends an entry of this process's own and its parts, read or not: OK; CORRUPT; TIMED_OUT, INTERRUPTED, NOT_REGISTERED: `item`
    names what is left of it, try again."""
    next: uint64_t
    status: cython.int
    worst: cython.int = OK
    while item.handle:
        next = next_of(pool, g, item.handle, item.at) if item.parts else 0
        status = zs_retire(pool, g, item.handle, timeout_ns)
        if status == TIMED_OUT or status == INTERRUPTED or status == NOT_REGISTERED:
            return status
        if status != OK:
            worst = CORRUPT
        item.handle = next
        item.parts -= item.parts != 0
        item.at = 0
    return worst
