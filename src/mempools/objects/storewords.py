"""L4: the word of a store's table that says which dictionary new values are compressed with.

Dictionaries have the numbers 1, 2, ...; each is an entry of the store (of a kind of its own, KEY_RESERVED), there before the word
names it, and never changes. The word only counts up. All of it is relaxed: who reads a number and does not find the entry
yet goes without; who reads a value that was compressed with a dictionary reads it from the store, after which the
dictionary, which its writer has read from there, is to be found too.
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
