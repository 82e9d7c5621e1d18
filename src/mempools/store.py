"""L5: Store: a compressed key/value store in an arena, shared by processes.

The index and the entries are in pools/hashindex.py, behind objects/storeindex.py; storemapping.py adds codecs and the manners of
a mapping, this module the store as a whole. Nothing here knows where the bytes lie.
"""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from mempools import codecs, sizes
from mempools.arena import Arena
from mempools.coldvalues import ColdValues
from mempools.dictionaries import DEFAULT_NBYTES, ZSTD, Dictionaries, DictionaryInfo
from mempools.errors import Corrupt, LayoutMismatch, PoolError
from mempools.objects import storescan
from mempools.objects.storeindex import StoreIndex, open_index
from mempools.spaces import NamespaceStats, Spaces
from mempools.spillfile import Files
from mempools.storemapping import Key, StoreMapping
from mempools.storestats import StoreStats, stats_of

if TYPE_CHECKING:
    from mempools.namespaces import Namespace
    from mempools.percpupool import PerCpuPool

EVICTS = ("none", "lru", "lfu", "ttl")  # by EVICT_* of pools/hashclock.pxd


class Store(ColdValues, StoreMapping):
    """A mapping from str or bytes keys (distinct, as in a dict) to bytes, in an arena; any bytes-like object can be stored.

    Made by `arena.store(name, codec=..., size=...)`; `Store.attach("NAME")` finds the one store of the arena NAME. Keys have up
    to 65,535 bytes (a str as UTF-8), values up to 1 GiB. A value that does not get smaller is stored as it is.

    Every change of one key is one step for all others, and for whoever looks after the changing process was killed: a
    reader sees the old value or the new one, whole. `setdefault` and `pop` are one step too; `update`, `clear`, `popitem` and
    iteration go key by key, and iteration yields every key that is there from its start to its end exactly once.
    `Exhausted`, a MemoryError, changes nothing: while a value is replaced, there must be room for both.

    With a `limit` the values, as stored, never have more bytes than that; what has to go for a new one `evict` says. A value
    can be given a time to live, after which it is absent.

    Entries lie densely in size classes and may be moved (`compact`); the index grows with the keys. Seven threads of a
    process may read at the same moment without any memory, 511 in all; the next one waits for one of them.

    Thread-safe, process-safe; readers take no lock; writers may wait for each other a moment, so not for signal handlers;
    iteration waits for them likewise. The nearest relative in the kernel is zram's table of slots over zsmalloc
    (drivers/block/zram).
    """

    _index: StoreIndex

    def __init__(self, index: StoreIndex, codec: codecs.Codec) -> None:
        self._begin(index, codec, Dictionaries(index, codec))
        self._counts: PerCpuPool | None = None  # of namespaces, once it is open
        self._files = Files(index)
        self._ttl: float | None = None

    @classmethod
    def attach(cls, name: str) -> Self:
        """The one store of the arena `name`.

        FileNotFoundError if there is no such arena; PoolError if it has no store, or several: then use
        `Arena.attach(name).store(...)`. May block. Thread-safe, process-safe.
        """
        return cls.of(Arena.attach(name))

    @classmethod
    def of(cls, arena: Arena) -> Self:
        """The one store of an arena. Errors as of `attach`."""
        found = storescan.store_names(arena._mapping)
        if len(found) != 1:
            what = f"the stores {', '.join(map(repr, found))}: name one with arena.store(...)" if found else "no store"
            raise PoolError(f"{arena!r} has {what}")
        return open_store(cls, arena, found[0], None, None)

    def __len__(self) -> int:
        """Entries now, without those of namespaces, with those that have expired and are still there. A sum of counts of 64
        stripes, however many entries there are, which others change meanwhile."""
        sizes = storescan.sizes(self._index)
        return sizes[0] - sizes[6]

    def __iter__(self) -> Iterator[Key]:
        cursor = 0
        while cursor < self._index.scan_end:
            cursor, keys = storescan.scan(self._index, cursor)
            yield from keys

    # No attribute has the store or what has it: an arena is closed when the last name of a store in it goes, and not later,
    # when cycles are looked for.

    @property
    def _owner(self) -> "Store":
        return self

    @property
    def _spaces(self) -> Spaces:
        return Spaces(self)

    # ---- namespaces

    def namespace(self, name: str) -> "Namespace":
        """The part of the store called `name`, made if absent: 1 to 64 bytes of UTF-8. A mapping of its own, whose keys are
        neither the store's nor another namespace's; index, memory, codec and dictionaries are the store's.

        Waits for another process that makes or drops a namespace of the store, WaitForbidden where that would stop an event loop;
        not for signal handlers. ValueError for another name, Exhausted if there is no room. Thread-safe, process-safe; killed
        anywhere it leaves the store whole."""
        return self._spaces.open(name)

    def namespaces(self) -> list[str]:
        """The names of the namespaces, in order. Thread-safe, process-safe; takes no lock."""
        return self._spaces.names()

    def namespace_stats(self) -> list[NamespaceStats]:
        """`Namespace.stats` of each, in the order of their names, for one walk over the store. Thread-safe, process-safe."""
        return self._spaces.all_stats()

    def drop_namespace(self, name: str) -> int:
        """`Namespace.drop` of the namespace `name`; 0 if there is none. It also deletes what a drop left that was killed."""
        return self._spaces.drop_name(name)

    # ---- time to live

    def expire(self) -> int:
        """Take away the entries that have expired; how many. They are absent in any case: this gives back their memory, as
        writers do that need it. Looks at each entry of a 64th of the store that has one with a time to live. Thread-safe,
        process-safe; others read and write meanwhile."""
        return self._index.expire()

    # ---- in a file

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write all entries into the file `path`, as they are stored, with the dictionaries they need; how many.

        The file is made beside it under another name, synced, and renamed: on any failure (OSError: the disk is full) `path` is
        what it was before. Others may write meanwhile: each entry is whole, and one that is there from the start to the end of
        the call is in the file; the file is of no single moment. Times to live go on by the wall clock.
        Thread-safe, process-safe; blocks."""
        from mempools import snapshot

        return snapshot.save(self, path)

    def load(self, path: str | os.PathLike[str], *, replace: bool = True) -> int:
        """Put all entries of a file that `save` has written, and that have not expired, into the store; how many were put.

        They keep their codecs, whatever the store's own is, and their dictionaries come with them. Keys that are there already
        get the file's values, or with `replace=False` keep their own. The file is read through first: BadSnapshot if a byte of it
        is missing or wrong, and nothing was put. Exhausted if there is no room: its message says how many are in. Thread-safe,
        process-safe; each entry is put in one step, all of them are not."""
        from mempools import snapshot

        return snapshot.load(self, path, replace)

    @classmethod
    def restore(
        cls,
        path: str | os.PathLike[str],
        arena: Arena,
        name: str,
        *,
        size: int | str | None = None,
        limit: int | str | None = None,
        evict: str | None = None,
    ) -> Self:
        """The store `name` of an arena, made if absent, with the codec of the store that was saved in the file `path`, whose
        entries are put into it. Errors as of `load` and `Arena.store`."""
        from mempools import snapshot

        store = open_store(cls, arena, name, snapshot.read_through(path)[0], size, limit=limit, evict=evict)
        store.load(path)
        return store

    # ---- the store itself

    @property
    def name(self) -> str:
        """Its name in the arena."""
        return self._index.name

    @property
    def codec(self) -> str:
        """The codec that this object writes with; each value is read with its own."""
        return self._codec.name

    @property
    def limit(self) -> int | None:
        """Bytes that the values have at most, as stored; None: there is no limit."""
        return self._index.limit or None

    @property
    def evict(self) -> str:
        """What goes when there is no room: "none", "lru", "lfu" or "ttl"."""
        return EVICTS[self._index.evicts]

    @property
    def arena(self) -> Arena:
        """The arena it lies in."""
        return self._index.arena

    def stats(self) -> StoreStats:
        """Sizes now. Thread-safe, process-safe, takes no lock."""
        return stats_of(self._index, self._dictionaries.nr_bytes())

    def train(self, samples: Iterable[Any] | None = None, *, nbytes: int = DEFAULT_NBYTES) -> int:
        """Make a dictionary of what values have in common; the number it has in the store, 1 to 255.

        New values of up to 64 KiB are compressed with it from now on, by every process that has the store open; those that are
        there stay as they are, readable. Small values gain most: see the benchmarks. `samples`: bytes-like objects; without
        them values of the store, 100 bytes for a byte of dictionary. `nbytes`: of the dictionary at most, 256 to
        1 MiB. Takes a second or so; the interpreter's lock is free while zstd trains. Training again makes another dictionary.

        PoolError if the store's codec is not zstd, or it has 255 dictionaries; ValueError if the samples are too few or
        too small; Exhausted if it has no room. Thread-safe, process-safe; killed anywhere it leaves the store whole."""
        if not 256 <= nbytes <= 1 << 20:
            raise ValueError(f"nbytes {nbytes}: 256 to 1 MiB for a dictionary")
        return self._dictionaries.train(samples, nbytes)

    @property
    def dictionary(self) -> DictionaryInfo | None:
        """The dictionary that new values are compressed with, and what it did for its samples; None: there is none."""
        return self._dictionaries.current()

    def check(self) -> None:
        """Walk everything; Corrupt, with a line for each contradiction. Writers wait meanwhile, a part of the keys at a time."""
        from mempools import computing

        problems = storescan.check(self._index) + computing.problems(self.arena)
        if problems:
            raise Corrupt("; ".join(problems))

    def compact(self, max_pages: int | None = None) -> int:
        """Moves entries out of the emptiest pages into the fullest, and gives the pages that are free then back: their memory
        to the system, their place to the store; how many of 4096 bytes (zs_compact in mm/zsmalloc.c). Others read and write
        meanwhile; what is being read stays where it is. 0 if another thread or process is at it. `max_pages`: stops when as
        many are free. A put that finds no room does this itself. Not for signal handlers. Thread-safe, process-safe, not
        lock-free."""
        return self._index.compact(max_pages)

    def rehome(self) -> int:
        """Moves entries out of the ends of the store's memory, and gives those pages back to the arena, for its other pools: how
        many. As ZsPool.rehome; a store with a `size` keeps what it has, and large values stay where they are."""
        return self._index.rehome()

    def destroy(self) -> None:
        """Give the store's memory back to the arena, and take its spill file away. Busy while another process has it open."""
        statistics = self._spaces.statistics()
        self._files.place()
        self._index.destroy(True)
        self._files.destroyed()
        if statistics is not None:
            statistics.destroy()
            statistics.percpu.destroy(True)

    def __repr__(self) -> str:
        return f"<mempools.Store {self.name!r}, {self.codec}, {len(self)} keys in {self.arena!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (type(self), self.arena, self.name, self.codec, None, False, None, None, self._ttl)


