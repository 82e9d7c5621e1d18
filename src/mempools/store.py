"""L5: Store: a compressed key/value store in an arena, shared by processes.

The index and the entries are in pools/hashindex.py, behind objects/storeindex.py; this module adds codecs and the manners of
a mapping. Nothing here knows where the bytes lie.
"""

import os
from collections.abc import Callable, ItemsView, Iterable, Iterator, MutableMapping, ValuesView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mempools import codecs, sizes
from mempools.arena import Arena
from mempools.dictionaries import DEFAULT_NBYTES, WITH_DICTIONARY, ZSTD, Dictionaries, DictionaryInfo
from mempools.errors import Corrupt, LayoutMismatch, PoolError
from mempools.objects import storescan
from mempools.objects.storeindex import StoreIndex, open_index
from mempools.spaces import NamespaceStats, Spaces

if TYPE_CHECKING:
    from mempools.namespaces import Namespace

Key = str | bytes

_missing: Any = object()


@dataclass(frozen=True)
class StoreStats:
    """What is in a store; all but `count` in bytes.

    `logical_bytes`: the values. `stored_bytes`: the values as they are stored, compressed. `memory_bytes`: the arena memory
    that they take, with keys, headers, dictionaries, pages that are partly free, and all tables. `capacity_bytes`: what the store
    has taken from the arena so far for its entries and the growth of its tables. `freeable_bytes`: what `compact` could give
    back, about. `dictionary_bytes`: all dictionaries. The numbers are read one after another while others write.
    """

    count: int
    logical_bytes: int
    stored_bytes: int
    memory_bytes: int
    capacity_bytes: int
    freeable_bytes: int
    dictionary_bytes: int = 0

    @property
    def ratio(self) -> float:
        """Bytes of values per byte of memory; 0 for an empty store."""
        return self.logical_bytes / self.memory_bytes if self.count else 0.0

    @property
    def compression(self) -> float:
        """Bytes of values per stored byte; 0 for an empty store."""
        return self.logical_bytes / self.stored_bytes if self.stored_bytes else 0.0


class _Values(ValuesView[bytes]):
    _mapping: "StoreMapping"

    def __iter__(self) -> Iterator[bytes]:
        for _, value in self._mapping.items():
            yield value


class _Items(ItemsView[Key, bytes]):
    _mapping: "StoreMapping"

    def __iter__(self) -> Iterator[tuple[Key, bytes]]:
        for key in self._mapping:
            value = self._mapping.get(key)
            if value is not None:  # deleted since
                yield key, value


