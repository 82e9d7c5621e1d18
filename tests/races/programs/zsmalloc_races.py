"""Re-creations of what the kernel's zsmalloc did with its handles in 2016: a word that holds where the object is and, in its
lowest bit, a pin. Whoever has the pin may use the object, move it or free it.

The object is a word, 42, and lies in slot 1; a migration moves it to slot 2.
"""

import cython

if not cython.compiled:
    raise ImportError("zsmalloc_races is compiled code: tests/races/recreations.py builds it")

from cython.cimports.actors import call, choose, show, word
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cpu_relax,
    fetch_and_release,
    fetch_or_relaxed,
    read_once,
    store_release,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))

# Words.
HANDLE = cython.declare(cython.int, 0)
OBJECT = cython.declare(cython.int, 0)  # in slot i: OBJECT + i
USED = cython.declare(cython.int, 2)  # slot i: USED + i
FIELD = cython.declare(cython.int, 5)

BEFORE = cython.declare(uint64_t, 0x1111_1111_1111_1111)
AFTER = cython.declare(uint64_t, 0x2222_2222_2222_2222)


def name_words(e, memory):
    call(e, memory, HANDLE, b"handle")
    call(e, memory, OBJECT + 1, b"object@1")
    call(e, memory, OBJECT + 2, b"object@2")
    call(e, memory, USED + 1, b"used[1]")
    call(e, memory, USED + 2, b"used[2]")
    call(e, memory, FIELD, b"field")


def cast_two(e, memory, first, second):
    name_words(e, memory)
    word(memory, HANDLE)[0] = handle(1, False)
    word(memory, OBJECT + 1)[0] = 42
    word(memory, USED + 1)[0] = 1
    e.arg = memory
    e.bodies[0] = first
    if e.nr_cpus > 1:
        e.bodies[1] = second
    return 0


def pin(arg):
    old: uint64_t = read_once(word(arg, HANDLE), b"zsmalloc.look")
    seen: uint64_t
    while True:
        if old & 1:
            cpu_relax(b"zsmalloc.spin")
            old = read_once(word(arg, HANDLE), b"zsmalloc.look")
            continue
        # [A:zsmalloc.pin] acquire; pairs with [R:zsmalloc.unpin]: sees all that the last holder did.
        seen = cmpxchg_acquire(word(arg, HANDLE), old, old | 1, b"A:zsmalloc.pin")
        if seen == old:
            return
        old = seen


def clear_pin(arg):
    """True if it was set."""
    # [R:zsmalloc.unpin] release; pairs with [A:zsmalloc.pin].
    return fetch_and_release(word(arg, HANDLE), ~cython.cast(uint64_t, 1), b"R:zsmalloc.unpin") & 1


def unpin(arg):
    if not clear_pin(arg):
        engine_fail(b"the pin is gone: somebody else has cleared it")


def place(arg):
    """The slot of the object."""
    return cython.cast(cython.int, read_once(word(arg, HANDLE), b"zsmalloc.where") >> 1)


def handle(slot, pinned):
    return cython.cast(uint64_t, slot) << 1 | pinned


def free_slot(arg, slot):
    if not read_once(word(arg, USED + slot), b"zsmalloc.used"):
        engine_fail(b"a slot is freed twice")
    write_once(word(arg, USED + slot), 0, b"zsmalloc.free")


# ---- bodies


def copy_object(arg):
    """Under the pin: from slot 1 to slot 2, if it is still there."""
    if not read_once(word(arg, USED + 1), b"zsmalloc.used"):
        return False
    write_once(word(arg, OBJECT + 2), read_once(word(arg, OBJECT + 1), b"zsmalloc.copy"), b"zsmalloc.copy")
    write_once(word(arg, USED + 2), 1, b"zsmalloc.use")
    free_slot(arg, 1)
    return True


def migrate(arg):
    """The new place and the bit in one store; the unpin by itself."""
    pin(arg)
    if copy_object(arg):
        write_once(word(arg, HANDLE), handle(2, True), b"zsmalloc.record")
    clear_pin(arg)


def migrate_bare(arg):
    """Stores the new place without the bit, and unpins all the same."""
    pin(arg)
    if copy_object(arg):
        write_once(word(arg, HANDLE), handle(2, False), b"zsmalloc.record")
    clear_pin(arg)


