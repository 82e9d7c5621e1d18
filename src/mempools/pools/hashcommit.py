"""L3: changing the index of a store: locks and commits (see hashindex.py first).

Crash windows of the lock's holder; index_mend (pools/hashmend.py), called by recovery for the dead slot before its objects
are freed, looks whether the journal's slot holds the new word and finishes or undoes:
  [D:hashcommit.journal]    nothing moved: the new entry stays the dead process's and is freed.
  [D:hashcommit.counted]    likewise; a store with a limit counts too many bytes (hashlimit.py), and is told to count again.
  [D:hashcommit.given]      the new entry is the structure's, in whole or part, and no slot's: given back, then freed.
  [D:hashcommit.committed]  the old entry is still the structure's, the statistics are behind: the old one is given to the
                           dead process and freed, the statistics counted again.
  [D:hashcommit.expiry]     an entry has its new expiry or the old one: the statistics are counted again.
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
    read_once32,
    this_module_step,
    window,
    write_once,
    write_once32,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, EXHAUSTED, NOT_FOUND, NOT_REGISTERED, OK, STALE
from cython.cimports.mempools.pools.hashclock import entry_expire_at, has_expired
from cython.cimports.mempools.pools.hashentry import (
    KEY_RESERVED,
    KEY_SPACE,
    Found,
    Item,
    Key,
    entry_close,
    entry_give,
    entry_inherit,
    entry_open,
    entry_taken,
)
from cython.cimports.mempools.pools.hashindex import find_in
from cython.cimports.mempools.pools.hashlimit import index_limit, limit_give, limit_take
from cython.cimports.mempools.pools.hashtable import (
    OP_DELETE,
    OP_EXPIRY,
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
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def add_expiring(stripe: cython.pointer(Stripe), delta: uint32_t) -> cython.void:
    word: cython.pointer(uint32_t) = cython.address(stripe.expiring)
    write_once32(word, read_once32(word, b"hashcommit.count") + delta, b"hashcommit.count")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_entry(
    g: cython.pointer(Geometry), stripe: cython.pointer(Stripe), item: cython.pointer(Item), sign: uint64_t
) -> cython.void:
    """All but `stored`."""
    if item.kind != KEY_RESERVED:
        add(cython.address(stripe.count), sign)
        add(cython.address(stripe.logical), sign * item.nr_logical)
    if item.expiry:
        add_expiring(stripe, cython.cast(uint32_t, sign))
    add(cython.address(stripe.taken), sign * entry_taken(g, item))
    add(cython.address(stripe.objects), sign * (1 + item.parts))
    if item.outside:
        add(cython.address(stripe.outside), sign)
        add(cython.address(stripe.outside_bytes), sign * item.outside)
    if item.kind & KEY_SPACE:
        add(cython.address(stripe.spaced), sign)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def counted(item: cython.pointer(Item)) -> uint64_t:
    """The bytes that `stored` and a limit count."""
    return item.nr_stored if item.kind != KEY_RESERVED else 0


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
    """Makes the slot `link` say `word`: the new entry's, or 0. It said `before`: the old one's, or 0. OK, CORRUPT, or OVER_LIMIT:
    old.nr_stored bytes too many."""
    slot: uint64_t = pool.arena.slot[0]
    op: uint64_t = OP_PUT if word else OP_DELETE
    limit: uint64_t = index_limit(pool)
    more: uint64_t = counted(new) if word else 0
    less: uint64_t = counted(old) if before else 0
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
    if limit and more > less:
        status = limit_take(pool, more - less, limit, cython.address(old.nr_stored))
        if status != OK:
            write_once(cython.address(stripe.op), OP_NONE, b"hashcommit.journal")
            return status
        window(b"D:hashcommit.counted")
    if word:
        status = entry_give(pool, g, new.handle, new.parts, OWNER_STRUCT)
        if status != OK:
            entry_give(pool, g, new.handle, new.parts, slot)
            if limit and more > less:
                limit_give(pool, more - less)
            write_once(cython.address(stripe.op), OP_NONE, b"hashcommit.journal")
            return status
        window(b"D:hashcommit.given")
    # The commit. Relaxed: who filled the entry has unpinned it since, by a full swap ([F:zspin.leave]), so it is filled
    # before it can be found; what goes out is freed behind a full barrier ([F:zspin.claimed]), so it ends after it could be
    # found.
    write_once(link, word, b"hashcommit.publish")
    window(b"D:hashcommit.committed")
    add(cython.address(stripe.changes), 1)
    add(cython.address(stripe.stored), more - less)  # at once, so that the sum is never beyond a limit
    if word:
        count_entry(g, stripe, new, 1)
    if before:
        count_entry(g, stripe, old, ~cython.cast(uint64_t, 0))
    if limit and less > more:
        limit_give(pool, less - more)
    if before:
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
    now: uint64_t,
    old: cython.pointer(Item),
) -> cython.int:
    """OK, BUSY, OVER_LIMIT, EXHAUSTED (there is no further line), CORRUPT, and as of zs_pin."""
    found: Found
    bucket: uint64_t = 0
    word: uint64_t = tag_of(key.hash) << TAG_SHIFT | new.handle
    slot: cython.pointer(uint64_t) = cython.NULL
    status: cython.int = find_locked(pool, g, key, cython.address(bucket), cython.address(found))
    if status == OK and only_if_absent and not has_expired(found.item.expiry, now):
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
    now: uint64_t,
    timeout_ns: uint64_t,
    old: cython.pointer(Item),
) -> cython.int:
    """Brings in `new`, an entry of the caller's own with that key, in place of the key's entry if it has one. OK; BUSY if
    only_if_absent and there is one that has not expired by `now`; OVER_LIMIT: old.nr_stored bytes too many;
    EXHAUSTED, TIMED_OUT, INTERRUPTED, NOT_REGISTERED, CORRUPT, as of zs_pin: nothing was done."""
    status: cython.int
    while True:
        status = index_lock(pool, key.stripe, timeout_ns)
        if status != OK:
            return status
        old.handle = 0
        status = put_locked(pool, g, key, new, only_if_absent, now, old)
        index_unlock(pool, key.stripe)
        if status != OK:
            old.handle = 0
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


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_expire_at(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    expiry: uint64_t,
    now: uint64_t,
    timeout_ns: uint64_t,
) -> cython.int:
    """The key's entry gets another expiry, 0: none, unless it has expired by `now`. OK, NOT_FOUND; else as index_put."""
    found: Found
    bucket: uint64_t = 0
    status: cython.int = index_lock(pool, key.stripe, timeout_ns)
    if status != OK:
        return status
    status = find_locked(pool, g, key, cython.address(bucket), cython.address(found))
    if status == OK and has_expired(found.item.expiry, now):
        status = NOT_FOUND
    if status == OK:
        status = entry_open(pool, g, found.item.handle, cython.address(found))
    if status == OK:
        write_once(cython.address(key.stripe.op), OP_EXPIRY, b"hashcommit.journal")
        entry_expire_at(cython.address(found), expiry)
        window(b"D:hashcommit.expiry")
        add_expiring(key.stripe, cython.cast(uint32_t, expiry != 0) - cython.cast(uint32_t, found.item.expiry != 0))
        write_once(cython.address(key.stripe.op), OP_NONE, b"hashcommit.done")
        entry_close(pool, g, cython.address(found))
    index_unlock(pool, key.stripe)
    return status


