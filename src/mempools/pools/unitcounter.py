"""L3: PerCpuCounter's number (the kernel's lib/percpu_counter.c).

Purpose. Each unit has a part; adding changes the part of the CPU that one runs on. The number is `base` and all parts. `total`
says for all units in one word what they were when they were folded last, so that it can be read without visiting them.

Guarantee. Nothing lies in a thread's or a process's own memory: what was added is there when the add has returned, and a death
or a thread's end loses nothing of it. An add is one atomic read-modify-write, so that a signal handler that adds in the middle
of another add loses nothing either. The sum is exact when nobody adds. An estimate differs from it by less than batch times
units, and adds that are on their way. limited_add never oversteps the limit together with others of its kind, in all processes;
of the adds it counts those that had returned when it began. Lock-free, but for folding: who finds another at it leaves it to him.
Price. A few nanoseconds to add; every batch-th add of a unit takes the lock. A sum reads every unit.

  what runs | beside add           | beside fold                              | beside set, limited_add
  add       | any                  | what is not folded now is next time      | any
  fold      | any                  | one at a time; the other leaves a note   | any
  set, ..   | any                  | any                                      | of those that change `base` one goes on

Folding. The parts are never changed by it, so nothing can be lost: `folded` remembers how much of a part `total` has. Both are
changed by the holder of the lock alone. Whoever finds the lock taken leaves a note, and looks again; the holder looks for a
note when he has let go:
  leaver:  note; full barrier; the lock is still taken: leave
  holder:  let go; full barrier; a note: take the lock again, and fold all units
If neither saw the other's store, a part could stay unfolded (store buffering, I1's shape). A later holder sees the note as
well, for he lets go later.
While the lock is taken, or a note is there, estimates are sums.

Relaxed: parts and `base` order nothing; only sums of them mean something.

Crash windows:
  [D:unitcounter.locked]   the dead process holds the lock: estimates are sums; the next fold of all takes over.
  [D:unitcounter.folded]   a part is folded and not in `total`: likewise. Who takes over folds all and adds them up anew.
  [D:unitcounter.let_go]   a note was left and nobody looks: estimates are sums until the next fold.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.unitcounter is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cmpxchg_relaxed,
    fetch_add_relaxed,
    fetch_or_release,
    load_acquire,
    read_once,
    smp_mb,
    store_release,
    this_module_step,
    window,
    write_once,
    xchg,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, NOT_REGISTERED, OK

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def magnitude(number: int64_t) -> uint64_t:
    return cython.cast(uint64_t, number) if number >= 0 else 0 - cython.cast(uint64_t, number)


# ---- adding and folding


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_add(
    counter: cython.pointer(Counter), unit: uint64_t, amount: uint64_t, batch: uint64_t, registration: uint64_t
) -> cython.int:
    part: uint64_t = fetch_add_relaxed(counter_word(counter, unit, PART), amount, b"unitcounter.add")
    unfolded: uint64_t
    if batch == 0:
        return OK
    # A hint: it may have been folded since, by somebody on another CPU.
    part -= read_once(counter_word(counter, unit, FOLDED), b"unitcounter.folded")
    unfolded = magnitude(cython.cast(int64_t, part + amount))
    # What could not be folded, because another was at it, is left to him for a batch more: else many that add would do nothing
    # but try.
    if unfolded < batch or unfolded // batch == magnitude(cython.cast(int64_t, part)) // batch:
        return OK
    return fold(counter, unit, registration)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fold_unit(counter: cython.pointer(Counter), unit: uint64_t) -> cython.void:
    """Under the lock."""
    part: uint64_t = read_once(counter_word(counter, unit, PART), b"unitcounter.fold")
    folded: uint64_t = read_once(counter_word(counter, unit, FOLDED), b"unitcounter.fold")
    write_once(counter_word(counter, unit, FOLDED), part, b"unitcounter.fold")
    window(b"D:unitcounter.folded")
    write_once(
        counter_word(counter, 0, TOTAL),
        read_once(counter_word(counter, 0, TOTAL), b"unitcounter.fold") + part - folded,
        b"unitcounter.fold",
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fold_all(counter: cython.pointer(Counter)) -> cython.void:
    unit: uint64_t
    for unit in range(counter.nr_units):
        fold_unit(counter, unit)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fold_noted(counter: cython.pointer(Counter)) -> cython.void:
    """All units, if somebody had to leave one. Under the lock."""
    # [F:unitcounter.missed] full; pairs with [R:unitcounter.missed]: the part that was left is seen with the note; and with
    # [A:unitcounter.estimate]: who finds the note gone sees that the lock was taken for it.
    if read_once(counter_word(counter, 0, MISSED), b"unitcounter.missed") and xchg(
        counter_word(counter, 0, MISSED), 0, b"F:unitcounter.missed"
    ):
        fold_all(counter)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def let_go(counter: cython.pointer(Counter)) -> cython.bint:
    """The lock; whether a note was left meanwhile."""
    # [R:unitcounter.lock] release; pairs with [A:unitcounter.lock]: the next holder sees what is folded.
    store_release(counter_word(counter, 0, LOCK), 0, b"R:unitcounter.lock")
    window(b"D:unitcounter.let_go")
    # [F:unitcounter.let_go] full; pairs with [F:unitcounter.leave]: see above.
    smp_mb(b"F:unitcounter.let_go")
    return read_once(counter_word(counter, 0, MISSED), b"unitcounter.noted") != 0


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def try_lock(counter: cython.pointer(Counter), registration: uint64_t) -> cython.bint:
    # [A:unitcounter.lock] acquire; pairs with [R:unitcounter.lock].
    return cmpxchg_acquire(counter_word(counter, 0, LOCK), 0, registration, b"A:unitcounter.lock") == 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fold(counter: cython.pointer(Counter), unit: uint64_t, registration: uint64_t) -> cython.int:
    """One unit; nr_units stands for all."""
    if registration == 0:
        return NOT_REGISTERED
    if not try_lock(counter, registration):
        # [R:unitcounter.missed] release; pairs with [F:unitcounter.missed]: the note comes with the part. A read-modify-write,
        # so that a note on top of another's says both.
        fetch_or_release(counter_word(counter, 0, MISSED), 1, b"R:unitcounter.missed")
        # [F:unitcounter.leave] full; pairs with [F:unitcounter.let_go].
        smp_mb(b"F:unitcounter.leave")
        if not try_lock(counter, registration):
            return BUSY
    window(b"D:unitcounter.locked")
    if unit < counter.nr_units:
        fold_unit(counter, unit)
    else:
        fold_all(counter)
    fold_noted(counter)
    # A note that came meanwhile; if another has the lock already he sees it, too.
    while let_go(counter) and try_lock(counter, registration):
        fold_noted(counter)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_sync(counter: cython.pointer(Counter), registration: uint64_t) -> cython.int:
    return fold(counter, counter.nr_units, registration)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_folder(counter: cython.pointer(Counter)) -> uint64_t:
    return read_once(counter_word(counter, 0, LOCK), b"unitcounter.folder")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_take_over(counter: cython.pointer(Counter), dead: uint64_t, registration: uint64_t) -> cython.int:
    unit: uint64_t
    total: uint64_t = 0
    part: uint64_t
    # Relaxed: the system has said that the holder is dead, after all that it stored.
    if cmpxchg_relaxed(counter_word(counter, 0, LOCK), dead, registration, b"unitcounter.take_over") != dead:
        return BUSY
    for unit in range(counter.nr_units):
        part = read_once(counter_word(counter, unit, PART), b"unitcounter.take_over")
        write_once(counter_word(counter, unit, FOLDED), part, b"unitcounter.take_over")
        total += part
    write_once(counter_word(counter, 0, TOTAL), total, b"unitcounter.take_over")
    fold_noted(counter)
    while let_go(counter) and try_lock(counter, registration):
        fold_noted(counter)
    return OK


# ---- reading


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parts(counter: cython.pointer(Counter)) -> uint64_t:
    sum: uint64_t = 0
    unit: uint64_t
    for unit in range(counter.nr_units):
        sum += read_once(counter_word(counter, unit, PART), b"unitcounter.sum")
    return sum


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_sum(counter: cython.pointer(Counter)) -> int64_t:
    return cython.cast(int64_t, read_once(counter_word(counter, 0, BASE), b"unitcounter.base") + parts(counter))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_folded(counter: cython.pointer(Counter)) -> cython.bint:
    """Nobody folds, and nobody had to leave a part unfolded."""
    # [A:unitcounter.estimate] acquire; pairs with [F:unitcounter.missed]: a note that is gone was taken under the lock.
    if load_acquire(counter_word(counter, 0, MISSED), b"A:unitcounter.estimate"):
        return False
    # [A:unitcounter.free] acquire; pairs with [R:unitcounter.lock]: `total` is at least what the last holder has left.
    return load_acquire(counter_word(counter, 0, LOCK), b"A:unitcounter.free") == 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_read(counter: cython.pointer(Counter), value: cython.pointer(int64_t)) -> cython.bint:
    if is_folded(counter):
        value[0] = cython.cast(
            int64_t,
            read_once(counter_word(counter, 0, BASE), b"unitcounter.base")
            + read_once(counter_word(counter, 0, TOTAL), b"unitcounter.total"),
        )
        return True
    value[0] = counter_sum(counter)
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_compare(counter: cython.pointer(Counter), other: int64_t, batch: uint64_t) -> cython.int:
    value: int64_t = 0
    if counter_read(counter, cython.address(value)) and magnitude(value - other) <= batch * counter.nr_units:
        value = counter_sum(counter)
    return 1 if value > other else -1 if value < other else 0


# ---- what concerns all parts


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_set(counter: cython.pointer(Counter), value: uint64_t) -> cython.void:
    """The parts stay: what is added beside it comes before it or after it, and is not half lost."""
    write_once(counter_word(counter, 0, BASE), value - parts(counter), b"unitcounter.set")


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def within(value: int64_t, limit: int64_t, up: cython.bint) -> cython.bint:
    return value <= limit if up else value >= limit


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def counter_limited_add(
    counter: cython.pointer(Counter), limit: int64_t, amount: int64_t, batch: uint64_t
) -> cython.bint:
    """All of its kind go through `base`: if nobody has changed it since it was read, none of them has added anything."""
    unknown: int64_t = batch * counter.nr_units
    up: cython.bint = amount > 0
    old: uint64_t
    value: int64_t
    if amount == 0:
        return True
    unknown = unknown if up else -unknown
    while True:
        old = read_once(counter_word(counter, 0, BASE), b"unitcounter.limited")
        if is_folded(counter):
            value = (
                cython.cast(int64_t, old + read_once(counter_word(counter, 0, TOTAL), b"unitcounter.total")) + amount
            )
            if not within(value - unknown, limit, up):
                return False  # whatever the parts are
            if not within(value + unknown, limit, up):
                value = cython.cast(int64_t, old + parts(counter)) + amount
        else:
            value = cython.cast(int64_t, old + parts(counter)) + amount
        if not within(value, limit, up):
            if read_once(counter_word(counter, 0, BASE), b"unitcounter.limited") == old:
                return False
        elif (
            cmpxchg_relaxed(
                counter_word(counter, 0, BASE), old, old + cython.cast(uint64_t, amount), b"unitcounter.limited"
            )
            == old
        ):
            return True
