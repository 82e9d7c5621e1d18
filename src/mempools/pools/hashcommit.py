"""L3: changing the index of a store: locks and commits (see hashindex.py first).

Crash windows of the lock's holder; index_mend (pools/hashmend.py), called by recovery for the dead slot before its objects
are freed, looks whether the journal's slot holds the new word and finishes or undoes:
  [D:hashcommit.journal]    nothing moved: the new entry stays the dead process's and is freed.
  [D:hashcommit.given]      the new entry is the structure's, in whole or part, and no slot's: given back, then freed.
  [D:hashcommit.committed]  the old entry is still the structure's, the statistics are behind: the old one is given to the
                           dead process and freed, the statistics counted again.
  [D:hashcommit.taken]      only the journal is left to clear.
  [D:hashcommit.unlocked]   the old entry is the dead process's own: freed.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.hashcommit is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    read_once,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, EXHAUSTED, NOT_FOUND, NOT_REGISTERED, OK, STALE
from cython.cimports.mempools.pools.hashentry import KEY_SPACE, Found, Item, Key, entry_close, entry_give, entry_taken
from cython.cimports.mempools.pools.hashindex import find_in
from cython.cimports.mempools.pools.hashtable import (
    OP_DELETE,
    OP_NONE,
    OP_PUT,
    TAG_SHIFT,
    Stripe,
    bucket_line,
    bucket_of,
    free_slot,
    grow_lines,
    index_nr_buckets,
    tag_of,
)
from cython.cimports.mempools.pools.zsgeometry import Geometry

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_lock(pool: cython.pointer(PoolRef), stripe: cython.pointer(Stripe), timeout_ns: uint64_t) -> cython.int:
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    if slot == 0:
        return NOT_REGISTERED
    return robust_lock(cython.address(stripe.lock), slot, timeout_ns)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_unlock(pool: cython.pointer(PoolRef), stripe: cython.pointer(Stripe)) -> cython.void:
    robust_unlock(cython.address(stripe.lock), cython.cast(uint32_t, pool.arena.slot[0]))


# ---- under the lock


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def add(word: cython.pointer(uint64_t), delta: uint64_t) -> cython.void:
    """Statistics: written under the lock, read by anyone at any time. Relaxed."""
    write_once(word, read_once(word, b"hashcommit.count") + delta, b"hashcommit.count")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_entry(
    g: cython.pointer(Geometry), stripe: cython.pointer(Stripe), item: cython.pointer(Item), sign: uint64_t
) -> cython.void:
    add(cython.address(stripe.count), sign)
    add(cython.address(stripe.logical), sign * item.nr_logical)
    add(cython.address(stripe.stored), sign * item.nr_stored)
    add(cython.address(stripe.taken), sign * entry_taken(g, item))
    add(cython.address(stripe.objects), sign * (1 + item.parts))
    if item.kind & KEY_SPACE:
        add(cython.address(stripe.spaced), sign)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def commit(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    stripe: cython.pointer(Stripe),
    link: cython.pointer(uint64_t),
    word: uint64_t,
    new: cython.pointer(Item),
    before: uint64_t,
    old: cython.pointer(Item),
) -> cython.int:
    """Makes the slot `link` say `word`: the new entry's, or 0. It said `before`: the old one's, or 0. OK, or CORRUPT."""
    slot: uint64_t = pool.arena.slot[0]
    op: uint64_t = OP_PUT if word else OP_DELETE
    status: cython.int
    write_once(
        cython.address(stripe.link),
        cython.cast(uint64_t, cython.cast(cython.p_char, link) - pool.arena.base),
        b"hashcommit.journal",
    )
    write_once(cython.address(stripe.new), word, b"hashcommit.journal")
    write_once(cython.address(stripe.old), before, b"hashcommit.journal")
    if word:
        op |= new.parts << 8
    if before:
        op |= old.parts << 32
    # Last, and relaxed: only recovery reads the journal, after our end, and the kernel orders that behind all that we did.
    write_once(cython.address(stripe.op), op, b"hashcommit.journal")
    window(b"D:hashcommit.journal")
    if word:
        status = entry_give(pool, g, new.handle, new.parts, OWNER_STRUCT)
        if status != OK:
            entry_give(pool, g, new.handle, new.parts, slot)
            write_once(cython.address(stripe.op), OP_NONE, b"hashcommit.journal")
            return status
        window(b"D:hashcommit.given")
    # The commit. Relaxed: who filled the entry has unpinned it since, by a full swap ([F:zspin.leave]), so it is filled
    # before it can be found; what goes out is freed behind a full barrier ([F:zspin.claimed]), so it ends after it could be
    # found.
    write_once(link, word, b"hashcommit.publish")
    window(b"D:hashcommit.committed")
    add(cython.address(stripe.changes), 1)
    if word:
        count_entry(g, stripe, new, 1)
    if before:
        count_entry(g, stripe, old, ~cython.cast(uint64_t, 0))
        entry_give(pool, g, old.handle, old.parts, slot)
    window(b"D:hashcommit.taken")
    write_once(cython.address(stripe.op), OP_NONE, b"hashcommit.done")  # read by recovery only, after our death
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    bucket: cython.pointer(uint64_t),
    found: cython.pointer(Found),
) -> cython.int:
    """OK, NOT_FOUND, CORRUPT, and as of zs_pin. The entry is closed again: under the lock it stays what it is."""
    line: cython.pointer(uint64_t)
    status: cython.int
    bucket[0] = bucket_of(key.hash, index_nr_buckets(pool))
    line = bucket_line(pool, bucket[0])
    status = find_in(pool, g, key, line, found) if line != cython.NULL else CORRUPT
    if status == OK:
        entry_close(pool, g, found)
    return CORRUPT if status == STALE else status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    new: cython.pointer(Item),
    only_if_absent: cython.bint,
    old: cython.pointer(Item),
) -> cython.int:
    """OK, BUSY, EXHAUSTED (there is no further line), CORRUPT, and as of zs_pin."""
    found: Found
    bucket: uint64_t = 0
    word: uint64_t = tag_of(key.hash) << TAG_SHIFT | new.handle
    slot: cython.pointer(uint64_t) = cython.NULL
    status: cython.int = find_locked(pool, g, key, cython.address(bucket), cython.address(found))
    if status == OK and only_if_absent:
        return BUSY
    if status == OK:
        old[0] = found.item
        return commit(pool, g, key.stripe, found.slot, word, new, found.word, old)
    if status == NOT_FOUND:
        status = free_slot(pool, bucket, cython.address(slot))
    return commit(pool, g, key.stripe, slot, word, new, 0, old) if status == OK else status


# ---- writers


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_put(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    new: cython.pointer(Item),
    only_if_absent: cython.bint,
    timeout_ns: uint64_t,
    old: cython.pointer(Item),
) -> cython.int:
    """Brings in `new`, an entry of the caller's own with that key, in place of the key's entry if it has one. OK; BUSY if
    only_if_absent and there is one; EXHAUSTED, TIMED_OUT, INTERRUPTED, NOT_REGISTERED, CORRUPT, as of zs_pin: nothing was
    done."""
    status: cython.int
    while True:
        status = index_lock(pool, key.stripe, timeout_ns)
        if status != OK:
            return status
        old.handle = 0
        status = put_locked(pool, g, key, new, only_if_absent, old)
        index_unlock(pool, key.stripe)
        if status != EXHAUSTED:
            break
        status = grow_lines(pool)
        if status != OK:
            break
    if status == OK and old.handle:
        window(b"D:hashcommit.unlocked")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_delete(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    timeout_ns: uint64_t,
    old: cython.pointer(Item),
) -> cython.int:
    """OK, NOT_FOUND; else as index_put."""
    found: Found
    bucket: uint64_t = 0
    status: cython.int = index_lock(pool, key.stripe, timeout_ns)
    if status != OK:
        return status
    old.handle = 0
    status = find_locked(pool, g, key, cython.address(bucket), cython.address(found))
    if status == OK:
        old[0] = found.item
        status = commit(pool, g, key.stripe, found.slot, 0, cython.NULL, found.word, old)
    index_unlock(pool, key.stripe)
    return status
