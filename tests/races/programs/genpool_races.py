"""Re-creations of what the kernel's gen_pool does with its bitmaps, where our own GenPool does it differently or not at all, and
of the free list that it replaces.

A chunk is one or two words of bitmap, MAP and the next: a set bit is a granule that somebody has.
"""

import cython

if not cython.compiled:
    raise ImportError("genpool_races is compiled code: tests/races/recreations.py builds it")

from cython.cimports.actors import call, show, word
from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.check.engine import engine_cpu, engine_fail
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cmpxchg_relaxed,
    cmpxchg_release,
    cpu_relax,
    fetch_add_relaxed,
    fetch_and_release,
    load_acquire,
    read_once,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))

# Words.
MAP = cython.declare(cython.int, 0)
USER = cython.declare(cython.int, 2)  # what the owner of the granule at the start of the second word writes into it
AVAIL = cython.declare(cython.int, 3)
HEAD = cython.declare(cython.int, 4)  # of a free list of the elements 1 and 2: the first, 0 for none; above bit 8 a tag
NEXT = cython.declare(cython.int, 4)  # of element i: NEXT + i
OWNERS = cython.declare(cython.int, 6)  # how many have element i: OWNERS + i


def name_words(e, memory):
    call(e, memory, MAP, b"map[0]")
    call(e, memory, MAP + 1, b"map[1]")
    call(e, memory, USER, b"granule")
    call(e, memory, AVAIL, b"avail")
    call(e, memory, HEAD, b"head")
    call(e, memory, NEXT + 1, b"next[1]")
    call(e, memory, NEXT + 2, b"next[2]")
    call(e, memory, OWNERS + 1, b"owners[1]")
    call(e, memory, OWNERS + 2, b"owners[2]")


def cast_two(e, memory, first, second):
    name_words(e, memory)
    e.arg = memory
    e.bodies[0] = first
    if e.nr_cpus > 1:
        e.bodies[1] = second
    return 0


def set_bits(which, mask):
    """All of them, if all were clear."""
    old: uint64_t = read_once(which, b"genpool.look")
    seen: uint64_t
    while not old & mask:
        # [A:genpool.set] acquire; pairs with [R:genpool.clear]: the next owner comes after the last.
        seen = cmpxchg_acquire(which, old, old | mask, b"A:genpool.set")
        if seen == old:
            return True
        old = seen
    return False


def clear_bits(which, mask):
    old: uint64_t = read_once(which, b"genpool.look")
    seen: uint64_t
    while True:
        if old & mask != mask:
            engine_fail(b"a granule is freed that nobody has")
        # [R:genpool.clear] release; pairs with [A:genpool.set].
        seen = cmpxchg_release(which, old, old & ~mask, b"R:genpool.clear")
        if seen == old:
            return
        old = seen


# ---- a claim over two words, and its roll-back


def claim(arg, clears_all):
    """The last granule of the first word, and the first of the second: both or none."""
    if not set_bits(word(arg, MAP), 8):
        return False
    if set_bits(word(arg, MAP + 1), 1):
        return True
    clear_bits(word(arg, MAP), 8)
    if clears_all:
        # [R:genpool.clear] as above, but for the check.
        fetch_and_release(word(arg, MAP + 1), ~cython.cast(uint64_t, 1), b"R:genpool.clear")
    return False


def use_last(arg):
    """Whoever has the granule writes into it."""
    write_once(word(arg, USER), engine_cpu() + 1, b"user.write")
    if read_once(word(arg, USER), b"user.read") != cython.cast(uint64_t, engine_cpu() + 1):
        engine_fail(b"two have the same granule")


def claim_two(arg, clears_all):
    if claim(arg, clears_all):
        use_last(arg)
        clear_bits(word(arg, MAP), 8)
        clear_bits(word(arg, MAP + 1), 1)


def claim_exactly(arg):
    claim_two(arg, False)


def claim_all(arg):
    claim_two(arg, True)


def claim_one(arg):
    if set_bits(word(arg, MAP + 1), 1):
        use_last(arg)
        clear_bits(word(arg, MAP + 1), 1)


def final_clear(arg):
    if read_once(word(arg, MAP), b"genpool.end") or read_once(word(arg, MAP + 1), b"genpool.end"):
        return b"a granule is lost"
    return cython.NULL


def scene_roll_back(e, memory, nbytes):
    e.cpu_names[0] = b"alloc 2"
    e.cpu_names[1] = b"alloc 1"
    e.cpu_names[2] = b"alloc 1"
    if e.nr_cpus > 2:
        e.bodies[2] = claim_one
    e.final = final_clear
    return cast_two(e, memory, claim_exactly, claim_one)


def scene_roll_back_all(e, memory, nbytes):
    scene_roll_back(e, memory, nbytes)
    e.bodies[0] = claim_all
    return 0


