"""L3: what recovery does for a store: its index, then its ZsPool (see hashcommit.py and hashsplit.py).

Guarantee. After it no stripe's lock is the dead process's, each entry is a slot's or nobody's, and what is nobody's is freed.
It may die and be run again by another.

Order. First the tables of the pool, so that objects can be looked at; then, stripe by stripe, the objects that a journal
names get their owner, and the lock is released; then the pool frees what is the dead process's.

Crash windows.
  [D:hashmend.mended]  the journal is still there, and all of its steps can be done twice.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashmend is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.recovery import register_mend
from cython.cimports.mempools.layout.refs import ArenaRef, PoolRef
from cython.cimports.mempools.layout.structs import KIND_STORE
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, window, write_once, write_once32
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_unlock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, OK, TABLE_FULL
from cython.cimports.mempools.pools.genpool import genpool_transfer
from cython.cimports.mempools.pools.hashcommit import add, count_entry, counted
from cython.cimports.mempools.pools.hashentry import Found, entry_close, entry_give, entry_open
from cython.cimports.mempools.pools.hashsplit import clear_moved
from cython.cimports.mempools.pools.hashtable import (
    FIRST_BUCKETS,
    NR_LINE_SLOTS,
    NR_STRIPES,
    OP_DELETE,
    OP_EXPIRY,
    OP_NONE,
    OP_PUT,
    OP_SPLIT,
    Stripe,
    bucket_line,
    handle_in,
    index_has_room,
    index_is_there,
    index_nr_buckets,
    index_root,
    mend_line,
    most_lines,
    next_line,
)
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zsmend import zs_forked, zs_mend_objects, zs_mend_tables
from cython.cimports.mempools.pools.zstable import NR_SEGMENTS, zs_geometry, zs_root

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recount_chain(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    stripe: cython.pointer(Stripe),
    line: cython.pointer(uint64_t),
) -> cython.int:
    found: Found
    steps: uint64_t = 0
    i: uint64_t
    word: uint64_t
    status: cython.int
    while line != cython.NULL and steps <= most_lines(pool):
        for i in range(NR_LINE_SLOTS):
            word = read_once(line + i, b"hashmend.recount")
            if word == 0:
                continue
            status = entry_open(pool, g, handle_in(word), cython.address(found))
            if status == OK:
                add(cython.address(stripe.stored), counted(cython.address(found.item)))
                count_entry(g, stripe, cython.address(found.item), 1)
                entry_close(pool, g, cython.address(found))
            elif status == TABLE_FULL:
                return BUSY
        steps += 1
        line = next_line(pool, line)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recount(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), stripe: cython.pointer(Stripe), index: uint64_t
) -> cython.int:
    """The statistics of one stripe from its chains; under its lock. OK; BUSY: there is no pin to be had now."""
    nr: uint64_t = index_nr_buckets(pool)
    bucket: uint64_t = index
    status: cython.int = OK
    write_once(cython.address(stripe.count), 0, b"hashmend.recount")
    write_once(cython.address(stripe.logical), 0, b"hashmend.recount")
    write_once(cython.address(stripe.stored), 0, b"hashmend.recount")
    write_once(cython.address(stripe.taken), 0, b"hashmend.recount")
    write_once(cython.address(stripe.objects), 0, b"hashmend.recount")
    write_once(cython.address(stripe.outside), 0, b"hashmend.recount")
    write_once(cython.address(stripe.outside_bytes), 0, b"hashmend.recount")
    write_once32(cython.address(stripe.expiring), 0, b"hashmend.recount")
    write_once(cython.address(stripe.spaced), 0, b"hashmend.recount")
    while bucket < nr and status == OK:
        status = recount_chain(pool, g, stripe, bucket_line(pool, bucket))
        bucket += NR_STRIPES
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_commit(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    stripe: cython.pointer(Stripe),
    index: uint64_t,
    op: uint64_t,
    slot: uint32_t,
) -> cython.int:
    """Finishes or undoes a put or a delete: OK, BUSY, CORRUPT."""
    link: uint64_t = read_once(cython.address(stripe.link), b"hashmend.mend")
    new: uint64_t = read_once(cython.address(stripe.new), b"hashmend.mend")
    old: uint64_t = read_once(cython.address(stripe.old), b"hashmend.mend")
    if link & 7 or link > pool.arena.nbytes - 8:
        return CORRUPT
    # Nobody has touched the slot since: its lock is the dead process's.
    if read_once(cython.cast(cython.pointer(uint64_t), pool.arena.base + link), b"hashmend.mend") == new:
        entry_give(pool, g, handle_in(old), op >> 32, slot)
        return recount(pool, g, stripe, index)
    entry_give(pool, g, handle_in(new), op >> 8 & 0xFFFFFF, slot)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_stripe(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), index: uint64_t, slot: uint32_t
) -> cython.int:
    """Finishes or undoes what the dead holder of one stripe's lock was at. Run again after a death of its own, it finds
    either the journal as it was or an empty one."""
    stripe: cython.pointer(Stripe) = cython.address(index_root(pool).stripes[index])
    # Relaxed, as all of this: the caller has learnt from the kernel that the other is gone. If that did not order what it
    # did, `op` itself could be an old one, and no acquire would help.
    op: uint64_t = read_once(cython.address(stripe.op), b"hashmend.mend")
    bucket: uint64_t = read_once(cython.address(stripe.bucket), b"hashmend.mend")
    status: cython.int = OK
    mend_line(pool, stripe)
    if op & 0xFF == OP_PUT or op & 0xFF == OP_DELETE:
        # It may have taken bytes and not committed, or committed and not given any: before the journal goes.
        write_once(cython.address(index_root(pool).recount), 1, b"hashmend.limit")
        status = mend_commit(pool, g, stripe, index, op, slot)
    elif op & 0xFF == OP_EXPIRY:
        status = recount(pool, g, stripe, index)
    elif op & 0xFF == OP_SPLIT and bucket >= FIRST_BUCKETS and index_nr_buckets(pool) > bucket:
        clear_moved(pool, bucket)
    window(b"D:hashmend.mended")
    if status != BUSY:
        write_once(cython.address(stripe.op), OP_NONE, b"hashmend.mend")  # last: a mend that dies before is done again
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_stripes(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), slot: uint32_t) -> cython.int:
    """Every stripe that the dead process had locked: OK, BUSY, CORRUPT."""
    i: uint64_t
    status: cython.int
    worst: cython.int = OK
    for i in range(NR_STRIPES):
        if robust_holder(cython.address(index_root(pool).stripes[i].lock)) != slot:
            continue
        status = mend_stripe(pool, g, i, slot)
        if status != OK:
            worst = status
        if status != BUSY:
            robust_unlock(cython.address(index_root(pool).stripes[i].lock), slot)
    return worst


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def name_segments(pool: cython.pointer(PoolRef), names: cython.pointer(uint64_t), slot: uint32_t) -> cython.void:
    """Segments that the dead process had named, but not handed over."""
    k: uint64_t
    offset: uint64_t
    for k in range(1, NR_SEGMENTS):
        offset = read_once(names + k, b"hashmend.named")
        if offset:
            genpool_transfer(pool, offset, cython.cast(uint64_t, 4096) << k, slot, OWNER_STRUCT)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.int:
    """For recovery: OK; BUSY: again later; CORRUPT. What is read is pinned in the dead process's name, which has no pin of
    its own any more: whoever recovers may have no slot, or no pin to spare."""
    g: cython.pointer(Geometry) = zs_geometry(pool)
    arena: cython.pointer(ArenaRef) = pool.arena
    its: ArenaRef
    registration: uint64_t[2]
    status: cython.int
    if not index_has_room(pool):
        return CORRUPT
    if not index_is_there(pool):  # 0: it was being made
        return OK if read_once(cython.address(zs_root(pool).chain), b"hashmend.chain") == 0 else CORRUPT
    zs_mend_tables(pool, g, slot)
    name_segments(pool, index_root(pool).buckets, slot)
    name_segments(pool, index_root(pool).lines, slot)
    its = arena[0]
    registration[0] = slot
    registration[1] = 0
    its.slot = registration
    pool.arena = cython.address(its)
    status = mend_stripes(pool, g, slot)
    pool.arena = arena
    if status == BUSY:
        return BUSY
    return BUSY if zs_mend_objects(pool, g, slot) == BUSY else status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_forked(pool: cython.pointer(PoolRef)) -> cython.void:
    """In a forked child, whose copy of a private arena it is: the threads that had a lock are not here."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    if slot != 0 and index_is_there(pool):
        mend_stripes(pool, zs_geometry(pool), slot)
        zs_forked(pool)


register_mend(KIND_STORE, index_mend)