def _choose_bound(index: StoreIndex, limit: int | str | None, evict: str | None) -> None:
    """The first caller's limit and eviction hold; LayoutMismatch if another asks for others."""
    nbytes = 0 if limit is None else sizes.parse(limit)
    if limit is not None and not 0 < nbytes < 1 << 56:
        raise ValueError(f"limit {limit}: bytes, above 0")
    if evict is not None and evict not in EVICTS:
        raise ValueError(f"evict {evict!r}: one of {', '.join(map(repr, EVICTS))}")
    found = index.choose_bound(0, 0, False)
    if found is None:
        found = index.choose_bound(nbytes, EVICTS.index(evict or "none"), True)
        assert found is not None
    if limit is not None and nbytes != found[0]:
        there = f"a limit of {found[0]} bytes" if found[0] else "no limit"
        raise LayoutMismatch(f"store {index.name!r} has {there}, not of {nbytes}: leave limit out, or say that one")
    if evict is not None and EVICTS.index(evict) != found[1]:
        raise LayoutMismatch(
            f"store {index.name!r} evicts {EVICTS[found[1]]!r}, not {evict!r}: leave evict out, or say that one"
        )


def open_store(
    cls: type[Store],
    arena: Arena,
    name: str,
    codec: str | None,
    size: int | str | None,
    dictionary: bool = False,
    limit: int | str | None = None,
    evict: str | None = None,
    ttl: float | None = None,
) -> Any:
    """What `Arena.store` does: the store of that name, made if absent."""
    if dictionary and codec is not None and codecs.get(codec).id != ZSTD:
        raise PoolError(f"dictionary=True is for the codec zstd, not {codec}")
    index = open_index(arena, arena._mapping, name, 0 if size is None else sizes.parse(size), True)
    store = cls(index, _choose_codec(index, codec))
    _choose_bound(index, limit, evict)
    index.set_ttl(ttl)
    store._ttl = ttl
    if dictionary:
        store._dictionaries.train_by_itself()
    return store


def _choose_codec(index: StoreIndex, codec: str | None) -> codecs.Codec:
    """The first caller's codec is the store's; LayoutMismatch if another asks for another."""
    wanted = None if codec is None else codecs.get(codec)
    word = index.choose_codec(0)
    if not word:
        word = index.choose_codec(codecs.word_of(wanted or codecs.default()))
    if wanted is None:
        return codecs.of_word(word)
    if codecs.word_of(wanted) != word:
        raise LayoutMismatch(
            f"store {index.name!r} writes with {codecs.of_word(word).name}, not {codec}: leave codec out, or say that one"
        )
    return wanted
