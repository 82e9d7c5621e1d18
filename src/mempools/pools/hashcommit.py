"""L3: changing the index of a store: locks, commits, and what recovery does with the half-done (see hashindex.py first).

Crash windows of the lock's holder; index_mend, called by recovery for the dead slot before its blocks are swept, looks
whether the journal's link holds the new state and finishes or undoes:
  [D:hashcommit.journal]    nothing moved: the new block stays the dead process's and is swept.
  [D:hashcommit.moved]      the new block is the structure's, in whole or part, and nobody's link: handed back, then swept.
  [D:hashcommit.committed]  the old block is still the structure's, `changes` and the statistics are behind: `changes` is moved,
                           the old block handed to the dead process and swept, the statistics counted again.
  [D:hashcommit.given]      only the journal is left to clear.
  [D:hashcommit.mended]     recovery itself died: the journal is still there, and all of its steps can be done twice.
  [D:hashcommit.unlocked]   the old block is the dead process's own: swept.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.hashcommit is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.recovery import register_mend
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_STORE
from cython.cimports.mempools.machine.atomics import (
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, NOT_FOUND, NOT_REGISTERED, OK
from cython.cimports.mempools.pools.genpool import genpool_transfer
from cython.cimports.mempools.pools.hashindex import (
    ENTRY_SHIFT,
    NR_STRIPES,
    OP_DELETE,
    OP_NONE,
    OP_PUT,
    Entry,
    Found,
    IndexRoot,
    Key,
    Stripe,
    chain_of,
    entry_at,
    entry_nbytes,
    entry_size,
    index_bucket,
    index_nr_buckets,
    next_ref,
    ref_of,
    walk,
)

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


# ---- writers


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
    pool: cython.pointer(PoolRef), stripe: cython.pointer(Stripe), offset: uint64_t, sign: uint64_t
) -> cython.void:
    """Adds (sign 1) or takes off (sign -1) one entry."""
    key_nbytes: uint64_t = 0
    stored: uint64_t = 0
    entry: cython.pointer(Entry) = entry_at(pool, offset, cython.address(key_nbytes), cython.address(stored))
    if entry == cython.NULL:
        return
    add(cython.address(stripe.count), sign)
    add(cython.address(stripe.logical), sign * (read_once(cython.address(entry.sizes), b"hashcommit.count") >> 32))
    add(cython.address(stripe.stored), sign * stored)
    taken: uint64_t = ((entry_nbytes(key_nbytes, stored) - 1) >> ENTRY_SHIFT) + 1
    add(cython.address(stripe.taken), sign * (taken << ENTRY_SHIFT))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hand_over(pool: cython.pointer(PoolRef), offset: uint64_t, from_owner: uint32_t, to_owner: uint32_t) -> cython.int:
    nbytes: uint64_t = 0
    if entry_size(pool, offset, cython.address(nbytes)) != OK:
        return CORRUPT
    return genpool_transfer(pool, offset, nbytes, from_owner, to_owner)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def moved_on(stripe: cython.pointer(Stripe)) -> cython.void:
    # [R:hashcommit.changes] release; pairs with [A:hashindex.begin] and [A:hashindex.unchanged]: after the commit that it
    # counts, and before the old block is freed. See [A:hashindex.begin].
    store_release(
        cython.address(stripe.changes),
        read_once(cython.address(stripe.changes), b"hashcommit.changes") + 1,
        b"R:hashcommit.changes",
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def commit(
    pool: cython.pointer(PoolRef),
    stripe: cython.pointer(Stripe),
    op: uint64_t,
    link: cython.pointer(uint64_t),
    new: uint64_t,
    old: uint64_t,
    after: uint64_t,
) -> cython.int:
    """Makes `link` refer to `after`: the new entry, or what the old one referred to. Under the stripe's lock."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    status: cython.int
    write_once(
        cython.address(stripe.link),
        cython.cast(uint64_t, cython.cast(cython.p_char, link) - pool.arena.base),
        b"hashcommit.journal",
    )
    write_once(cython.address(stripe.new), new, b"hashcommit.journal")
    write_once(cython.address(stripe.old), old, b"hashcommit.journal")
    # Last, and relaxed: only recovery reads the journal, after our end, and the kernel orders that behind all that we did.
    write_once(cython.address(stripe.op), op, b"hashcommit.journal")
    window(b"D:hashcommit.journal")
    if new:
        status = hand_over(pool, new, slot, OWNER_STRUCT)
        if status != OK:
            hand_over(pool, new, OWNER_STRUCT, slot)
            write_once(cython.address(stripe.op), OP_NONE, b"hashcommit.journal")
            return status
        window(b"D:hashcommit.moved")
    # [R:hashcommit.publish] release; pairs with [A:hashindex.ref]: the commit. The entry was filled before it can be found.
    store_release(link, chain_of(read_once(link, b"hashcommit.publish") >> 48, after), b"R:hashcommit.publish")
    window(b"D:hashcommit.committed")
    moved_on(stripe)
    if new:
        count_entry(pool, stripe, new, 1)
    if old:
        count_entry(pool, stripe, old, ~cython.cast(uint64_t, 0))
        hand_over(pool, old, OWNER_STRUCT, slot)
    window(b"D:hashcommit.given")
    write_once(cython.address(stripe.op), OP_NONE, b"hashcommit.done")  # read by recovery only, after our death
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_locked(
    pool: cython.pointer(PoolRef),
    key: cython.pointer(Key),
    found: cython.pointer(Found),
    link: cython.pointer(cython.pointer(uint64_t)),
) -> cython.int:
    found.changes = read_once(cython.address(key.stripe.changes), b"hashcommit.find_locked")  # ours to change
    return walk(pool, key, found, link)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_put(
    pool: cython.pointer(PoolRef),
    key: cython.pointer(Key),
    new: uint64_t,
    only_if_absent: cython.bint,
    timeout_ns: uint64_t,
    old: cython.pointer(uint64_t),
) -> cython.int:
    """Brings in `new`, a filled block of the caller's own with that key, in place of the key's entry if it has one.
    OK; BUSY if only_if_absent and there is one; TIMED_OUT, INTERRUPTED, NOT_REGISTERED, CORRUPT: nothing was done."""
    found: Found
    link: cython.pointer(uint64_t) = cython.NULL
    entry: cython.pointer(Entry) = cython.cast(cython.pointer(Entry), pool.arena.base + new)
    before: cython.pointer(Entry)
    after: uint64_t
    status: cython.int = index_lock(pool, key.stripe, timeout_ns)
    if status != OK:
        return status
    old[0] = 0
    status = find_locked(pool, key, cython.address(found), cython.address(link))
    if status == OK and only_if_absent:
        status = BUSY
    elif status == OK or status == NOT_FOUND:
        if status == OK:
            old[0] = found.offset
            before = cython.cast(cython.pointer(Entry), pool.arena.base + found.offset)
            after = ref_of(read_once(cython.address(before.chain), b"hashcommit.put"))
        else:
            after = ref_of(read_once(link, b"hashcommit.put"))
        write_once(
            cython.address(entry.chain), chain_of(key.nbytes, after), b"hashcommit.put"
        )  # not found by anyone yet
        status = commit(pool, key.stripe, OP_PUT, link, new, old[0], new)
    index_unlock(pool, key.stripe)
    if status == OK and old[0]:
        window(b"D:hashcommit.unlocked")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_delete(
    pool: cython.pointer(PoolRef), key: cython.pointer(Key), timeout_ns: uint64_t, old: cython.pointer(uint64_t)
) -> cython.int:
    """OK, NOT_FOUND; else as index_put."""
    found: Found
    link: cython.pointer(uint64_t) = cython.NULL
    before: cython.pointer(Entry)
    status: cython.int = index_lock(pool, key.stripe, timeout_ns)
    if status != OK:
        return status
    old[0] = 0
    status = find_locked(pool, key, cython.address(found), cython.address(link))
    if status == OK:
        old[0] = found.offset
        before = cython.cast(cython.pointer(Entry), pool.arena.base + found.offset)
        status = commit(
            pool,
            key.stripe,
            OP_DELETE,
            link,
            0,
            found.offset,
            ref_of(read_once(cython.address(before.chain), b"hashcommit.delete")),
        )
    index_unlock(pool, key.stripe)
    return status


