"""L4: the word of a store's table that says which of its spill files grows, and what is reserved there; and how much the files
have that entries name.

The word is 0, or number << SPILL_SHIFT | bytes: one relaxed add reserves room in the file that grows, and says in which. Nobody
needs more: whose bytes stand there is told by entries, which are committed after their bytes are written, and what is reserved
by somebody who died before that is dead. The number changes while its lock is held (spillfile.py), by whoever writes the files
anew.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storespill is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import cmpxchg_relaxed, fetch_add_relaxed, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.storeindex import StoreIndex
from cython.cimports.mempools.pools.hashentry import CODEC_FILE
from cython.cimports.mempools.pools.hashentry import STUB_BYTES as _STUB_BYTES
from cython.cimports.mempools.pools.hashscan import IndexStats, index_stats
from cython.cimports.mempools.pools.hashtable import SPILL_SHIFT, index_is_there, index_root

from mempools.errors import Corrupt, Exhausted

register_module(cython.address(this_module_step))

SPILLED = CODEC_FILE
STUB_BYTES = _STUB_BYTES
# Bytes of a file; half of what the word has bits for, so that no add runs over.
_MOST = cython.declare(uint64_t, 1 << 39)


@cython.cfunc
def parts_of(word: uint64_t) -> tuple:
    return (word >> SPILL_SHIFT, word & ((cython.cast(uint64_t, 1) << SPILL_SHIFT) - 1))


@cython.cfunc
@cython.exceptval(-1, check=False)
def check_index(index: StoreIndex) -> cython.int:
    index.check_open()
    if not index_is_there(index.ref):
        raise Corrupt(f"store {index.name!r} has no index table: something else than a Store made it")
    return 0


def begin(index: StoreIndex, nbytes: uint64_t) -> None:
    """File 1 is there, with a header of nbytes."""
    check_index(index)
    cmpxchg_relaxed(
        cython.address(index_root(index.ref).spill),
        0,
        cython.cast(uint64_t, 1) << SPILL_SHIFT | nbytes,
        b"storespill.begin",
    )


def grows(index: StoreIndex, /) -> tuple[int, int]:
    """The number of the file that grows, 0: the store has none; and its bytes."""
    check_index(index)
    return parts_of(read_once(cython.address(index_root(index.ref).spill), b"storespill.grows"))


def reserve(index: StoreIndex, nbytes: uint64_t) -> tuple[int, int]:
    """Room for so many bytes: the file's number, and where. Exhausted if the file is as large as one can be."""
    word: cython.pointer(uint64_t)
    check_index(index)
    word = cython.address(index_root(index.ref).spill)
    if parts_of(read_once(word, b"storespill.reserve"))[1] + nbytes > _MOST:
        raise Exhausted(f"store {index.name!r}: its spill file has {_MOST} bytes, and cannot have more")
    return parts_of(fetch_add_relaxed(word, nbytes, b"storespill.reserve"))


def next_file(index: StoreIndex, number: uint64_t, nbytes: uint64_t) -> None:
    """The file of that number, which is there, with a header of nbytes, is the one that grows. Under the lock of the one before,
    so nobody reserves meanwhile."""
    word: cython.pointer(uint64_t)
    check_index(index)
    word = cython.address(index_root(index.ref).spill)
    cmpxchg_relaxed(
        word,
        read_once(word, b"storespill.next"),
        number << SPILL_SHIFT | nbytes,
        b"storespill.next",
    )


def outside(index: StoreIndex, /) -> tuple[int, int]:
    """Entries whose stored value is in a file, and what they have there. Sums of counts that others change meanwhile."""
    stats: IndexStats
    check_index(index)
    index_stats(index.ref, cython.address(stats))
    return (stats.outside, stats.outside_bytes)
