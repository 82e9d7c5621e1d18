"""L5: the zstd dictionaries of a store: trained on its values, kept in it, found by every process.

A value that was compressed with a dictionary has codec number 3; its stored bytes are the dictionary's number, a byte, and
then a zstd frame without its first four bytes, which are the same for all. An entry with a dictionary is a header, then the
dictionary as zstd makes it.
"""

import itertools
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mempools import codecs
from mempools.errors import Corrupt, PoolError
from mempools.objects import storescan, storewords
from mempools.objects.reservedkey import ReservedKey
from mempools.objects.storeindex import StoreIndex
from mempools.objects.worker import Worker
from mempools.spillfile import SPILLED

ZSTD, WITH_DICTIONARY = 2, 3  # codec numbers
MAX_DICTIONARIES = 255
_MAGIC = b"\x28\xb5\x2f\xfd"
_HEADER = struct.Struct(
    "<IIQQQ"
)  # version, samples, their bytes: as they are, compressed without, and with the dictionary
_VERSION = 1
LARGEST = 1 << 16  # bytes of a value that a dictionary is used for: it knows beginnings
_SAMPLES_PER_BYTE = 100  # zstd's advice: bytes of samples for a byte of dictionary
# Of samples: bytes of one, how many, bytes of all. zstd 1.5 crashes where three quarters of them have ten bytes in all.
_LEAST, _LEAST_SAMPLES, _LEAST_BYTES = 8, 8, 1024
_FIRST_TRAINING = 1000  # values
_MEASURED = 500  # samples that are compressed with and without it
DEFAULT_NBYTES = 32768


@dataclass(frozen=True)
class DictionaryInfo:
    """A dictionary of a store; all but `number` and `nr_samples` in bytes.

    `nbytes`: of the dictionary. `nr_samples`: values that it was trained on. `sample_bytes`: some hundred of these,
    `plain_bytes`: the same compressed without it, `stored_bytes`: with it, each by itself."""

    number: int
    nbytes: int
    nr_samples: int
    sample_bytes: int
    plain_bytes: int
    stored_bytes: int

    @property
    def ratio_before(self) -> float:
        """Bytes of values per stored byte, without the dictionary."""
        return self.sample_bytes / self.plain_bytes if self.plain_bytes else 0.0

    @property
    def ratio_after(self) -> float:
        """The same with it. Of the samples, which it knows best."""
        return self.sample_bytes / self.stored_bytes if self.stored_bytes else 0.0


class Dictionary:
    """One of them, ready for use. Thread-safe."""

    def __init__(self, number: int, raw: bytes, level: int) -> None:
        zstd = codecs._zstd_module()
        parameter = zstd.CompressionParameter
        self.number = number
        self.raw = raw
        self._prefix = bytes([number])
        self._dictionary = zstd.ZstdDict(raw)
        self._options = {parameter.compression_level: level, parameter.dict_id_flag: 0}
        self._new = zstd.ZstdCompressor
        self._end_of_frame = zstd.ZstdCompressor.FLUSH_FRAME
        self._decompress = zstd.decompress
        self._digested = self._dictionary.as_digested_dict
        self._per_thread = threading.local()

    def compress(self, data: Any) -> bytes:
        try:
            context = self._per_thread.context
        except AttributeError:
            context = self._per_thread.context = self._new(options=self._options, zstd_dict=self._digested)
        frame: bytes = context.compress(data, self._end_of_frame)
        return self._prefix + frame[4:]

    def decompress(self, stored: bytes) -> bytes:
        value: bytes = self._decompress(_MAGIC + stored[1:], self._digested)
        return value


def key_of(number: int) -> ReservedKey:
    return ReservedKey(b"dictionary %d" % number)