def claim_until(arg):
    """Never gives up."""
    while not claim(arg, False):
        cpu_relax(b"genpool.retry")
    clear_bits(word(arg, MAP), 8)
    clear_bits(word(arg, MAP + 1), 1)


def scene_retry(e, memory, nbytes):
    e.cpu_names[0] = b"alloc 2"
    e.cpu_names[1] = b"alloc 2"
    e.final = final_clear
    return cast_two(e, memory, claim_until, claim_until)


# ---- a granule goes from owner to owner: CPU 0 has it from the start


def use_and_free(arg):
    write_once(word(arg, USER), 1, b"user.write")
    clear_bits(word(arg, MAP), 1)


def claim_and_use(arg):
    if set_bits(word(arg, MAP), 1) and not read_once(word(arg, USER), b"user.read"):
        engine_fail(b"the next owner does not see what the last one wrote")


def scene_bit(e, memory, nbytes):
    e.cpu_names[0] = b"use, free"
    e.cpu_names[1] = b"alloc, use"
    word(memory, MAP)[0] = 1
    return cast_two(e, memory, use_and_free, claim_and_use)


# ---- where the search of the next chunk starts: one thread, two chunks of four granules


def find_run(map, start):
    """The first of two free granules that are neighbours, 4 if there are none."""
    i: cython.int
    for i in range(start, 3):
        if not map >> i & 3:
            return i
    return 4


def search_chunks(arg, carries):
    chunk: cython.int
    start: cython.int = 0
    for chunk in range(2):
        if not carries:
            start = 0
        start = find_run(read_once(word(arg, MAP + chunk), b"genpool.find"), start)
        if start < 4 and set_bits(word(arg, MAP + chunk), cython.cast(uint64_t, 3) << start):
            return
    engine_fail(b"the allocation fails, and there is room")


def search_each(arg):
    search_chunks(arg, False)


def search_on(arg):
    search_chunks(arg, True)


def scene_start(e, memory, nbytes):
    e.cpu_names[0] = b"alloc 2"
    word(memory, MAP)[0] = 0b1010
    word(memory, MAP + 1)[0] = 0b1100
    return cast_two(e, memory, search_each, cython.NULL)


def scene_start_carried(e, memory, nbytes):
    scene_start(e, memory, nbytes)
    e.bodies[0] = search_on
    return 0


# ---- nothing found, because another rolls back


def claim_in_vain(arg):
    """The second word is taken, and stays so."""
    claim(arg, False)


def find_one(arg):
    if not set_bits(word(arg, MAP), 8):
        engine_fail(b"nothing is found, though nobody has the granule in the end")


def scene_empty(e, memory, nbytes):
    e.cpu_names[0] = b"alloc 2"
    e.cpu_names[1] = b"alloc 1"
    word(memory, MAP)[0] = 7
    word(memory, MAP + 1)[0] = 1
    return cast_two(e, memory, claim_in_vain, find_one)


# ---- the count beside the bits: one granule of two bytes


def alloc_counted(arg, counted):
    """`counted`: what an allocation of one byte takes off the count."""
    if cython.cast(int64_t, read_once(word(arg, AVAIL), b"genpool.avail")) < 1 or not set_bits(word(arg, MAP), 1):
        return
    fetch_add_relaxed(word(arg, AVAIL), -counted, b"genpool.count")
    clear_bits(word(arg, MAP), 1)
    fetch_add_relaxed(word(arg, AVAIL), 2, b"genpool.count")


def alloc_free(arg):
    alloc_counted(arg, 2)


def alloc_free_unrounded(arg):
    alloc_counted(arg, 1)


def look_at_avail(arg):
    if cython.cast(int64_t, read_once(word(arg, AVAIL), b"user.avail")) < 0:
        engine_fail(b"less than nothing is available")


def final_avail(arg):
    if read_once(word(arg, AVAIL), b"genpool.end") != 2:
        return b"nobody has anything, and not as much as there is is available"
    return cython.NULL


def scene_avail(e, memory, nbytes):
    e.cpu_names[0] = b"alloc, free"
    e.cpu_names[1] = b"alloc, free"
    word(memory, AVAIL)[0] = 2
    e.final = final_avail
    return cast_two(e, memory, alloc_free, alloc_free)


def scene_avail_unrounded(e, memory, nbytes):
    scene_avail(e, memory, nbytes)
    e.bodies[0] = alloc_free_unrounded
    return 0


def scene_avail_watched(e, memory, nbytes):
    scene_avail(e, memory, nbytes)
    e.cpu_names[2] = b"avail"
    e.bodies[2] = look_at_avail
    return 0


# ---- ABA: a free list whose head is swapped, and bits


