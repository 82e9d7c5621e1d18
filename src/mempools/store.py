"""L5: Store: a compressed key/value store in an arena, shared by processes.

The index and the entries are in pools/hashindex.py, behind objects/storeindex.py; this module adds codecs and the manners of
a mapping. Nothing here knows where the bytes lie.
"""

from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from dataclasses import dataclass
from typing import Any, Self

from mempools import codecs, sizes
from mempools.arena import Arena
from mempools.errors import Corrupt, LayoutMismatch, PoolError
from mempools.objects import storescan
from mempools.objects.storeindex import StoreIndex, open_index

Key = str | bytes

_CHOSEN = 1 << 63
_PARAMETER_SHIFT = 8  # a codec word: CHOSEN, zstd's level + 2**23, the codec's number
_PARAMETER_ZERO = 1 << 23
_missing: Any = object()


@dataclass(frozen=True)
class StoreStats:
    """What is in a store; all but `count` in bytes.

    `logical_bytes`: the values. `stored_bytes`: the values as they are stored, compressed. `memory_bytes`: the arena memory
    that they take, with keys, headers, pages that are partly free, and all tables. `capacity_bytes`: what the store has taken
    from the arena so far for its entries and the growth of its tables. `freeable_bytes`: what `compact`
    could give back, about. The numbers are read one after another while others write.
    """

    count: int
    logical_bytes: int
    stored_bytes: int
    memory_bytes: int
    capacity_bytes: int
    freeable_bytes: int

    @property
    def ratio(self) -> float:
        """Bytes of values per byte of memory; 0 for an empty store."""
        return self.logical_bytes / self.memory_bytes if self.count else 0.0

    @property
    def compression(self) -> float:
        """Bytes of values per stored byte; 0 for an empty store."""
        return self.logical_bytes / self.stored_bytes if self.stored_bytes else 0.0


class _Values(ValuesView[bytes]):
    _mapping: "Store"

    def __iter__(self) -> Iterator[bytes]:
        for _, value in self._mapping.items():
            yield value


class _Items(ItemsView[Key, bytes]):
    _mapping: "Store"

    def __iter__(self) -> Iterator[tuple[Key, bytes]]:
        for key in self._mapping:
            value = self._mapping.get(key)
            if value is not None:  # deleted since
                yield key, value


class Store(MutableMapping[Key, bytes]):
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

    def __init__(self, index: StoreIndex, codec: codecs.Codec) -> None:
        self._index = index
        self._get_stored = index.get
        self._put_stored = index.put
        self._codec = codec
        self._number = codec.id
        self._compress = codec.compress

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

    # ---- the mapping

    def __getitem__(self, key: Key) -> bytes:
        found = self._get_stored(key)
        if found is None:
            raise KeyError(key)
        return self._decode(key, *found) if found[0] else found[2]

    def __setitem__(self, key: Key, value: Any) -> None:
        nbytes = len(value) if type(value) is bytes else memoryview(value).nbytes
        if self._number:
            stored = self._compress(value)
            if len(stored) < nbytes:
                self._put_stored(key, self._number, nbytes, stored)
                return
        self._put_stored(key, 0, nbytes, value)

    def __delitem__(self, key: Key) -> None:
        if not self._index.delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | bytes) and self._index.contains(key)

    def __len__(self) -> int:
        """Entries now. A sum of counts that others change meanwhile."""
        return storescan.sizes(self._index)[0]

    def __iter__(self) -> Iterator[Key]:
        cursor = 0
        while cursor < self._index.scan_end:
            cursor, keys = storescan.scan(self._index, cursor)
            yield from keys

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
        codec = self._codec if number == self._number else codecs.by_id(number)
        try:
            value = codec.decompress(stored, nbytes)
        except MemoryError:
            raise
        except Exception as error:
            raise Corrupt(f"{key!r}: codec {codec.name} cannot read its {len(stored)} stored bytes: {error}") from error
        if len(value) != nbytes:
            raise Corrupt(f"{key!r}: codec {codec.name} made {len(value)} bytes of a value that had {nbytes}")
        return value

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
            stored, number = self._codec.compress(default), self._codec.id
            if len(stored) >= nbytes:
                stored, number = default, 0
            if self._index.put(key, number, nbytes, stored, True):
                return bytes(default)

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
            codec = codecs.by_id(number)
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
        count, logical, stored, taken, table, capacity = storescan.sizes(self._index)
        return StoreStats(count, logical, stored, taken + table, capacity, self._index.can_compact() * 4096)

    def check(self) -> None:
        """Walk everything; Corrupt, with a line for each contradiction. Writers wait meanwhile, a part of the keys at a time."""
        problems = storescan.check(self._index)
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
        self._index.destroy(True)

    def __repr__(self) -> str:
        return f"<mempools.Store {self.name!r}, {self.codec}, {len(self)} keys in {self.arena!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (type(self), self.arena, self.name, self.codec, None)


def _word(codec: codecs.Codec) -> int:
    """A codec as the store's root keeps it."""
    level = codec.name.partition(":")[2]
    return _CHOSEN | (int(level or 0) + _PARAMETER_ZERO) << _PARAMETER_SHIFT | codec.id


def _codec_of(word: int) -> codecs.Codec:
    level = (word >> _PARAMETER_SHIFT & (1 << 24) - 1) - _PARAMETER_ZERO
    number = word & 0xFF
    return codecs.get(f"zstd:{level}") if number == 2 else codecs.by_id(number)


def default_codec() -> codecs.Codec:
    """lz4 where its package is installed, else none."""
    try:
        return codecs.get("lz4")
    except codecs.CodecMissing:
        return codecs.get("none")


def open_store(cls: type[Store], arena: Arena, name: str, codec: str | None, size: int | str | None) -> Any:
    """What `Arena.store` does: the store of that name, made if absent."""
    limit = 0 if size is None else sizes.parse(size)
    wanted = None if codec is None else codecs.get(codec)
    index = open_index(arena, arena._mapping, name, limit, True)
    word = index.choose_codec(0)
    if not word:
        word = index.choose_codec(_word(wanted or default_codec()))
    if wanted is None:
        return cls(index, _codec_of(word))
    if _word(wanted) != word:
        raise LayoutMismatch(
            f"store {name!r} writes with {_codec_of(word).name}, not {codec}: leave codec out, or say that one"
        )
    return cls(index, wanted)