class Dictionaries:
    """A store's dictionaries, as this process knows them; a codec too, of values that were compressed with one. Thread-safe."""

    name = "zstd with a dictionary"
    id = WITH_DICTIONARY

    def __init__(self, index: StoreIndex, codec: codecs.Codec) -> None:
        self._index = index
        self._codec = codec
        self._known: dict[int, Dictionary] = {}
        self._infos: dict[int, DictionaryInfo] = {}
        self._lengths: dict[int, int] = {}
        self._counting: Iterator[int] | None = None
        self._next_training = 0
        self._worker = Worker()

    # ---- a codec

    def encode(self, value: Any, nbytes: int) -> tuple[int, Any]:
        """The number of a codec, and what it makes of the value: with the current dictionary if there is one."""
        number = storewords.dictionary(self._index)
        if number:
            if nbytes <= LARGEST:
                found = self._known.get(number) or self._find(number)
                if found is not None:
                    return WITH_DICTIONARY, found.compress(value)
        elif self._counting is not None and next(self._counting) >= self._next_training:
            self._train_aside()
        return self._codec.id, self._codec.compress(value)

    def of(self, codec: codecs.Codec) -> Dictionary | None:
        """The current dictionary for another level of zstd than the store's."""
        number = storewords.dictionary(self._index) if codec.id == ZSTD else 0
        found = self._known.get(number) or self._find(number) if number else None
        return Dictionary(number, found.raw, int(codec.name.partition(":")[2] or 0)) if found is not None else None

    def decompress(self, data: bytes, nbytes: int, /) -> bytes:
        number = data[0]
        found = self._known.get(number) or self._find(number)
        if found is None:
            raise ValueError(f"the store has no dictionary {number}")
        return found.decompress(data)

    def decompress_into(self, data: bytes, buffer: Any, /) -> None:
        memoryview(buffer).cast("B")[:] = self.decompress(data, 0)

    def compress(self, data: Any, /) -> Any:
        raise TypeError("encode() compresses with the dictionary that is current then")

    # ---- what there is

    def _find(self, number: int) -> Dictionary | None:
        """The dictionary of that number, read from the store. Corrupt if it is none."""
        entry = self._index.get(key_of(number))
        if entry is None:
            return None
        raw = entry[2]
        if len(raw) <= _HEADER.size or _HEADER.unpack_from(raw)[0] != _VERSION or entry[0]:
            raise Corrupt(f"store {self._index.name!r}: entry {key_of(number)!r} is no dictionary of this build's")
        level = self._codec.name.partition(":")[2]
        try:
            found = Dictionary(number, raw[_HEADER.size :], int(level or 0))
        except ValueError as error:
            raise Corrupt(f"store {self._index.name!r}: dictionary {number}: {error}") from error
        self._infos[number] = DictionaryInfo(number, len(found.raw), *_HEADER.unpack_from(raw)[1:])
        return self._known.setdefault(number, found)

    def info(self, number: int) -> DictionaryInfo | None:
        if number not in self._infos:
            self._find(number)
        return self._infos.get(number)

    def current(self) -> DictionaryInfo | None:
        """None: new values are compressed without."""
        number = storewords.dictionary(self._index) if self._codec.id == ZSTD else 0
        return self.info(number) if number else None

    def nr_held(self) -> int:
        """How many entries are dictionaries, also one that is not current yet."""
        nr = 0
        while self._index.contains(key_of(nr + 1)):
            nr += 1
        return nr

    def nr_bytes(self) -> int:
        """Of all of them."""
        numbers = range(1, self.nr_held() + 1)
        for number in numbers:
            if number not in self._lengths:
                self._lengths[number] = len(self.entry(number) or b"")
        return sum(self._lengths[number] for number in numbers)

    def entry(self, number: int) -> bytes | None:
        """As it is stored: for `save`."""
        found = self._index.get(key_of(number))
        return None if found is None else found[2]

    # ---- new ones

    def add(self, entry: bytes) -> int:
        """A dictionary's number in this store: of the one that is like it, or it is made the current one."""
        if len(entry) <= _HEADER.size or _HEADER.unpack_from(entry)[0] != _VERSION:
            raise Corrupt("a dictionary of another format")
        for number in range(1, MAX_DICTIONARIES + 1):
            there = self.entry(number)
            if there is None and not self._index.put(key_of(number), 0, len(entry), entry, True):
                there = self.entry(number)
            storewords.next_dictionary(self._index, number)  # also for one who was killed before this
            if there is None or there == entry:
                return number
        raise PoolError(f"store {self._index.name!r} has {MAX_DICTIONARIES} dictionaries, and cannot have more")

    def train(self, samples: Iterable[Any] | None, nbytes: int, *, only_first: bool = False) -> int:
        """What `Store.train` does; with `only_first` 0 if there is a dictionary by now."""
        if self._codec.id != ZSTD:
            raise PoolError(f"store {self._index.name!r} writes with {self._codec.name}: dictionaries are zstd's")
        zstd = codecs._zstd_module()
        taken = [bytes(memoryview(sample)) for sample in (self.sample(nbytes) if samples is None else samples)]
        taken = [sample[:LARGEST] for sample in taken if len(sample) >= _LEAST]
        if len(taken) < _LEAST_SAMPLES or sum(map(len, taken)) < _LEAST_BYTES:
            raise ValueError(
                f"{len(taken)} samples of {sum(map(len, taken))} bytes are too few for a dictionary: at least {_LEAST_SAMPLES}, "
                f"of {_LEAST} bytes each and {_LEAST_BYTES} in all, are needed"
            )
        try:
            raw = zstd.train_dict(taken, nbytes).dict_content
        except zstd.ZstdError as error:
            raise ValueError(
                f"{len(taken)} samples of {sum(map(len, taken))} bytes give no dictionary: {error}"
            ) from None
        trained = Dictionary(1, raw, int(self._codec.name.partition(":")[2] or 0))
        sizes = [
            (
                len(sample),
                min(len(self._codec.compress(sample)), len(sample)),
                min(len(trained.compress(sample)), len(sample)),
            )
            for sample in taken[:: -(-len(taken) // _MEASURED)]
        ]
        entry = _HEADER.pack(_VERSION, len(taken), *(sum(column) for column in zip(*sizes, strict=True))) + raw
        if only_first and self._index.contains(key_of(1)):
            storewords.next_dictionary(self._index, 1)
            return 0
        return self.add(entry)

    def sample(self, nbytes: int) -> Iterator[bytes]:
        """Values enough for a dictionary of nbytes: those of the first buckets, for keys are in buckets by their hashes."""
        left = nbytes * _SAMPLES_PER_BYTE
        cursor = 0
        while cursor < self._index.scan_end:
            cursor, keys = storescan.scan(self._index, cursor, storescan.ALL)
            for key in keys:
                found = self._index.get(key)
                if found is None or found[0] == SPILLED:  # deleted since; or in a file, and cold
                    continue
                value = self._decoded(*found)[:LARGEST]
                yield value
                left -= len(value)
                if left <= 0:
                    return

    def _decoded(self, number: int, nbytes: int, stored: bytes) -> bytes:
        if number == WITH_DICTIONARY:
            return self.decompress(stored, nbytes)
        return codecs.by_id(number).decompress(stored, nbytes) if number else stored

    # ---- by itself

    def train_by_itself(self) -> None:
        """From now on count what is put through this object, and train a first dictionary when it is time."""
        if self._codec.id != ZSTD:
            raise PoolError(f"store {self._index.name!r} writes with {self._codec.name}: dictionaries are zstd's")
        self._next_training = _FIRST_TRAINING
        self._counting = itertools.count(1)

    def _train_aside(self) -> None:
        """In a thread, which this process has at most one of. Too few bytes yet: again after four times as many values."""
        ticket = object()
        if self._worker.take(ticket) is not ticket:
            return

        def run() -> None:
            try:
                self.train(None, DEFAULT_NBYTES, only_first=True)
                self._counting = None
            except (PoolError, ValueError, MemoryError):
                self._next_training *= 4
            finally:
                self._worker.end()

        try:
            self._worker.start(run)
        except RuntimeError:
            self._worker.end()