# ---- recovery


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recount(pool: cython.pointer(PoolRef), stripe: cython.pointer(Stripe), index: uint64_t) -> cython.void:
    """The statistics of one stripe from its chains; under its lock."""
    nr: uint64_t = index_nr_buckets(pool)
    line: uint64_t = index << 3
    bucket: uint64_t
    steps: uint64_t = 0
    key_nbytes: uint64_t = 0
    stored: uint64_t = 0
    write_once(cython.address(stripe.count), 0, b"hashcommit.recount")
    write_once(cython.address(stripe.logical), 0, b"hashcommit.recount")
    write_once(cython.address(stripe.stored), 0, b"hashcommit.recount")
    write_once(cython.address(stripe.taken), 0, b"hashcommit.recount")
    while line < nr:
        bucket = line
        while bucket < line + 8 and bucket < nr:
            ref: uint64_t = next_ref(index_bucket(pool, bucket))
            while ref and steps <= pool.arena.nbytes >> ENTRY_SHIFT:
                entry: cython.pointer(Entry) = entry_at(pool, ref, cython.address(key_nbytes), cython.address(stored))
                if entry == cython.NULL:
                    break
                count_entry(pool, stripe, ref, 1)
                ref = next_ref(cython.address(entry.chain))
                steps += 1
            bucket += 1
        line += NR_STRIPES << 3


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_stripe(pool: cython.pointer(PoolRef), index: uint64_t, slot: uint32_t) -> cython.int:
    """Finishes or undoes what the dead holder of one stripe's lock was at. Run again after a death of its own, it finds
    either the journal as it was or an empty one."""
    stripe: cython.pointer(Stripe) = cython.address(cython.cast(cython.pointer(IndexRoot), pool.root).stripes[index])
    # Relaxed, as all of this: the caller has learnt from the kernel that the other is gone. If that did not order what it
    # did, `op` itself could be an old one, and no acquire would help.
    op: uint64_t = read_once(cython.address(stripe.op), b"hashcommit.mend")
    link: uint64_t = read_once(cython.address(stripe.link), b"hashcommit.mend")
    new: uint64_t = read_once(cython.address(stripe.new), b"hashcommit.mend")
    old: uint64_t = read_once(cython.address(stripe.old), b"hashcommit.mend")
    held: uint64_t
    if op == OP_NONE:
        return OK
    if link & 7 or link > pool.arena.nbytes - 8:
        return CORRUPT
    # Nobody has touched the link since: its lock is the dead process's.
    held = ref_of(read_once(cython.cast(cython.pointer(uint64_t), pool.arena.base + link), b"hashcommit.mend"))
    if (op == OP_PUT and held == new) or (op == OP_DELETE and held != old):
        moved_on(stripe)
        if old:
            hand_over(pool, old, OWNER_STRUCT, slot)
        recount(pool, stripe, index)
    elif new:
        hand_over(pool, new, OWNER_STRUCT, slot)
    window(b"D:hashcommit.mended")
    write_once(cython.address(stripe.op), OP_NONE, b"hashcommit.mend")  # last: a mend that dies before is done again
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.int:
    """For recovery: every stripe that the dead process had locked."""
    root: cython.pointer(IndexRoot) = cython.cast(cython.pointer(IndexRoot), pool.root)
    i: uint64_t
    status: cython.int
    worst: cython.int = OK
    if index_nr_buckets(pool) == 0:
        return CORRUPT
    for i in range(NR_STRIPES):
        if robust_holder(cython.address(root.stripes[i].lock)) != slot:
            continue
        status = mend_stripe(pool, i, slot)
        if status != OK:
            worst = status
        robust_unlock(cython.address(root.stripes[i].lock), slot)
    return worst


register_mend(KIND_STORE, index_mend)
