"""L3: PerCpuRef, a reference count that costs a user no shared cache line until it is being killed (the kernel's
lib/percpu-refcount.c).

Purpose. An object that many threads and processes use is not to end under them, and its end is rare. While it lives, a get or a
put changes the part of the unit that it runs on; who kills it closes the parts one by one and counts them together, and from then
on the count is one word.

Guarantee. Process-safe, lock-free, and nobody waits: the kernel waits for a grace period of RCU, here a unit's word says itself
that it is closed. The count is zero when the last reference is put, not before; of those who bring it there one is told. A
process that is killed at any instruction leaves a state that anybody can go on from: every step is one compare-and-swap of one
word, and steps that were done by somebody already are found done. Price. A get or a put is one compare-and-swap on a line of
this CPU's own. A change of mode visits every unit.

  what runs     | beside get, put                         | beside the same, another change of mode
  get, put      | any                                     | they find the part open, or use the shared word
  kill, fold .. | any                                     | one of those who fold does it; others find it done

The shared word has the truth about the mode:
  BIASED        the parts belong to the count. It is not zero, whatever is put.
  epoch         which opening of the parts counts: goes up with BIASED. A unit's word of an older epoch is closed and counts
                nothing; one of this epoch counts, open or closed. So nobody has to reset anything, and whoever was stopped in
                the middle of a change finds that his epoch is over. (After 2**19 of them in one stop he could be wrong.)
The changes:
  open     BIASED and the next epoch are set in one step; then each word of an older epoch is opened, with 0 in it.
  close    each word of this epoch gets CLOSED, and is frozen by that; one of an older epoch becomes one of this, closed.
  fold     when all words are frozen their sum is added to the shared count and BIASED is taken away, in one step. Who comes late
           finds the epoch's BIASED gone.
  kill     in one step DEAD is set, the initial reference dropped, and BIASED set (again, if need be): so it is not zero before
           the fold, and the killer can tell others in between that nobody gets a live reference any more.
Whoever opens or closes reads the word first, then looks whether the shared word is still in his epoch: then what he has read is
not younger, and if he is overtaken after that the word has changed.

Order. What was done under a reference happens before the release:
  put on a part    [R:percpuref.put]; the closer takes the part with [A:percpuref.close], and hands it on with [R:percpuref.fold]
  put on the word  [R:percpuref.put_shared]
  whoever claims the release takes all of it with [A:percpuref.zero].
And who gets a reference sees what was done before the count was opened: [R:percpuref.open] and [A:percpuref.get],
[R:percpuref.mark] and [A:percpuref.get_shared].

Crash windows:
  [D:percpuref.marked]   the shared word says killed, or open: units are not closed, or not all opened. Gets and puts find each
                         unit as it is; the next change of mode, or `reap`, goes on.
  [D:percpuref.closed]   all are closed, and the sum is not in the count: likewise.
  [D:percpuref.zero]     it is zero, and nobody has been told: whoever claims the release (`reap`) has it.
  [D:percpuref.claimed]  a process that died has claimed the release. Whether it did it only its object can tell: who reaps does
                         it again.
References of a dead process stay: nobody knows whose they were, for they may be put by others than got them.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.percpuref is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cmpxchg_relaxed,
    cmpxchg_release,
    load_acquire,
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, DOUBLE_FREE, NOT_FOUND, OK

register_module(cython.address(this_module_step))

_RELEASER_EPOCH = cython.declare(uint64_t, 44)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def with_count(word: uint64_t, count: uint64_t) -> uint64_t:
    return word & ~cython.cast(uint64_t, REF_COUNT) | count & REF_COUNT


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def signed(count: uint64_t) -> int64_t:
    """A count of 40 bits as a number."""
    return cython.cast(int64_t, count << (64 - REF_COUNT_BITS)) >> (64 - REF_COUNT_BITS)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def next_epoch(shared: uint64_t) -> uint64_t:
    """The shared word, BIASED, in the next epoch."""
    return shared & ~cython.cast(uint64_t, REF_EPOCH) | (shared & REF_EPOCH) + REF_EPOCH_ONE & REF_EPOCH | REF_BIASED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_init(ref: cython.pointer(Ref), flags: uint64_t) -> cython.void:
    unit: uint64_t
    write_once(ref_shared(ref), flags, b"percpuref.init")
    if flags & REF_DEAD:
        ref_released(ref)
    if flags & REF_BIASED == 0:
        for unit in range(ref.nr_units):
            write_once(ref_word(ref, unit), REF_CLOSED, b"percpuref.init")


# ---- for users


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_get(ref: cython.pointer(Ref), unit: uint64_t, nr: uint64_t, live: cython.bint) -> cython.int:
    word: cython.pointer(uint64_t) = ref_word(ref, unit)
    seen: uint64_t = read_once(word, b"percpuref.get")
    old: uint64_t
    while seen & REF_CLOSED == 0:
        old = seen
        # [A:percpuref.get] acquire; pairs with [R:percpuref.open]: what was done before it was reinitialised.
        seen = cmpxchg_acquire(word, old, with_count(old, old + nr), b"A:percpuref.get")
        if seen == old:
            return OK
    word = ref_shared(ref)
    seen = read_once(word, b"percpuref.get_shared")
    while True:
        if ref_is_zero(seen) or (live and seen & REF_DEAD):
            return NOT_FOUND
        old = seen
        # [A:percpuref.get_shared] acquire; pairs with [R:percpuref.mark]: likewise.
        seen = cmpxchg_acquire(word, old, with_count(old, old + nr), b"A:percpuref.get_shared")
        if seen == old:
            return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_put(ref: cython.pointer(Ref), unit: uint64_t, nr: uint64_t) -> cython.int:
    word: cython.pointer(uint64_t) = ref_word(ref, unit)
    seen: uint64_t = read_once(word, b"percpuref.put")
    old: uint64_t
    while seen & REF_CLOSED == 0:
        old = seen
        # [R:percpuref.put] release; pairs with [A:percpuref.close]: what was done under the reference.
        seen = cmpxchg_release(word, old, with_count(old, old - nr), b"R:percpuref.put")
        if seen == old:
            return OK
    word = ref_shared(ref)
    seen = read_once(word, b"percpuref.put_shared")
    while True:
        old = seen
        if old & REF_BIASED == 0 and signed(old) < cython.cast(int64_t, nr):
            return DOUBLE_FREE
        # [R:percpuref.put_shared] release; pairs with [A:percpuref.zero]: what was done under the reference.
        seen = cmpxchg_release(word, old, with_count(old, old - nr), b"R:percpuref.put_shared")
        if seen == old:
            return told(with_count(old, old - nr))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def told(shared: uint64_t) -> cython.int:
    """For whoever has stored the shared word."""
    if not ref_is_zero(shared):
        return OK
    window(b"D:percpuref.zero")
    return REF_ZERO


# ---- changes of mode


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def close_units(ref: cython.pointer(Ref), shared: uint64_t, sum: cython.pointer(uint64_t)) -> cython.bint:
    """Freezes the parts of the epoch that `shared` says, and adds them up; False if the epoch is over."""
    unit: uint64_t
    word: cython.pointer(uint64_t)
    seen: uint64_t
    old: uint64_t
    frozen: uint64_t
    now: uint64_t
    epoch: uint64_t = shared & REF_EPOCH
    sum[0] = 0
    for unit in range(ref.nr_units):
        word = ref_word(ref, unit)
        while True:
            # [A:percpuref.close] acquire; pairs with [R:percpuref.put], of a part that somebody else has closed, too; and
            # before the look at the shared word.
            old = load_acquire(word, b"A:percpuref.close")
            now = read_once(ref_shared(ref), b"percpuref.close")
            if now & (REF_EPOCH | REF_BIASED) != epoch | REF_BIASED:
                return False
            if old & REF_EPOCH != epoch:
                frozen = REF_CLOSED | epoch
            elif old & REF_CLOSED:
                frozen = old
                break
            else:
                frozen = old | REF_CLOSED
            # Relaxed: the part was acquired above.
            seen = cmpxchg_relaxed(word, old, frozen, b"percpuref.close")
            if seen == old:
                break
        sum[0] += frozen & REF_COUNT
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_fold(ref: cython.pointer(Ref)) -> cython.int:
    sum: uint64_t = 0
    old: uint64_t = read_once(ref_shared(ref), b"percpuref.fold")
    seen: uint64_t
    new: uint64_t
    epoch: uint64_t = old & REF_EPOCH
    if old & REF_BIASED == 0 or not close_units(ref, old, cython.address(sum)):
        return OK
    window(b"D:percpuref.closed")
    while old & (REF_EPOCH | REF_BIASED) == epoch | REF_BIASED:
        new = with_count(old, old + sum) & ~cython.cast(uint64_t, REF_BIASED)
        # [R:percpuref.fold] release; pairs with [A:percpuref.zero]: it hands on what was done under the references that were
        # put on the parts.
        seen = cmpxchg_release(ref_shared(ref), old, new, b"R:percpuref.fold")
        if seen == old:
            return DOUBLE_FREE if signed(new) < 0 else told(new)
        old = seen
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_kill(ref: cython.pointer(Ref)) -> cython.int:
    """OK when every unit is closed: nobody gets a live reference any more. BUSY: it is dead already."""
    sum: uint64_t = 0
    old: uint64_t = read_once(ref_shared(ref), b"percpuref.kill")
    seen: uint64_t
    new: uint64_t
    while True:
        if old & REF_DEAD:
            return BUSY
        new = old if old & REF_BIASED else next_epoch(old)
        new = (new | REF_DEAD) & ~cython.cast(uint64_t, REF_INITIAL)
        # Relaxed: nothing that was done before has to be seen by those who find it dead; the fold orders the rest.
        seen = cmpxchg_relaxed(ref_shared(ref), old, new, b"percpuref.kill")
        if seen == old:
            break
        old = seen
    window(b"D:percpuref.marked")
    close_units(ref, new, cython.address(sum))
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def open_units(ref: cython.pointer(Ref), shared: uint64_t) -> cython.void:
    """Opens the parts of the epoch that `shared` says, unless it is over."""
    unit: uint64_t
    old: uint64_t
    epoch: uint64_t = shared & REF_EPOCH
    for unit in range(ref.nr_units):
        # [A:percpuref.look] acquire; pairs with [R:percpuref.open]: what is read is not younger than the shared word below.
        old = load_acquire(ref_word(ref, unit), b"A:percpuref.look")
        if read_once(ref_shared(ref), b"percpuref.open") & (REF_EPOCH | REF_BIASED) != epoch | REF_BIASED:
            return
        if old & REF_EPOCH != epoch:
            # [R:percpuref.open] release; pairs with [A:percpuref.get]. If it fails the part is open, or closed again.
            cmpxchg_release(ref_word(ref, unit), old, epoch, b"R:percpuref.open")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mark(ref: cython.pointer(Ref), old: uint64_t, new: uint64_t) -> cython.bint:
    """One step of the shared word, by one who lets others in: whether it was still `old`."""
    # [R:percpuref.mark] release; pairs with [A:percpuref.get_shared].
    return cmpxchg_release(ref_shared(ref), old, new, b"R:percpuref.mark") == old


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_to_atomic(ref: cython.pointer(Ref)) -> cython.int:
    old: uint64_t = read_once(ref_shared(ref), b"percpuref.to_atomic")
    seen: uint64_t
    while old & REF_ATOMIC == 0:
        # Relaxed: a wish for later.
        seen = cmpxchg_relaxed(ref_shared(ref), old, old | REF_ATOMIC, b"percpuref.to_atomic")
        if seen == old:
            break
        old = seen
    return ref_fold(ref)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_to_percpu(ref: cython.pointer(Ref)) -> cython.int:
    """BUSY: it is dead."""
    old: uint64_t
    new: uint64_t
    while True:
        old = read_once(ref_shared(ref), b"percpuref.to_percpu")
        if old & REF_DEAD:
            return BUSY
        new = old & ~cython.cast(uint64_t, REF_ATOMIC)
        if old & REF_BIASED == 0:
            new = next_epoch(new)
        if mark(ref, old, new):
            break
    window(b"D:percpuref.marked")
    open_units(ref, new)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def live_again(ref: cython.pointer(Ref), old: uint64_t) -> cython.int:
    """From a dead one, folded: OK, or BUSY if it is not as it was any more."""
    new: uint64_t = (old | REF_INITIAL) & ~cython.cast(uint64_t, REF_DEAD)
    if new & REF_ATOMIC:
        new = next_epoch(new) & ~cython.cast(uint64_t, REF_BIASED)
    else:
        new = next_epoch(new)
    if not mark(ref, old, new):
        return BUSY
    window(b"D:percpuref.marked")
    open_units(ref, new)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_reinit(ref: cython.pointer(Ref)) -> cython.int:
    """BUSY: not allowed, not zero, or its release is not over."""
    old: uint64_t = read_once(ref_shared(ref), b"percpuref.reinit")
    if old & REF_REINIT == 0 or not ref_is_zero(old) or ref_releaser(ref) != REF_OVER:
        return BUSY
    return live_again(ref, old)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_resurrect(ref: cython.pointer(Ref)) -> cython.int:
    """BUSY: not dead, zero, or its kill has not been folded."""
    old: uint64_t
    status: cython.int = BUSY
    while status == BUSY:
        old = read_once(ref_shared(ref), b"percpuref.resurrect")
        if old & REF_DEAD == 0 or old & REF_BIASED or ref_is_zero(old):
            return BUSY
        status = live_again(ref, old)
    return status


# ---- the release


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def releaser_word(ref: cython.pointer(Ref)) -> cython.pointer(uint64_t):
    return cython.cast(cython.pointer(uint64_t), ref.first + 16)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def life(shared: uint64_t) -> uint64_t:
    """That ends, as the releaser's word has it; never 0."""
    return ((shared & REF_EPOCH) >> REF_COUNT_BITS) + 1 << _RELEASER_EPOCH


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_releaser(ref: cython.pointer(Ref)) -> uint64_t:
    # [A:percpuref.over] acquire; pairs with [R:percpuref.over]: what the release did, for who goes on with the object.
    word: uint64_t = load_acquire(releaser_word(ref), b"A:percpuref.over")
    return word & REF_OVER if word & ~REF_OVER == life(read_once(ref_shared(ref), b"percpuref.releaser")) else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_claim_release(ref: cython.pointer(Ref), registration: uint64_t, dead: uint64_t) -> cython.int:
    # [A:percpuref.zero] acquire; pairs with [R:percpuref.put_shared] and [R:percpuref.fold]: who claims need not be who brought
    # it to zero, and must see what was done under the references all the same.
    shared: uint64_t = load_acquire(ref_shared(ref), b"A:percpuref.zero")
    old: uint64_t = read_once(releaser_word(ref), b"percpuref.claim")
    if not ref_is_zero(shared) or (old & ~REF_OVER == life(shared) and old & REF_OVER != dead):
        return BUSY
    # Relaxed: one of several claims it, and nothing was done before that others have to see.
    if cmpxchg_relaxed(releaser_word(ref), old, life(shared) | registration & REF_OVER, b"percpuref.claim") != old:
        return BUSY
    window(b"D:percpuref.claimed")
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_released(ref: cython.pointer(Ref)) -> cython.void:
    # [R:percpuref.over] release; pairs with [A:percpuref.over].
    store_release(
        releaser_word(ref), life(read_once(ref_shared(ref), b"percpuref.released")) | REF_OVER, b"R:percpuref.over"
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def ref_count(ref: cython.pointer(Ref)) -> int64_t:
    shared: uint64_t = read_once(ref_shared(ref), b"percpuref.count")
    sum: uint64_t = shared
    unit: uint64_t
    word: uint64_t
    if shared & REF_BIASED:
        for unit in range(ref.nr_units):
            word = read_once(ref_word(ref, unit), b"percpuref.count")
            if word & REF_EPOCH == shared & REF_EPOCH:
                sum += word
    return signed(sum) + (1 if shared & REF_INITIAL else 0)
