"""L3: blocks that several processes hold: share records, holders, tickets.

Purpose. A block is one process's until it is pickled; then its granules become SHARED and a ShareRecord of the pool says
who holds it: one lane (a byte) per holder, seven to a word, whose eighth byte is the low byte of the record's generation:
a handle of an earlier use of the record finds another one there. A pickle is a *ticket*: a lane with the sender's slot and
the START bit.
Unpickling redeems it: one swap turns the sender's ticket into the receiver's hold. That swap is the hand-over: a kill
before it leaves the block the sender's, after it the receiver's. The last hold that is dropped frees the block.

Guarantee. Lock-free, process-safe. A block lives while any lane of its record is set; the holds and tickets of a dead
process are dropped by recovery. Loading one pickle twice: the second load joins as a further holder if the block still
lives, and is STALE otherwise. Price. One swap to share, send, receive or drop, on the record's own cache lines.

  what runs | beside redeem                        | beside drop
  redeem    | of one ticket: one wins, others join | the ticket is a lane: the record cannot end under it
  join      | any                                  | [F:shares.lane] with [F:shares.end]: joined, or STALE, never both
  drop      | any                                  | of the last two holds: the state's swap lets one end the record

Record states: FREE -> SETUP(slot) -> LIVE <-> DROPPING(slot) -> FREE with the next generation.

Who finds no lane tries to end the record: DROPPING, then looks at the lanes again. Until then a holder may have joined; then
it is LIVE again. So whoever has a lane need not mind DROPPING: the other will find the lane. And it finds it while it
moves, for a lane gives rise to others only in its own word or a later one, and the words are looked at upwards.

Crash windows (the dead process is X, `mend` is recovery's step 3):
  [D:shares.setup]   SETUP(X): the granules are X's own. mend: FREE; the sweep releases the granules.
  [D:shares.live]    LIVE with X's hold only, granules partly SHARED: nobody else has a handle. mend: as a drop by X.
  [D:shares.dropped] LIVE without any lane: mend ends it, whoever dropped last.
  [D:shares.trying]  DROPPING(X), granules still SHARED: somebody may have joined. mend: LIVE again, and as for LIVE.
  [D:shares.ending]  DROPPING(X), granules partly X's: all of them still taken. mend: the rest to X, FREE; then the sweep.
  [D:shares.ended]   FREE, granules X's own: the sweep.
  [D:shares.mended]  between two records of mend: run again, it finds the first ones done.
In each the granules change hands only while the record says so, and become free only as somebody's own.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.shares is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.recovery import register_mend
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import (
    KEEPER_SHIFT,
    KIND_GENPOOL,
    NR_LANES,
    STATE_DROPPING,
    STATE_FREE,
    STATE_LIVE,
    STATE_SETUP,
    ShareRecord,
    granules_of,
    keeper_of,
)
from cython.cimports.mempools.machine.atomics import (
    cmpxchg,
    cmpxchg_acquire,
    load_acquire,
    read_once,
    smp_mb,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64, free_lanes, get_lane, lane_mask
from cython.cimports.mempools.parts.ownermap import owner_at
from cython.cimports.mempools.parts.owners import OWNER_MASK, OWNER_SHARED, START
from cython.cimports.mempools.parts.status import (
    FOREIGN,
    NOT_REGISTERED,
    OK,
    STALE,
    TABLE_FULL,
)
from cython.cimports.mempools.pools.genpool import genpool_chunk, genpool_free, genpool_transfer

register_module(cython.address(this_module_step))

_IN_WORD = cython.declare(uint64_t, 7)  # lanes; above them the generation's tag
_NR_WORDS = cython.declare(uint64_t, NR_LANES // 7)
_keep = cython.declare(keep_fn, cython.NULL)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def register_keeper(fn: keep_fn) -> cython.void:
    """At import, by the module whose pools take blocks back that others have shared."""
    global _keep
    _keep = fn


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def state_of(generation: uint64_t, slot: uint64_t, state: uint64_t) -> uint64_t:
    return generation << 16 | slot << 8 | state


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_lane(
    record: cython.pointer(ShareRecord), generation: uint64_t, lane: uint64_t, old_byte: uint64_t, new_byte: uint64_t
) -> cython.int:
    """Turns one lane from old_byte into new_byte: OK, or STALE if it holds something else or is of another generation."""
    word: cython.pointer(uint64_t) = cython.address(record.lanes[lane // _IN_WORD])
    at: uint64_t = lane % _IN_WORD
    old: uint64_t = read_once(word, b"shares.lane")
    seen: uint64_t
    while True:
        if get_lane(old, at) != old_byte or get_lane(old, _IN_WORD) != generation & 0xFF:
            return STALE
        # [F:shares.lane] full, and so: release; pairs with [F:shares.lane] of the next holder and with [F:shares.end]: what a
        # holder did to the block happens before whoever takes its ticket, or ends the record, touches it. Acquire: the
        # other end of the same. The fence after it is one half of the argument in `join`.
        seen = cmpxchg(word, old, old & ~lane_mask(at, 1) | new_byte << (8 * at), b"F:shares.lane")
        if seen == old:
            return OK
        old = seen


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def byte_at(record: cython.pointer(ShareRecord), lane: uint64_t) -> uint64_t:
    return get_lane(read_once(cython.address(record.lanes[lane // _IN_WORD]), b"shares.byte"), lane % _IN_WORD)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_lane(
    record: cython.pointer(ShareRecord),
    generation: uint64_t,
    w: uint64_t,
    byte: uint64_t,
    lane: cython.pointer(uint64_t),
) -> cython.int:
    """Takes a free lane in word `w` or a later one: OK, TABLE_FULL, or STALE if the record is of another generation."""
    word: uint64_t
    lanes: uint64_t
    while w < _NR_WORDS:
        word = read_once(cython.address(record.lanes[w]), b"shares.lane")
        if get_lane(word, _IN_WORD) != generation & 0xFF:
            return STALE
        lanes = free_lanes(word) & 0x7F
        if lanes == 0:
            w += 1
            continue
        lane[0] = w * _IN_WORD + ctz64(lanes)
        if set_lane(record, generation, lane[0], 0, byte) == OK:
            return OK
    return TABLE_FULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def any_lane(record: cython.pointer(ShareRecord)) -> cython.bint:
    w: uint64_t
    for w in range(_NR_WORDS):
        # [A:shares.lanes] acquire; pairs with [F:shares.lane]: the words are looked at upwards, one after the other. Else a
        # ticket that was made in a later word before the hold in this one was dropped could be missed with it.
        if load_acquire(cython.address(record.lanes[w]), b"A:shares.lanes") << 8:
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def try_end(
    pool: cython.pointer(PoolRef), record: cython.pointer(ShareRecord), generation: uint64_t, slot: uint64_t
) -> cython.bint:
    """Ends a record that has no lane any more and frees its block: True if this caller did. In recovery `slot` is the dead
    process's, and the sweep that follows frees the block."""
    live: uint64_t
    address: uint64_t
    nr: uint64_t
    while True:
        live = read_once(cython.address(record.state), b"shares.end")
        if live & 0xFF != STATE_LIVE or live >> 16 != generation or any_lane(record):
            return False
        # [F:shares.end] full; pairs with [F:shares.lane]: a joiner sets its lane, then looks at the state; we set the state,
        # then look at the lanes. One of us sees the other. And a holder's accesses come before the end: see there.
        if (
            cmpxchg(cython.address(record.state), live, state_of(generation, slot, STATE_DROPPING), b"F:shares.end")
            != live
        ):
            return False
        window(b"D:shares.trying")
        if not any_lane(record):
            window(b"D:shares.ending")
            address = read_once(cython.address(record.address), b"shares.end")
            nr = read_once(cython.address(record.nr), b"shares.end")
            finish(pool, record, generation, slot)
            if slot == pool.arena.slot[0]:
                keeper: uint64_t = keeper_of(nr)
                nr = granules_of(nr) << pool.shift
                if keeper == 0 or _keep == cython.NULL or _keep(pool, keeper, address, nr) != OK:
                    genpool_free(pool, address, nr)
            return True
        back_to_live(record, live)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def back_to_live(record: cython.pointer(ShareRecord), live: uint64_t) -> cython.void:
    """Somebody joined. The caller looks at the lanes again: the other may have left meanwhile and seen DROPPING."""
    write_once(cython.address(record.state), live, b"shares.undo")
    # [F:shares.undo] full; pairs with [F:shares.lane]: the same shape, the leaver clears its lane and looks at the state.
    smp_mb(b"F:shares.undo")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish(
    pool: cython.pointer(PoolRef), record: cython.pointer(ShareRecord), generation: uint64_t, slot: uint64_t
) -> cython.void:
    """DROPPING(slot): the granules become slot's own, then the record is free for the next generation."""
    genpool_transfer(
        pool,
        read_once(cython.address(record.address), b"shares.finish"),
        granules_of(read_once(cython.address(record.nr), b"shares.finish")) << pool.shift,
        OWNER_SHARED,
        cython.cast(uint32_t, slot),
    )
    # [R:shares.free] release; pairs with [A:shares.setup]: the next user of the record writes it after we have read it.
    store_release(cython.address(record.state), state_of(generation + 1, 0, STATE_FREE), b"R:shares.free")
    window(b"D:shares.ended")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_create(
    pool: cython.pointer(PoolRef), address: uint64_t, nbytes: uint64_t, keeper: uint64_t, share: cython.pointer(Share)
) -> cython.int:
    """Turns a block of this process into a shared one that it holds: OK, TABLE_FULL, NOT_REGISTERED. `keeper`: the pool that
    gets the block at its end (its place in the directory), 0: this one."""
    slot: uint64_t = pool.arena.slot[0]
    i: uint64_t
    w: uint64_t
    state: uint64_t
    generation: uint64_t
    record: cython.pointer(ShareRecord)
    if slot == 0:
        return NOT_REGISTERED
    for i in range(pool.nr_shares):
        record = cython.address(pool.shares[i])
        state = read_once(cython.address(record.state), b"shares.create")
        generation = state >> 16
        # [A:shares.setup] acquire; pairs with [R:shares.free].
        if (
            state & 0xFF == STATE_FREE
            and cmpxchg_acquire(
                cython.address(record.state), state, state_of(generation, slot, STATE_SETUP), b"A:shares.setup"
            )
            == state
        ):
            break
    else:
        return TABLE_FULL
    window(b"D:shares.setup")
    write_once(cython.address(record.address), address, b"shares.create")
    write_once(cython.address(record.nr), keeper << KEEPER_SHIFT | (((nbytes - 1) >> pool.shift) + 1), b"shares.create")
    for w in range(_NR_WORDS):
        write_once(
            cython.address(record.lanes[w]), (generation & 0xFF) << 56 | (slot if w == 0 else 0), b"shares.create"
        )
    # [R:shares.live] release; pairs with [A:shares.live]: a LIVE record's fields are whole.
    store_release(cython.address(record.state), state_of(generation, slot, STATE_LIVE), b"R:shares.live")
    window(b"D:shares.live")
    share.record = i
    share.generation = generation
    share.lane = 0
    return genpool_transfer(pool, address, nbytes, cython.cast(uint32_t, slot), OWNER_SHARED)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def held_record(pool: cython.pointer(PoolRef), share: cython.pointer(cython.const[Share])) -> cython.pointer(
    ShareRecord
):
    """The record of a handle if it is LIVE or DROPPING in the handle's generation, else NULL: enough for whoever has a lane.
    Handles come from outside: all checked."""
    record: cython.pointer(ShareRecord)
    state: uint64_t
    if share.record >= pool.nr_shares or share.lane >= NR_LANES:
        return cython.NULL
    record = cython.address(pool.shares[share.record])
    # [A:shares.live] acquire; pairs with [R:shares.live].
    state = load_acquire(cython.address(record.state), b"A:shares.live")
    if state >> 16 != share.generation or (state & 0xFF != STATE_LIVE and state & 0xFF != STATE_DROPPING):
        return cython.NULL
    return record


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_ticket(
    pool: cython.pointer(PoolRef), held: cython.pointer(cython.const[Share]), ticket: cython.pointer(Share)
) -> cython.int:
    """A ticket for a block that this process holds: OK, TABLE_FULL, STALE."""
    record: cython.pointer(ShareRecord) = held_record(pool, held)
    if record == cython.NULL:
        return STALE
    ticket.record = held.record
    ticket.generation = held.generation
    # Not in an earlier word than the hold: see the rules above.
    return add_lane(
        record, held.generation, held.lane // _IN_WORD, pool.arena.slot[0] | START, cython.address(ticket.lane)
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_redeem(
    pool: cython.pointer(PoolRef),
    ticket: cython.pointer(cython.const[Share]),
    address: uint64_t,
    nbytes: uint64_t,
    held: cython.pointer(Share),
) -> cython.int:
    """Turns a ticket into a hold of this process: OK; STALE if the block is gone; FOREIGN if the record names another
    block than the handle; TABLE_FULL, NOT_REGISTERED."""
    slot: uint64_t = pool.arena.slot[0]
    record: cython.pointer(ShareRecord) = held_record(pool, ticket)
    byte: uint64_t
    if slot == 0:
        return NOT_REGISTERED
    if record == cython.NULL:
        return STALE
    if (
        nbytes == 0
        or read_once(cython.address(record.address), b"shares.redeem") != address
        or granules_of(read_once(cython.address(record.nr), b"shares.redeem")) != ((nbytes - 1) >> pool.shift) + 1
    ):
        return FOREIGN
    held[0] = ticket[0]
    byte = byte_at(record, ticket.lane)
    # The ticket kept the record from ending up to the swap, our hold does so from then on.
    if byte & START and byte != START and set_lane(record, ticket.generation, ticket.lane, byte, slot) == OK:
        return OK
    return join(pool, record, slot, held)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def join(
    pool: cython.pointer(PoolRef), record: cython.pointer(ShareRecord), slot: uint64_t, held: cython.pointer(Share)
) -> cython.int:
    """One more holder of a block whose ticket is used up. It may be ending at this moment: lane first, then look.

    The swap that sets the lane is a full barrier ([F:shares.lane]), as is the one that ends a record. Were it not, CPU 0
    (we) could read LIVE early and set its lane late, CPU 1 see no lane, and free the block under us."""
    state: uint64_t
    status: cython.int = add_lane(record, held.generation, 0, slot, cython.address(held.lane))
    if status != OK:
        return status
    # Relaxed: the swap that set the lane is a full barrier.
    state = read_once(cython.address(record.state), b"shares.join")
    if state & 0xFF == STATE_LIVE and state >> 16 == held.generation:
        return OK
    set_lane(record, held.generation, held.lane, slot, 0)
    # The one who was ending saw our lane, perhaps, and went back to LIVE: then the end is ours to finish.
    try_end(pool, record, held.generation, slot)
    return STALE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_drop(
    pool: cython.pointer(PoolRef), share: cython.pointer(cython.const[Share]), is_ticket: cython.bint
) -> cython.int:
    """Drops a hold (or a ticket that was never redeemed) of this process; the last one frees the block. OK or STALE."""
    slot: uint64_t = pool.arena.slot[0]
    record: cython.pointer(ShareRecord) = held_record(pool, share)
    if slot == 0:
        return NOT_REGISTERED
    if record == cython.NULL:
        return STALE
    if set_lane(record, share.generation, share.lane, slot | START if is_ticket else slot, 0) != OK:
        return STALE
    window(b"D:shares.dropped")
    try_end(pool, record, share.generation, slot)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_recall(pool: cython.pointer(PoolRef)) -> uint64_t:
    """Drops every ticket of this process that nobody has redeemed; returns how many. A pickle of one is STALE from then
    on. For a sender whose messages were lost: receivers that died between taking a message and loading it."""
    slot: uint64_t = pool.arena.slot[0]
    share: Share
    record: cython.pointer(ShareRecord)
    nr: uint64_t = 0
    for share.record in range(pool.nr_shares):
        record = cython.address(pool.shares[share.record])
        share.generation = read_once(cython.address(record.state), b"shares.recall") >> 16
        for share.lane in range(NR_LANES):
            if byte_at(record, share.lane) == slot | START:
                nr += share_drop(pool, cython.address(share), True) == OK
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_holders(pool: cython.pointer(PoolRef), share: cython.pointer(cython.const[Share])) -> uint64_t:
    """Holds and tickets of a live record (a snapshot; 0 if it is gone)."""
    record: cython.pointer(ShareRecord) = held_record(pool, share)
    nr: uint64_t = 0
    w: uint64_t
    if record != cython.NULL:
        for w in range(_NR_WORDS):
            lanes: uint64_t = ~free_lanes(read_once(cython.address(record.lanes[w]), b"shares.holders")) & 0x7F
            while lanes:
                nr += 1
                lanes &= lanes - 1
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def still_shared(pool: cython.pointer(PoolRef), record: cython.pointer(ShareRecord)) -> cython.bint:
    """Has nothing been taken yet of the block of a record that its dead process was ending? It takes it upwards."""
    address: uint64_t = read_once(cython.address(record.address), b"shares.mend")
    chunk: cython.pointer(ChunkRef) = genpool_chunk(pool, address, 1)
    return (
        chunk != cython.NULL and owner_at(chunk.map, (address - chunk.base) >> pool.shift) & OWNER_MASK == OWNER_SHARED
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def share_mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.int:
    """Recovery's step 3 for a GenPool, and part of it for a PerCpu: the share records of a dead process."""
    i: uint64_t
    lane: uint64_t
    byte: uint64_t
    state: uint64_t
    record: cython.pointer(ShareRecord)
    for i in range(pool.nr_shares):
        record = cython.address(pool.shares[i])
        state = read_once(cython.address(record.state), b"shares.mend")
        if state & 0xFF == STATE_SETUP and (state >> 8) & 0xFF == slot:
            # Relaxed: nothing of the record was read.
            write_once(cython.address(record.state), state_of((state >> 16) + 1, 0, STATE_FREE), b"shares.mend")
        elif state & 0xFF == STATE_DROPPING and (state >> 8) & 0xFF == slot:
            if still_shared(pool, record):
                state = state_of(state >> 16, 0, STATE_LIVE)
                back_to_live(record, state)
            else:
                finish(pool, record, state >> 16, slot)
        if state & 0xFF == STATE_LIVE:
            for lane in range(NR_LANES):
                byte = byte_at(record, lane)
                if byte & ~cython.cast(uint64_t, START) == slot:
                    set_lane(record, state >> 16, lane, byte, 0)
            try_end(pool, record, state >> 16, slot)
        window(b"D:shares.mended")
    return OK


register_mend(KIND_GENPOOL, share_mend)