class StoreMapping(MutableMapping[Key, bytes]):
    """What a Store and a Namespace of it have in common: keys, values, codecs."""

    _index: Any  # a StoreIndex, or a SpaceIndex
    _prefix = b""  # of its keys in the store

    def _begin(self, index: Any, codec: codecs.Codec, dictionaries: Dictionaries) -> None:
        self._index = index
        self._get_stored = index.get
        self._put_stored = index.put
        self._codec = codec
        self._number = codec.id
        self._compress = codec.compress
        self._dictionaries = dictionaries

    # ---- the mapping

    def __getitem__(self, key: Key) -> bytes:
        found = self._get_stored(key)
        if found is None:
            raise KeyError(key)
        return self._decode(key, *found) if found[0] else found[2]

    def __setitem__(self, key: Key, value: Any) -> None:
        nbytes = len(value) if type(value) is bytes else memoryview(value).nbytes
        if self._number:
            if self._number == ZSTD:
                number, stored = self._dictionaries.encode(value, nbytes)
            else:
                number, stored = self._number, self._compress(value)
            if len(stored) < nbytes:
                self._put_stored(key, number, nbytes, stored)
                return
        self._put_stored(key, 0, nbytes, value)

    def __delitem__(self, key: Key) -> None:
        if not self._index.delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | bytes) and self._index.contains(key)

    def items(self) -> ItemsView[Key, bytes]:
        """Pairs, without those that go while the iteration is on its way."""
        return _Items(self)

    def values(self) -> ValuesView[bytes]:
        """Values, as `items`."""
        return _Values(self)

    def get(self, key: Key, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def _decode(self, key: Key, number: int, nbytes: int, stored: bytes) -> bytes:
        """A value from what is stored; Corrupt if that is not what the codec has made."""
        codec = self._codec if number == self._number else self._codec_of(number)
        try:
            value = codec.decompress(stored, nbytes)
        except MemoryError:
            raise
        except Exception as error:
            raise Corrupt(f"{key!r}: codec {codec.name} cannot read its {len(stored)} stored bytes: {error}") from error
        if len(value) != nbytes:
            raise Corrupt(f"{key!r}: codec {codec.name} made {len(value)} bytes of a value that had {nbytes}")
        return value

    def _codec_of(self, number: int) -> codecs.Codec:
        return self._dictionaries if number == WITH_DICTIONARY else codecs.by_id(number)

    # ---- in one step

    def pop(self, key: Key, default: Any = _missing) -> Any:
        """Delete, and return the value: of several poppers one gets it."""
        found = self._index.pop(key)
        if found is not None:
            return self._decode(key, *found) if found[0] else found[2]
        if default is _missing:
            raise KeyError(key)
        return default

    def setdefault(self, key: Key, default: Any = b"") -> bytes:
        """The value; `default` if there was none, which then is the value for everybody."""
        while True:
            value: bytes | None = self.get(key)
            if value is not None:
                return value
            nbytes = memoryview(default).nbytes
            if self._number == ZSTD:
                number, stored = self._dictionaries.encode(default, nbytes)
            else:
                number, stored = self._number, self._compress(default)
            if len(stored) >= nbytes:
                stored, number = default, 0
            if self._index.put(key, number, nbytes, stored, True):
                return bytes(default)

    def get_or_compute(self, key: Key, compute: Callable[[], Any], *, timeout: float | None = None) -> bytes:
        """The value; if there is none, what `compute()` returns (bytes-like), which then is the value for everybody.

        Of all threads and processes that ask for the key at the same time, one calls its `compute`, the others wait and get
        the value. If that one is killed, or its `compute` raises, one of those who wait computes instead: the exception goes to
        the caller whose `compute` raised it. `timeout`: seconds that the caller waits for others, WouldBlock when they are over.
        WaitForbidden where the wait would never end (`compute` asks for its own key, or two computations for each other's), and
        on an event loop's thread, if another computes. What a task or callback of `compute` asks for counts as asked by it; what
        a thread of its own asks for does not. Exhausted if the value, or the note that it is being computed, has no room.

        The note is in a table of the arena, 20 KiB, made by the first call. Thread-safe, process-safe; waits, so not for signal
        handlers. The nearest relative in the kernel is the page cache's lock on a page that is being read."""
        value: bytes | None = self.get(key)
        if value is not None:
            return value
        from mempools import computing

        return computing.get_or_compute(self, key, compute, timeout)

    async def aget_or_compute(self, key: Key, compute: Callable[[], Any], *, timeout: float | None = None) -> bytes:
        """`await`: as `get_or_compute`, for tasks of an event loop; `compute` may be a coroutine function. A task that waits
        looks again every 20 ms at the latest. Cancelled while it computes, it leaves that to another."""
        value: bytes | None = self.get(key)
        if value is not None:
            return value
        from mempools import computing

        return await computing.aget_or_compute(self, key, compute, timeout)

    def clear(self) -> None:
        """Delete the keys that are there, one after another."""
        for key in self:
            self._index.delete(key)

    def get_into(self, key: Key, buffer: Any) -> int:
        """Read a value into a writable, contiguous buffer; returns its size in bytes.

        KeyError if there is none, ValueError if the buffer is too small (it may have changed). While others replace the value,
        the buffer holds anything until the call returns. Thread-safe, process-safe; takes no lock.
        """
        found = self._index.get_raw_into(key, buffer)
        if found is None:
            raise KeyError(key)
        number, nbytes, stored = found
        if stored is None:
            return nbytes
        target = memoryview(buffer).cast("B")
        if nbytes != len(target):
            if nbytes > len(target):
                raise ValueError(f"{key!r} has {nbytes} bytes, the buffer only {len(target)}")
            target = target[:nbytes]
        if number:
            codec = self._codec_of(number)
            try:
                codec.decompress_into(stored, target)
            except MemoryError:
                raise
            except Exception as error:
                raise Corrupt(
                    f"{key!r}: codec {codec.name} cannot read its {len(stored)} stored bytes: {error}"
                ) from error
        else:
            target[:] = stored
        return nbytes


class Store(StoreMapping):
    """A mapping from str or bytes keys (distinct, as in a dict) to bytes, in an arena; any bytes-like object can be stored.

    Made by `arena.store(name, codec=..., size=...)`; `Store.attach("NAME")` finds the one store of the arena NAME. Keys have up
    to 65,535 bytes (a str as UTF-8), values up to 1 GiB. A value that does not get smaller is stored as it is.

    Every change of one key is one step for all others, and for whoever looks after the changing process was killed: a
    reader sees the old value or the new one, whole. `setdefault` and `pop` are one step too; `update`, `clear`, `popitem` and
    iteration go key by key, and iteration yields every key that is there from its start to its end exactly once.
    `Exhausted`, a MemoryError, changes nothing: while a value is replaced, there must be room for both.

    Entries lie densely in size classes and may be moved (`compact`); the index grows with the keys. Seven threads of a
    process may read at the same moment without any memory, 511 in all; the next one waits for one of them.

    Thread-safe, process-safe; readers take no lock; writers may wait for each other a moment, so not for signal handlers;
    iteration waits for them likewise. The nearest relative in the kernel is zram's table of slots over zsmalloc
    (drivers/block/zram).
    """

    _index: StoreIndex

    def __init__(self, index: StoreIndex, codec: codecs.Codec) -> None:
        self._begin(index, codec, Dictionaries(index, codec))
        self._spaces = Spaces(self)

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
        """Entries now, without those of namespaces: as many as an iteration yields. A sum of counts of 64 stripes, however many
        entries there are, which others change meanwhile."""
        sizes = storescan.sizes(self._index)
        return sizes[0] - sizes[6] - self._dictionaries.nr_held() - (self._spaces.held() > 0)

    def __iter__(self) -> Iterator[Key]:
        cursor = 0
        while cursor < self._index.scan_end:
            cursor, keys = storescan.scan(self._index, cursor)
            yield from keys

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

    # ---- in a file

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write all entries into the file `path`, as they are stored, with the dictionaries they need; how many.

        The file is made beside it under another name, synced, and renamed: on any failure (OSError: the disk is full) `path` is
        what it was before. Others may write meanwhile: each entry is whole, and one that is there from the start to the end of
        the call is in the file; the file is of no single moment. Thread-safe, process-safe; blocks."""
        from mempools import snapshot

        return snapshot.save(self, path)

    def load(self, path: str | os.PathLike[str], *, replace: bool = True) -> int:
        """Put all entries of a file that `save` has written into the store; how many were put.

        They keep their codecs, whatever the store's own is, and their dictionaries come with them. Keys that are there already
        get the file's values, or with `replace=False` keep their own. The file is read through first: BadSnapshot if a byte of it
        is missing or wrong, and nothing was put. Exhausted if there is no room: its message says how many are in. Thread-safe,
        process-safe; each entry is put in one step, all of them are not."""
        from mempools import snapshot

        return snapshot.load(self, path, replace)

    @classmethod
    def restore(cls, path: str | os.PathLike[str], arena: Arena, name: str, *, size: int | str | None = None) -> Self:
        """The store `name` of an arena, made if absent, with the codec of the store that was saved in the file `path`, whose
        entries are put into it. Errors as of `load` and `Arena.store`."""
        from mempools import snapshot

        store = open_store(cls, arena, name, snapshot.read_through(path)[0], size)
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
    def arena(self) -> Arena:
        """The arena it lies in."""
        return self._index.arena

    def stats(self) -> StoreStats:
        """Sizes now. Thread-safe, process-safe, takes no lock."""
        count, logical, stored, taken, table, capacity, _ = storescan.sizes(self._index)
        nr, nbytes = self._dictionaries.held()
        table_nbytes = self._spaces.held()  # an entry, too, that is no user's
        count -= nr + (table_nbytes > 0)
        logical, stored = logical - nbytes - table_nbytes, stored - nbytes - table_nbytes
        return StoreStats(count, logical, stored, taken + table, capacity, self._index.can_compact() * 4096, nbytes)

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

    def destroy(self) -> None:
        """Give the store's memory back to the arena. Busy while another process has it open."""
        statistics = self._spaces.statistics()
        self._index.destroy(True)
        if statistics is not None:
            statistics.destroy()
            statistics.percpu.destroy(True)

    def __repr__(self) -> str:
        return f"<mempools.Store {self.name!r}, {self.codec}, {len(self)} keys in {self.arena!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (type(self), self.arena, self.name, self.codec, None)


def open_store(
    cls: type[Store], arena: Arena, name: str, codec: str | None, size: int | str | None, dictionary: bool = False
) -> Any:
    """What `Arena.store` does: the store of that name, made if absent."""
    if dictionary:
        if codec is not None and codecs.get(codec).id != ZSTD:
            raise PoolError(f"dictionary=True is for the codec zstd, not {codec}")
        store = open_store(cls, arena, name, codec, size)
        store._dictionaries.train_by_itself()
        return store
    limit = 0 if size is None else sizes.parse(size)
    wanted = None if codec is None else codecs.get(codec)
    index = open_index(arena, arena._mapping, name, limit, True)
    word = index.choose_codec(0)
    if not word:
        word = index.choose_codec(codecs.word_of(wanted or codecs.default()))
    if wanted is None:
        return cls(index, codecs.of_word(word))
    if codecs.word_of(wanted) != word:
        raise LayoutMismatch(
            f"store {name!r} writes with {codecs.of_word(word).name}, not {codec}: leave codec out, or say that one"
        )
    return cls(index, wanted)
