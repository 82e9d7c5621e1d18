"""L5: StoreMapping: what a Store and a Namespace of it have in common: a mapping, and codecs."""

from abc import abstractmethod
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any

from mempools import codecs, spilling
from mempools.dictionaries import WITH_DICTIONARY, ZSTD, Dictionaries
from mempools.errors import Corrupt
from mempools.objects import storespill
from mempools.spillfile import SPILLED

if TYPE_CHECKING:
    from mempools.store import Store

Key = str | bytes

_missing: Any = object()


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
    """Keys, values, codecs."""

    _index: Any  # a StoreIndex, or a SpaceIndex
    _prefix = b""  # of its keys in the store

    @property
    @abstractmethod
    def _owner(self) -> "Store":
        """The store itself, or whose namespace it is."""

    def _begin(self, index: Any, codec: codecs.Codec, dictionaries: Dictionaries) -> None:
        self._index = index
        self._get_filled = index.get_filled
        self._put_stored = index.put
        self._codec = codec
        self._number = codec.id
        self._compress = codec.compress
        # Of some codecs: decompresses into a buffer, and returns how many bytes.
        self._fill = getattr(codec, "fill", None)
        self._dictionaries = dictionaries

    # ---- the mapping

    def __getitem__(self, key: Key) -> bytes:
        found = self._get_filled(key, self._number, self._fill)
        if isinstance(found, bytes):
            return found
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

    def put(self, key: Key, value: Any, *, ttl: float | None = None) -> None:
        """As `store[key] = value`, with a time to live of its own: seconds, above 0; math.inf: for ever; None: as `Arena.store`
        was told. From that moment on, to within 17 ms, never before, the key is absent. Thread-safe, process-safe."""
        nbytes = memoryview(value).nbytes
        number, stored = self._encode(value, nbytes)
        self._put_stored(key, number, nbytes, stored, False, ttl)

    def _encode(self, value: Any, nbytes: int) -> tuple[int, Any]:
        """The number of a codec, and what it makes of the value; or the value itself if that is not smaller."""
        if self._number == ZSTD:
            number, stored = self._dictionaries.encode(value, nbytes)
        else:
            number, stored = self._number, self._compress(value)
        return (number, stored) if len(stored) < nbytes else (0, value)

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

    def _name_of(self, key: Key) -> Any:
        """The key as the store's own index takes it."""
        return key

    def _fetch(self, key: Key, nbytes: int, stub: bytes) -> spilling.Stored:
        """From the spill file; KeyError if the key is gone meanwhile."""
        try:
            return spilling.fetch(self._owner, self._name_of(key), nbytes, stub)
        except KeyError:
            raise KeyError(key) from None

    def _decode(self, key: Key, number: int, nbytes: int, stored: bytes) -> bytes:
        """A value from what is stored; Corrupt if that is not what the codec has made."""
        if number == SPILLED:
            number, nbytes, stored = self._fetch(key, nbytes, stored)
            if not number:
                return stored
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
        if storespill.grows(self._owner._index)[0]:
            found = spilling.pop(self._owner, self._name_of(key))
        else:
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
            number, stored = self._encode(default, nbytes)
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
        found = self._index.get_raw_into(key, buffer, self._number, self._fill)
        if found is None:
            raise KeyError(key)
        number, nbytes, stored = found
        if stored is None:
            return nbytes
        if number == SPILLED:
            number, nbytes, stored = self._fetch(key, nbytes, stored)
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

    # ---- time to live

    def ttl(self, key: Key) -> float | None:
        """Seconds that an entry has left to live, None: for ever. KeyError if there is none. This is not a read for `evict`.
        Thread-safe, process-safe; takes no lock."""
        found = self._index.ttl(key)
        if found is None:
            raise KeyError(key)
        seconds: float | None = found[0]
        return seconds

    def touch(self, key: Key, ttl: float | None = None) -> None:
        """Give an entry another time to live, from now on, and leave its value: as in `put`. KeyError if there is none, or it has
        expired by now. One step for all others. Thread-safe, process-safe."""
        if not self._index.touch(key, ttl):
            raise KeyError(key)
