"""L4: two words of a store's table, which only count up: the dictionary that new values are compressed with, and the last
change of the namespaces.

Dictionaries have the numbers 1, 2, ...; each is an entry of the store (of a kind of its own, KEY_RESERVED), there before the word
names it, and never changes. The word only counts up. All of it is relaxed: who reads a number and does not find the entry
yet goes without; who reads a value that was compressed with a dictionary reads it from the store, after which the
dictionary, which its writer has read from there, is to be found too.

The table of namespaces (namespaces.py) is one entry of the store, which says how many changes it has seen. The word follows it.
Whoever puts into a namespace reads the word after its commit. If the namespace was dropped meanwhile, and the scan that deletes
its entries has passed that bucket, then the word was written before the scan had the stripe's lock, and the writer has it
after the scan: so the lock shows it the word. Else the scan deletes what it has put. Hence relaxed here too.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storewords is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import cmpxchg_relaxed, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.storeindex import StoreIndex
from cython.cimports.mempools.pools.hashtable import index_is_there, index_root

register_module(cython.address(this_module_step))


def dictionary(index: StoreIndex, /) -> int:
    """Its number; 0: there is none, or no store. Any context."""
    if index.mapping.closed or index.ref.gone or not index_is_there(index.ref):
        return 0
    return read_once(cython.address(index_root(index.ref).dictionary), b"storewords.dictionary")


def next_dictionary(index: StoreIndex, number: uint64_t) -> None:
    """The dictionary of that number, which is in the store, is the current one, unless there is a later one."""
    index.check_open()
    cmpxchg_relaxed(cython.address(index_root(index.ref).dictionary), number - 1, number, b"storewords.next")


def spaces(index: StoreIndex, /) -> int:
    """The last change of the namespaces; 0: there never was one. Any context."""
    index.check_open()
    return last_change(index)


@cython.cfunc
@cython.exceptval(check=False)
def last_change(index: StoreIndex) -> uint64_t:
    return read_once(cython.address(index_root(index.ref).spaces), b"storewords.spaces")


def next_spaces(index: StoreIndex, change: uint64_t) -> None:
    """The table of namespaces, which is in the store, has seen so many changes, or more by now."""
    word: cython.pointer(uint64_t)
    seen: uint64_t
    index.check_open()
    word = cython.address(index_root(index.ref).spaces)
    seen = read_once(word, b"storewords.spaces")
    while seen < change:
        found: uint64_t = cmpxchg_relaxed(word, seen, change, b"storewords.changed")
        if found == seen:
            break
        seen = found
