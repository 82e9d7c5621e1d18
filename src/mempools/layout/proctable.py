"""L2: the process table: who uses the arena, who of them has died, and what the dead leave behind.

A slot belongs to one process from registration until its remains are swept:

    FREE --register--> LIVE --leave, or recover after death--> FREE        (state = generation << 8 | FREE or LIVE)

Two bytes far beyond the end of the file stand for slot i, each locked through open file descriptions
(machine/files.py):
    LIVE_BASE + i      held by the owner for as long as it lives; the kernel drops it at its death
    MEND_BASE + i      held while somebody registers in the slot or sweeps it: they exclude each other through this one
Rules: FREE -> LIVE, and LIVE -> FREE of a dead owner, only with the mend lock held; LIVE -> FREE by the owner itself
only while it holds the live lock. The mend lock comes before the live lock; neither is waited for, and both are held
through a description of its own, so that a death at any point drops them.

An owner is dead when its live lock can be had, or when its number is provably no longer that process's: a child that
was forked behind Python's back may hold the parent's description, and with it the lock, for longer than the parent
lived.

Guarantee: process-safe and thread-safe; recovery may be run by anyone, at any time, twice, at once, or be killed: a
sweep that is repeated finds what the one before it left. None of it may be called from a signal handler in C.
"""