# ---- compare and replace


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def replace_locked(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    new: cython.pointer(Item),
    if_word: uint64_t,
    old: cython.pointer(Item),
) -> cython.int:
    found: Found
    bucket: uint64_t = 0
    word: uint64_t = 0
    status: cython.int = find_locked(pool, g, key, cython.address(bucket), cython.address(found))
    if status == NOT_FOUND or (status == OK and found.word != if_word):
        return STALE
    if status == OK and new != cython.NULL:
        word = tag_of(key.hash) << TAG_SHIFT | new.handle
        new.expiry = found.item.expiry
        status = entry_inherit(pool, g, new.handle, found.times)
    if status != OK:
        return status
    old[0] = found.item
    return commit(pool, g, key.stripe, found.slot, word, new, found.word, old)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_replace(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    new: cython.pointer(Item),
    if_word: uint64_t,
    timeout_ns: uint64_t,
    old: cython.pointer(Item),
) -> cython.int:
    """As index_put, or with NULL for `new` as index_delete, but only while the key's slot says `if_word`; else STALE, and nothing
    was done. The caller has that word from index_find, and has kept that entry open since: so its handle names it still, and a
    word that is the same is the same entry. `new` gets the times of what goes out: an expiry that somebody has set since
    stays."""
    status: cython.int = index_lock(pool, key.stripe, timeout_ns)
    if status != OK:
        return status
    old.handle = 0
    status = replace_locked(pool, g, key, new, if_word, old)
    index_unlock(pool, key.stripe)
    if status == OK:
        window(b"D:hashcommit.unlocked")
    return status