def pop(arg, tagged):
    """The first element of the list, 0 if there is none."""
    # [A:list.head] acquire; pairs with [R:list.push]: whoever sees the element sees what stands in it.
    old: uint64_t = load_acquire(word(arg, HEAD), b"A:list.head")
    new: uint64_t
    seen: uint64_t
    while old & 255:
        new = read_once(word(arg, NEXT + cython.cast(cython.int, old & 255)), b"list.next")
        if tagged:
            new |= ((old >> 8) + 1) << 8
        seen = cmpxchg_relaxed(word(arg, HEAD), old, new, b"list.pop")  # relaxed: what it finds was loaded with acquire
        if seen == old:
            return old & 255
        # [A:list.head] as above.
        old = load_acquire(word(arg, HEAD), b"A:list.head")
    return 0


def push(arg, i, tagged):
    old: uint64_t = read_once(word(arg, HEAD), b"list.look")
    seen: uint64_t
    while True:
        write_once(word(arg, NEXT + cython.cast(cython.int, i)), old & 255, b"list.link")
        # [R:list.push] release; pairs with [A:list.head].
        seen = cmpxchg_release(word(arg, HEAD), old, i | ((old >> 8) + 1) << 8 if tagged else i, b"R:list.push")
        if seen == old:
            return
        old = seen


def pop_bit(arg):
    """The same with a bit for each element."""
    if set_bits(word(arg, MAP), 1):
        return 1
    return 2 if set_bits(word(arg, MAP), 2) else 0


def own(arg, i):
    if i and fetch_add_relaxed(word(arg, OWNERS + cython.cast(cython.int, i)), 1, b"user.own"):
        engine_fail(b"an element is handed out that somebody has")


def disown(arg, i):
    fetch_add_relaxed(word(arg, OWNERS + cython.cast(cython.int, i)), -1, b"user.give")


def pop_two(arg, tagged):
    own(arg, pop(arg, tagged))
    own(arg, pop(arg, tagged))


def pop_two_push(arg, tagged):
    """Gives the first one back, and keeps the second."""
    first: uint64_t = pop(arg, tagged)
    own(arg, first)
    own(arg, pop(arg, tagged))
    if first:
        disown(arg, first)
        push(arg, first, tagged)


def pop_two_bare(arg):
    pop_two(arg, False)


def pop_two_push_bare(arg):
    pop_two_push(arg, False)


def pop_two_tagged(arg):
    pop_two(arg, True)


def pop_two_push_tagged(arg):
    pop_two_push(arg, True)


def pop_two_bits(arg):
    own(arg, pop_bit(arg))
    own(arg, pop_bit(arg))


def pop_two_push_bits(arg):
    first: uint64_t = pop_bit(arg)
    own(arg, first)
    own(arg, pop_bit(arg))
    if first:
        disown(arg, first)
        clear_bits(word(arg, MAP), first)


def scene_aba(e, memory, nbytes):
    e.cpu_names[0] = b"pop, pop"
    e.cpu_names[1] = b"pop, pop, push"
    word(memory, HEAD)[0] = 1
    word(memory, NEXT + 1)[0] = 2
    return cast_two(e, memory, pop_two_bare, pop_two_push_bare)


def scene_aba_tagged(e, memory, nbytes):
    scene_aba(e, memory, nbytes)
    e.bodies[0] = pop_two_tagged
    e.bodies[1] = pop_two_push_tagged
    return 0


def scene_aba_bits(e, memory, nbytes):
    scene_aba(e, memory, nbytes)
    e.bodies[0] = pop_two_bits
    e.bodies[1] = pop_two_push_bits
    return 0


show(
    b"races.roll-back",
    b"a claim over two words loses the second and rolls back: it frees what it had, no more",
    b"I14",
    3,
    scene_roll_back,
)
show(b"races.roll-back-all", b"as roll-back, and frees all that it wanted", b"I14", 2, scene_roll_back_all)
show(b"races.retry", b"two claims over the same two words, neither gives up", b"I14", 2, scene_retry)
show(b"races.bit", b"the next owner of a granule comes after the last", b"I14", 2, scene_bit)
show(b"races.start", b"each chunk is searched from its start", b"", 1, scene_start)
show(b"races.start-carried", b"as start, from where the search of the last chunk ended", b"", 1, scene_start_carried)
show(b"races.empty", b"nothing is found beside a claim that rolls back", b"I14", 2, scene_empty)
show(b"races.avail", b"what is available is right when nobody is at it", b"I15", 2, scene_avail)
show(b"races.avail-unrounded", b"as avail, the size taken off before it is rounded", b"I15", 2, scene_avail_unrounded)
show(b"races.avail-watched", b"as avail, and another looks", b"I15", 3, scene_avail_watched)
show(b"races.aba", b"a free list whose head is a bare number", b"", 2, scene_aba)
show(b"races.aba-tagged", b"as aba, with a tag that every swap counts up", b"", 2, scene_aba_tagged)
show(b"races.aba-bits", b"as aba, with a bit for each element", b"", 2, scene_aba_bits)