import os
import struct
from dataclasses import dataclass

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.layout.proctable is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.recovery import sweep_slot
from cython.cimports.mempools.layout.refs import ArenaRef
from cython.cimports.mempools.layout.structs import NR_SLOTS, STATE_FREE, STATE_LIVE, ProcSlot
from cython.cimports.mempools.layout.superblock import SLOTS_OFFSET
from cython.cimports.mempools.machine.atomics import (
    fetch_add_relaxed,
    load_acquire,
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY

from mempools.errors import Corrupt, Exhausted
from mempools.machine import files, processes

register_module(cython.address(this_module_step))

LIVE_BASE = 1 << 62
MEND_BASE = LIVE_BASE + 4096
ATTACH_BYTE = LIVE_BASE - 1  # locked, shared, by everyone who maps the arena: what tells a live arena from a leftover
NAME_BYTE = LIVE_BASE - 2  # locked while the file's name is removed: whoever holds it knows whose name it removes
SLOTS = NR_SLOTS

_SLOT = struct.Struct("=8Q")


@dataclass(frozen=True)
class Process:
    """An entry of the process table: `alive` as far as can be told from here."""

    slot: int
    pid: int
    start_time: int
    generation: int
    alive: bool


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _at(arena: cython.pointer(ArenaRef), slot: uint32_t) -> cython.pointer(ProcSlot):
    return cython.address(arena.slots[slot])


@cython.cfunc
@cython.inline
def _pid(p: cython.pointer(ProcSlot)) -> object:
    return read_once(cython.address(p.pid), b"proctable.pid")


@cython.cfunc
@cython.exceptval(-1, check=False)
def _gone(p: cython.pointer(ProcSlot)) -> cython.bint:
    """Is the number of a LIVE slot's owner provably no longer that process's? Relaxed reads: slot_is_live came before."""
    return processes.gone(
        _pid(p),
        read_once(cython.address(p.start_time), b"proctable.start_time"),
        read_once(cython.address(p.pid_namespace), b"proctable.space"),
    )


@cython.cfunc
@cython.exceptval(-1, check=False)
def _sweep(arena: cython.pointer(ArenaRef), slot: uint32_t, busy: cython.p_int) -> cython.int:
    """The owner is dead, and the mend lock is ours: release what it held, then free the slot. How many were swept; `busy` is
    counted up instead if somebody, living or dead, has a lock that is needed."""
    p: cython.pointer(ProcSlot) = _at(arena, slot)
    rc: cython.int
    with cython.nogil:
        rc = sweep_slot(arena, slot)
    if rc == BUSY:
        busy[0] += 1
        return 0
    if rc < 0:
        raise Corrupt(
            f"the remains of process {_pid(p)} (slot {slot}) cannot be swept: status {rc}; "
            "check() says what is wrong, the slot stays taken"
        )
    # [D:proctable.sweep] nothing of the dead process is left, its slot is still LIVE: the next recovery sweeps
    # nothing, frees it.
    window(b"D:proctable.sweep")
    slot_set_free(p)
    fetch_add_relaxed(cython.address(arena.super.nr_recovered), 1, b"proctable.nr_recovered")  # statistics
    return 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def slot_state(p: cython.pointer(ProcSlot)) -> uint64_t:
    """For whoever holds both locks of the slot."""
    # [A:proctable.register] acquire; pairs with [R:proctable.free]: see there.
    return load_acquire(cython.address(p.state), b"A:proctable.register")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def slot_is_live(p: cython.pointer(ProcSlot)) -> cython.bint:
    # [A:proctable.live] acquire; pairs with [R:proctable.live]: see there.
    return load_acquire(cython.address(p.state), b"A:proctable.live") & 0xFF == STATE_LIVE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def registration_lives(arena: cython.pointer(ArenaRef), registration: uint64_t) -> cython.bint:
    slot: uint64_t = registration & 0xFF
    if slot == 0 or slot > NR_SLOTS:
        return False
    # [A:proctable.live] acquire; pairs with [R:proctable.free], too: what the dead one stored is seen by whoever is told.
    return load_acquire(cython.address(arena.slots[slot].state), b"A:proctable.live") == (
        registration & ~cython.cast(uint64_t, 0xFF) | STATE_LIVE
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def slot_set_free(p: cython.pointer(ProcSlot)) -> cython.void:
    # Relaxed read: only the owner, or the holder of the mend lock of a dead owner, writes a LIVE state.
    generation: uint64_t = read_once(cython.address(p.state), b"proctable.generation") >> 8
    # [R:proctable.free] release; pairs with [A:proctable.register]: whoever takes the slot sees the sweep's stores.
    store_release(cython.address(p.state), generation << 8 | STATE_FREE, b"R:proctable.free")


@cython.cfunc
@cython.exceptval(-1, check=False)
def proctable_register(arena: cython.pointer(ArenaRef), fd: cython.int, lock_fd: cython.p_int) -> cython.int:
    pid, start_time, space = processes.identity()
    lock: cython.int = files.reopen(fd)
    slot: uint32_t
    try:
        # The dead are swept only when there is no room without: a process that starts should not pay for them.
        for _ in range(2):
            for slot in range(1, NR_SLOTS + 1):
                if _take(arena, slot, lock, pid, start_time, space):
                    lock_fd[0] = lock
                    return slot
            proctable_recover(arena, fd, 0)
        holders = sorted({p.pid for p in snapshot(fd) if p.alive})
        raise Exhausted(
            f"all {NR_SLOTS} slots of the process table are taken, by {len(holders)} live processes: "
            f"{holders}; end one of them, or use another arena"
        )
    except BaseException:
        os.close(lock)
        raise


@cython.cfunc
@cython.exceptval(-1, check=False)
def _take(
    arena: cython.pointer(ArenaRef),
    slot: uint32_t,
    lock: cython.int,
    pid: uint64_t,
    start_time: uint64_t,
    space: uint64_t,
) -> cython.int:
    p: cython.pointer(ProcSlot) = _at(arena, slot)
    state: uint64_t
    if (read_once(cython.address(p.state), b"proctable.look") & 0xFF) == STATE_LIVE:  # hint: looked at again below
        return 0
    if not files.try_lock(lock, MEND_BASE + slot):
        return 0
    try:
        if not files.try_lock(lock, LIVE_BASE + slot):
            return 0  # a child still holds the description of an owner that has gone
        state = slot_state(p)
        if (state & 0xFF) == STATE_LIVE:
            files.unlock(lock, LIVE_BASE + slot)
            return 0
        slot_set_live(p, state, pid, start_time, space)
        return 1
    finally:
        files.unlock(lock, MEND_BASE + slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def slot_set_live(
    p: cython.pointer(ProcSlot), state: uint64_t, pid: uint64_t, start_time: uint64_t, space: uint64_t
) -> cython.void:
    # Relaxed: nobody reads these before the release below.
    write_once(cython.address(p.pid), pid, b"proctable.pid")
    write_once(cython.address(p.start_time), start_time, b"proctable.start_time")
    write_once(cython.address(p.pid_namespace), space, b"proctable.space")
    # [D:proctable.register] a FREE slot with the words of a process that died here: the next owner overwrites them.
    window(b"D:proctable.register")
    # [R:proctable.live] release; pairs with [A:proctable.live]: who sees the slot LIVE sees whose it is.
    store_release(cython.address(p.state), ((state >> 8) + 1) << 8 | STATE_LIVE, b"R:proctable.live")
    # [D:proctable.live] the slot is LIVE and nothing is held through it: recovery frees it.
    window(b"D:proctable.live")


@cython.cfunc
@cython.exceptval(-1, check=False)
def proctable_private(arena: cython.pointer(ArenaRef)) -> cython.int:
    pid, start_time, space = processes.identity()
    slot_set_live(_at(arena, 1), 0, pid, start_time, space)
    return 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def proctable_leave(arena: cython.pointer(ArenaRef), slot: uint32_t) -> cython.int:
    rc: cython.int = sweep_slot(arena, slot)
    # [D:proctable.leave] as [D:proctable.sweep]; a slot that cannot be swept stays LIVE, for check() to look at.
    window(b"D:proctable.leave")
    if rc >= 0:
        slot_set_free(_at(arena, slot))
    return rc


@cython.cfunc
@cython.exceptval(-1, check=False)
def proctable_recover(arena: cython.pointer(ArenaRef), fd: cython.int, own: uint32_t) -> cython.int:
    # What keeps one of the dead from being swept may be the lock of another, which that one's sweep releases, if only the
    # directory's: so again, until a round and the one after it have got nowhere. Then a living process has the lock.
    nr: cython.int = 0
    swept: cython.int
    busy: cython.int = 1
    vain: cython.int = 0
    while busy and vain < 2:
        busy = 0
        swept = _recover_each(arena, fd, own, cython.address(busy))
        nr += swept
        vain = 0 if swept else vain + 1
    return nr


@cython.cfunc
@cython.exceptval(-1, check=False)
def _recover_each(arena: cython.pointer(ArenaRef), fd: cython.int, own: uint32_t, busy: cython.p_int) -> cython.int:
    nr: cython.int = 0
    slot: uint32_t
    p: cython.pointer(ProcSlot)
    lock = None
    fault = None
    try:
        for slot in range(1, NR_SLOTS + 1):
            p = _at(arena, slot)
            if slot == own or not slot_is_live(p):
                continue
            if lock is None:
                lock = files.reopen(fd)
            if files.locked(lock, LIVE_BASE + slot) and not _gone(p):
                continue
            if not files.try_lock(lock, MEND_BASE + slot):
                continue  # somebody else is at it
            try:
                nr += _mend(arena, slot, lock, busy)
            except Corrupt as error:
                fault = error  # the other slots can still be swept
            finally:
                files.unlock(lock, MEND_BASE + slot)
    finally:
        if lock is not None:
            os.close(lock)
    if fault is not None:
        raise fault
    return nr


@cython.cfunc
@cython.exceptval(-1, check=False)
def _mend(arena: cython.pointer(ArenaRef), slot: uint32_t, lock, busy: cython.p_int) -> cython.int:
    """The mend lock is ours: see again whether the owner is dead, for its slot may have changed hands since."""
    p: cython.pointer(ProcSlot) = _at(arena, slot)
    if not slot_is_live(p):
        return 0
    if not files.try_lock(lock, LIVE_BASE + slot):
        if not _gone(p):
            return 0
        return _sweep(arena, slot, busy)
    try:
        return _sweep(arena, slot, busy)
    finally:
        files.unlock(lock, LIVE_BASE + slot)


def snapshot(fd: cython.int) -> list[Process]:
    """The processes of the table of the arena behind `fd`, read without mapping it; those that have left are not in it.

    Thread-safe, process-safe; a moment's picture.
    """
    table = os.pread(fd, (NR_SLOTS + 1) * _SLOT.size, SLOTS_OFFSET)
    found = []
    for slot, (state, pid, start_time, space, *_) in enumerate(
        _SLOT.iter_unpack(table[: len(table) // _SLOT.size * _SLOT.size])
    ):
        if slot and state & 0xFF == STATE_LIVE:
            # A description that holds the lock itself is not told of it: look through one that holds none.
            alive = files.locked(fd, LIVE_BASE + slot) and not processes.gone(pid, start_time, space)
            found.append(Process(slot, pid, start_time, state >> 8, alive))
    return found