def migrate_then_or(arg):
    """The place first, then the bit."""
    pin(arg)
    if copy_object(arg):
        write_once(word(arg, HANDLE), handle(2, False), b"zsmalloc.record")
        write_once(word(arg, HANDLE), handle(2, True), b"zsmalloc.record-bit")
    clear_pin(arg)


def migrate_store_unpins(arg):
    """The store of the new place without the bit is the unpin."""
    pin(arg)
    if copy_object(arg):
        # [R:zsmalloc.record] release; pairs with [A:zsmalloc.pin].
        store_release(word(arg, HANDLE), handle(2, False), b"R:zsmalloc.record")
    else:
        clear_pin(arg)


def free_object(arg):
    pin(arg)
    free_slot(arg, place(arg))
    unpin(arg)


def free_looked_before(arg):
    """Looks where the object is, then pins."""
    slot: cython.int = place(arg)
    pin(arg)
    free_slot(arg, slot)
    unpin(arg)


def read_object(arg):
    pin(arg)
    if read_once(word(arg, OBJECT + place(arg)), b"user.read") < 42:
        engine_fail(b"the object is read where it is not yet")
    unpin(arg)


def write_object(arg):
    pin(arg)
    write_once(word(arg, OBJECT + place(arg)), 43, b"user.write")
    unpin(arg)


def final_one_object(arg):
    """One slot is used, and the object in it is what was written last."""
    slot: cython.int = cython.cast(cython.int, read_once(word(arg, HANDLE), b"zsmalloc.end") >> 1)
    if read_once(word(arg, HANDLE), b"zsmalloc.end") & 1:
        return b"the handle stays pinned"
    if read_once(word(arg, USED + 1), b"zsmalloc.end") + read_once(word(arg, USED + 2), b"zsmalloc.end") != 1:
        return b"there is one object, and not one slot in use"
    if not read_once(word(arg, USED + slot), b"zsmalloc.end"):
        return b"the handle leads to a slot that nobody uses"
    if read_once(word(arg, OBJECT + slot), b"zsmalloc.end") != 43:
        return b"what was written last is lost"
    return cython.NULL


def final_no_object(arg):
    if read_once(word(arg, USED + 1), b"zsmalloc.end") or read_once(word(arg, USED + 2), b"zsmalloc.end"):
        return b"the object was freed, and a slot is still in use"
    if read_once(word(arg, HANDLE), b"zsmalloc.end") & 1:
        return b"the handle stays pinned"
    return cython.NULL


# ---- scenes: a migration beside a free


def scene_pin(e, memory, nbytes):
    e.cpu_names[0] = b"migrate"
    e.cpu_names[1] = b"free"
    e.final = final_no_object
    return cast_two(e, memory, migrate, free_object)


def scene_pin_lost(e, memory, nbytes):
    scene_pin(e, memory, nbytes)
    e.bodies[0] = migrate_bare
    return 0


def scene_pin_then_or(e, memory, nbytes):
    scene_pin(e, memory, nbytes)
    e.bodies[0] = migrate_then_or
    return 0


def scene_pin_looked_before(e, memory, nbytes):
    scene_pin(e, memory, nbytes)
    e.bodies[1] = free_looked_before
    return 0


# ---- beside those who use the object


def scene_unpin(e, memory, nbytes):
    e.cpu_names[0] = b"migrate"
    e.cpu_names[1] = b"read"
    return cast_two(e, memory, migrate, read_object)


def scene_unpin_3(e, memory, nbytes):
    scene_unpin(e, memory, nbytes)
    e.cpu_names[2] = b"write"
    e.bodies[2] = write_object
    e.final = final_one_object
    return 0


def scene_unpin_store(e, memory, nbytes):
    scene_unpin(e, memory, nbytes)
    e.bodies[0] = migrate_store_unpins
    return 0


# ---- the last read of the old slot, and its next owner; CPU 0 has the pin from the start


def copy_and_unpin(arg):
    """Nothing of what is read goes into the handle: its address and value are known beforehand."""
    if read_once(word(arg, OBJECT + 1), b"zsmalloc.copy") != 42:
        engine_fail(b"the migration copies what the next owner of the old slot has written")
    # [R:zsmalloc.record] release; pairs with [A:zsmalloc.pin].
    store_release(word(arg, HANDLE), handle(2, False), b"R:zsmalloc.record")


