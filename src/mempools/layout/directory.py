"""L2: the arena's directory of named pools.

Guarantee. A name stands for one pool; making it may race and may be killed half-way. Price: one robust lock (the
superblock's directory_lock) for open, make and destroy; allocation never takes it.

  the lock protects   every entry's change of state; `users`; `head` of foreign pools (adds check for overlap)
  lock order          nothing else is taken under it; page claims under it are lock-free
  contexts            threads that may wait; not signal handlers. Recovery only tries it.

Crash windows, with the entry's state naming who was at it (slot << 8 | STATE_SETUP or STATE_DROPPING):
  [D:directory.setup]     fields half-written, pages the dead process's own: recovery frees the entry, the sweep the pages.
  [D:directory.live]      LIVE, but pages still carry the dead process's byte: recovery hands them to the pool.
  [D:directory.dropping]  pages partly handed from the pool to the dead process: recovery hands over the rest, then frees
                          the entry; the sweep releases the pages.
  [D:directory.foreign]   as [D:growth.published].
  [D:directory.dropped]   the entry is free, the pages are the dead process's own: the sweep releases them.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.layout.directory is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint8_t, uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_forget, pool_known, pool_load, pool_update
from cython.cimports.mempools.layout.growth import (
    MAX_RUNS,
    ForeignChunk,
    Run,
    chunk_add,
    foreign_add,
    list_runs,
    run_alloc,
    runs_transfer,
)
from cython.cimports.mempools.layout.pages import pages_free
from cython.cimports.mempools.layout.refs import ArenaRef, PoolRef
from cython.cimports.mempools.layout.structs import (
    NAME_BYTES,
    NR_POOLS,
    STATE_DROPPING,
    STATE_FREE,
    STATE_LIVE,
    STATE_SETUP,
    PoolEntry,
    ShareRecord,
)
from cython.cimports.mempools.machine.atomics import (
    compare,
    copy,
    fill,
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import count_owner
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.robustlock import robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import (
    BUSY,
    MISMATCH,
    NOT_FOUND,
    NOT_REGISTERED,
    OK,
    TABLE_FULL,
)

register_module(cython.address(this_module_step))

_SLICE_NS = cython.declare(uint64_t, 20_000_000)  # then the caller looks whether the lock's holder lives


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def directory_lock(arena: cython.pointer(ArenaRef), slot: uint32_t) -> cython.int:
    """OK, TIMED_OUT (recover the dead and try again) or INTERRUPTED."""
    return robust_lock(cython.address(arena.super.directory_lock), slot, _SLICE_NS)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def directory_unlock(arena: cython.pointer(ArenaRef), slot: uint32_t) -> cython.void:
    robust_unlock(cython.address(arena.super.directory_lock), slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find(arena: cython.pointer(ArenaRef), name: cython.pointer(cython.const[uint8_t])) -> uint32_t:
    """The LIVE entry of that name, 0 for none (entry 0 has no name). Under the lock: plain order."""
    i: uint32_t
    for i in range(1, NR_POOLS):
        if read_once(cython.address(arena.pools[i].state), b"directory.find") & 0xFF == STATE_LIVE:
            if compare(cython.address(arena.pools[i].name[0]), name, NAME_BYTES, b"directory.find") == 0:
                return i
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make(
    arena: cython.pointer(ArenaRef),
    entry: cython.pointer(PoolEntry),
    name: cython.pointer(cython.const[uint8_t]),
    config: cython.pointer(PoolConfig),
    slot: uint32_t,
) -> cython.int:
    """Fills a free entry and makes it LIVE; on failure the entry is free again and nothing was taken."""
    offset: uint64_t = 0
    run_nbytes: uint64_t = 0
    status: cython.int = OK
    state: cython.pointer(uint64_t) = cython.address(entry.state)
    write_once(state, cython.cast(uint64_t, slot) << 8 | STATE_SETUP, b"directory.make")
    window(b"D:directory.setup")
    fill(
        cython.cast(cython.p_char, entry) + cython.sizeof(uint64_t),
        0,
        cython.sizeof(PoolEntry) - cython.sizeof(uint64_t),
        b"directory.make",
    )
    copy(cython.address(entry.name[0]), name, NAME_BYTES, b"directory.make")
    write_once(
        cython.address(arena.super.nr_made),
        read_once(cython.address(arena.super.nr_made), b"directory.make") + 1,
        b"directory.make",
    )
    write_once(
        cython.address(entry.serial),
        read_once(cython.address(arena.super.nr_made), b"directory.make"),
        b"directory.make",
    )
    write_once(cython.address(entry.kind), config.kind, b"directory.make")
    write_once(cython.address(entry.shift), config.shift, b"directory.make")
    write_once(cython.address(entry.limit), config.limit, b"directory.make")
    write_once(cython.address(entry.foreign), config.foreign, b"directory.make")
    if config.root_nbytes:
        status = run_alloc(arena, config.root_nbytes, slot, cython.address(offset), cython.address(run_nbytes))
        if status == OK:
            fill(arena.base + offset, 0, config.root_nbytes, b"directory.make")
            write_once(cython.address(entry.root), offset, b"directory.make")
            write_once(cython.address(entry.root_nbytes), config.root_nbytes, b"directory.make")
    if status == OK and config.nr_shares:
        status = run_alloc(
            arena,
            config.nr_shares * cython.sizeof(ShareRecord),
            slot,
            cython.address(offset),
            cython.address(run_nbytes),
        )
        if status == OK:
            fill(arena.base + offset, 0, config.nr_shares * cython.sizeof(ShareRecord), b"directory.make")
            write_once(cython.address(entry.shares), offset, b"directory.make")
            write_once(cython.address(entry.nr_shares), config.nr_shares, b"directory.make")
    if status == OK and config.limit and not config.foreign:
        status = chunk_add(
            arena,
            entry,
            config.shift,
            ((config.limit - 1) >> config.shift) + 1,
            slot,
            cython.address(offset),
        )
    if status != OK:
        release_runs(arena, entry, slot)
        return status
    # [R:directory.live] release; pairs with [A:chunks.entry]: whoever sees LIVE sees every field above.
    store_release(state, cython.cast(uint64_t, slot) << 8 | STATE_LIVE, b"R:directory.live")
    window(b"D:directory.live")
    runs_transfer(arena, entry, slot, OWNER_STRUCT)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def release_runs(arena: cython.pointer(ArenaRef), entry: cython.pointer(PoolEntry), slot: uint32_t) -> cython.void:
    """Frees an entry whose pages are all `slot`'s own, then the pages: in this order, so that no entry ever names pages
    that somebody else may have taken."""
    runs: Run[MAX_RUNS]
    nr: cython.int = list_runs(arena, entry, runs)
    i: cython.int
    # Relaxed: whoever uses the entry next has the lock; and the swaps that free the pages are releases.
    write_once(cython.address(entry.state), STATE_FREE, b"directory.free")
    window(b"D:directory.dropped")
    for i in range(nr):
        pages_free(arena, runs[i].page, runs[i].nr, slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_user(entry: cython.pointer(PoolEntry), slot: uint32_t) -> cython.void:
    """Notes that a process has the pool open. Under the lock, which whoever changes `users` has: no swap is needed."""
    users: cython.pointer(uint64_t) = cython.address(entry.users[slot >> 6])
    write_once(
        users, read_once(users, b"directory.users") | cython.cast(uint64_t, 1) << (slot & 63), b"directory.users"
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def directory_open(
    arena: cython.pointer(ArenaRef),
    name: cython.pointer(cython.const[uint8_t]),
    config: cython.pointer(PoolConfig),
    create: cython.bint,
    index: cython.pointer(uint32_t),
) -> cython.int:
    """Finds the pool of that name (NAME_BYTES, zero-padded), or makes it: OK with its index; MISMATCH (index says which),
    NOT_FOUND, EXHAUSTED, TABLE_FULL; TIMED_OUT and INTERRUPTED from the lock."""
    slot: uint32_t = cython.cast(uint32_t, arena.slot[0])
    status: cython.int
    i: uint32_t
    entry: cython.pointer(PoolEntry)
    if slot == 0:
        return NOT_REGISTERED
    status = directory_lock(arena, slot)
    if status != OK:
        return status
    index[0] = find(arena, name)
    if index[0]:
        entry = cython.address(arena.pools[index[0]])
        # A shift or a limit of 0 leaves the choice to what is there.
        if (
            read_once(cython.address(entry.kind), b"directory.open") != config.kind
            or (config.shift and read_once(cython.address(entry.shift), b"directory.open") != config.shift)
            or (config.limit and read_once(cython.address(entry.limit), b"directory.open") != config.limit)
            or read_once(cython.address(entry.foreign), b"directory.open") != config.foreign
        ):
            status = MISMATCH
    elif not create:
        status = NOT_FOUND
    else:
        status = TABLE_FULL
        for i in range(1, NR_POOLS):
            entry = cython.address(arena.pools[i])
            if read_once(cython.address(entry.state), b"directory.open") & 0xFF == STATE_FREE:
                status = make(arena, entry, name, config, slot)
                index[0] = i
                break
    if status == OK:
        add_user(cython.address(arena.pools[index[0]]), slot)
    directory_unlock(arena, slot)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def directory_adopt(
    arena: cython.pointer(ArenaRef), slot: uint32_t, pools: cython.pointer(cython.pointer(PoolRef))
) -> cython.int:
    """For a forked child that has just got its slot: it has its parent's pools open, under a slot that is not a user of
    them. Those that still are what they were get it as a user; the others are forgotten. OK, or what the lock says."""
    status: cython.int = directory_lock(arena, slot)
    i: uint32_t
    entry: cython.pointer(PoolEntry)
    if status != OK:
        return status
    for i in range(1, NR_POOLS):
        if pools[i] == cython.NULL or pools[i].gone:
            continue
        entry = cython.address(arena.pools[i])
        if (
            read_once(cython.address(entry.state), b"directory.adopt") & 0xFF == STATE_LIVE
            and read_once(cython.address(entry.serial), b"directory.adopt") == pools[i].serial
        ):
            add_user(entry, slot)
        else:
            pool_forget(pools[i])
    directory_unlock(arena, slot)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def in_use(arena: cython.pointer(ArenaRef), index: uint32_t, slot: uint32_t, force: cython.bint) -> cython.bint:
    """Does another process have the pool open, or (unless force) does it hold a block? Under the lock; without it, with force,
    what may have changed meanwhile."""
    entry: cython.pointer(PoolEntry) = cython.address(arena.pools[index])
    pool: PoolRef
    i: uint64_t
    for i in range(2):
        others: uint64_t = read_once(cython.address(entry.users[i]), b"directory.in_use")
        if i == slot >> 6:
            others &= ~(cython.cast(uint64_t, 1) << (slot & 63))
        if others:
            return True
    if force or pool_load(arena, index, cython.address(pool)) != OK:
        return False
    for i in range(pool.nr_chunks):
        if count_owner(pool.chunks[i].map, pool.chunks[i].summary, pool.chunks[i].nr_words, 0) != pool.chunks[i].nr:
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def directory_drop(arena: cython.pointer(ArenaRef), index: uint32_t, force: cython.bint) -> cython.int:
    """Destroys a pool and gives its pages back: OK; BUSY while another process has it open or, unless force, while a block
    is taken. The caller's own threads must have stopped using it, as for the kernel's gen_pool_destroy."""
    slot: uint32_t = cython.cast(uint32_t, arena.slot[0])
    entry: cython.pointer(PoolEntry) = cython.address(arena.pools[index])
    status: cython.int
    if slot == 0:
        return NOT_REGISTERED
    status = directory_lock(arena, slot)
    if status != OK:
        return status
    if read_once(cython.address(entry.state), b"directory.drop") & 0xFF != STATE_LIVE:
        status = NOT_FOUND
    elif in_use(arena, index, slot, force):
        status = BUSY
    else:
        write_once(cython.address(entry.state), cython.cast(uint64_t, slot) << 8 | STATE_DROPPING, b"directory.drop")
        window(b"D:directory.dropping")
        runs_transfer(arena, entry, OWNER_STRUCT, slot)
        release_runs(arena, entry, slot)
    directory_unlock(arena, slot)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def directory_add_foreign(pool: cython.pointer(PoolRef), chunk: cython.pointer(ForeignChunk)) -> cython.int:
    """Adds a chunk of foreign memory: OK; MISMATCH if it overlaps one that the pool has; EXHAUSTED if there is no room for
    its map, TABLE_FULL for one more chunk; and what the lock says. Under the lock, so that two adders see each other."""
    arena: cython.pointer(ArenaRef) = pool.arena
    slot: uint32_t = cython.cast(uint32_t, arena.slot[0])
    offset: uint64_t = 0
    last: uint64_t = chunk.base + ((chunk.nr << pool.shift) - 1)
    i: uint64_t
    status: cython.int
    if slot == 0:
        return NOT_REGISTERED
    status = directory_lock(arena, slot)
    if status != OK:
        return status
    pool_update(pool)
    for i in range(pool_known(pool)):
        if chunk.base <= pool.chunks[i].base + ((pool.chunks[i].nr << pool.shift) - 1) and last >= pool.chunks[i].base:
            status = MISMATCH
    if status == OK:
        status = foreign_add(arena, pool.entry, chunk, slot, cython.address(offset))
    if status == OK:
        window(b"D:directory.foreign")
        runs_transfer(arena, pool.entry, slot, OWNER_STRUCT)
        pool_update(pool)
    directory_unlock(arena, slot)
    return status