def reuse_slot(arg):
    """Whoever sees that the object has moved knows that slot 1 is free, and uses it."""
    old: uint64_t = read_once(word(arg, HANDLE), b"zsmalloc.look")
    # [A:zsmalloc.pin] as above.
    if old == handle(2, False) and cmpxchg_acquire(word(arg, HANDLE), old, old | 1, b"A:zsmalloc.pin") == old:
        write_once(word(arg, OBJECT + 1), 99, b"user.write")


def scene_leak(e, memory, nbytes):
    e.cpu_names[0] = b"migrate"
    e.cpu_names[1] = b"next owner"
    cast_two(e, memory, copy_and_unpin, reuse_slot)
    word(memory, HANDLE)[0] = handle(1, True)
    return 0


# ---- a handle's first value


def malloc_object(arg, keeps_bit):
    """The cell of a fresh handle may hold anything; then its user pins it."""
    write_once(word(arg, HANDLE), choose(2), b"slab.garbage")
    if keeps_bit:
        write_once(word(arg, HANDLE), handle(1, read_once(word(arg, HANDLE), b"zsmalloc.bit") & 1), b"zsmalloc.record")
    else:
        write_once(word(arg, HANDLE), handle(1, False), b"zsmalloc.record")
    pin(arg)
    unpin(arg)


def malloc_whole(arg):
    malloc_object(arg, False)


def malloc_keeps_bit(arg):
    malloc_object(arg, True)


def scene_born(e, memory, nbytes):
    e.cpu_names[0] = b"malloc, pin"
    return cast_two(e, memory, malloc_whole, cython.NULL)


def scene_born_pinned(e, memory, nbytes):
    scene_born(e, memory, nbytes)
    e.bodies[0] = malloc_keeps_bit
    return 0


# ---- tearing, and two fields of one word


def store_field(arg):
    write_once(word(arg, FIELD), AFTER, b"field.store")


def load_field(arg):
    value: uint64_t = read_once(word(arg, FIELD), b"field.load")
    if value != BEFORE and value != AFTER:
        engine_fail(b"half of the old value, half of the new one")


def set_first(arg):
    fetch_or_relaxed(word(arg, FIELD), 1, b"field.first")


def set_second(arg):
    fetch_or_relaxed(word(arg, FIELD), 2, b"field.second")


def final_fields(arg):
    return cython.NULL if read_once(word(arg, FIELD), b"field.end") == 3 else cython.cast(cython.p_const_char, b"lost")


def scene_torn(e, memory, nbytes):
    e.cpu_names[0] = b"store"
    e.cpu_names[1] = b"load"
    word(memory, FIELD)[0] = BEFORE
    return cast_two(e, memory, store_field, load_field)


def scene_fields(e, memory, nbytes):
    e.cpu_names[0] = b"field 1"
    e.cpu_names[1] = b"field 2"
    e.final = final_fields
    return cast_two(e, memory, set_first, set_second)


show(b"races.pin", b"a migration and a free of one object", b"I19", 2, scene_pin)
show(b"races.pin-lost", b"as pin, the new place stored without the pin", b"I19", 2, scene_pin_lost)
show(b"races.pin-then-or", b"as pin, the new place stored and then the pin", b"I19", 2, scene_pin_then_or)
show(
    b"races.pin-looked-before",
    b"as pin, the free looks where the object is before it pins",
    b"I19",
    2,
    scene_pin_looked_before,
)
show(b"races.unpin", b"an object is read while it migrates", b"I20", 2, scene_unpin)
show(b"races.unpin-3", b"an object is read and written while it migrates", b"I20", 3, scene_unpin_3)
show(b"races.unpin-store", b"as unpin, the store of the new place is the unpin", b"I20", 2, scene_unpin_store)
show(b"races.leak", b"the old slot is read before its next owner writes", b"I20", 2, scene_leak)
show(b"races.born", b"a fresh handle can be pinned", b"", 1, scene_born)
show(b"races.born-pinned", b"as born, the bit of the cell kept", b"", 1, scene_born_pinned)
show(b"races.torn", b"a field of 64 bits is seen as it was or as it is", b"", 2, scene_torn)
show(b"races.fields", b"two fields of one word are set", b"", 2, scene_fields)
