"""L5: a store in a file, and back: `Store.save`, `Store.load`, `Store.restore`.

    head     magic, version, bytes of the codec's name; the name; a CRC of both
    records  CRC of the rest, what it is, codec number, bytes of the key, of what is stored, of the value; if it has one, the
             expiry; the key; what is stored
    end      CRC of the rest, END, how many values; a digest of all before

All little-endian. An expiry is in milliseconds of the wall clock, which goes on while nobody has the store. Format 1 has none,
and no namespaces. Values are as they are stored: neither writing nor reading compresses. A dictionary comes as a record before
the first value that was compressed with it; its key is its number, which may be another in the store that reads it. So does a
namespace before its first value: its key is its id, what is stored its name. Keys of its values begin with the id, and are of
kinds of their own. A file is written under another name and renamed when it is whole and on the disk. It is read twice: once to
see that every byte of it is as it was written, and then into the store.
"""

import contextlib
import hashlib
import math
import os
import secrets
import stat
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from mempools import spilling
from mempools.dictionaries import WITH_DICTIONARY
from mempools.errors import BadSnapshot, Exhausted
from mempools.objects import storescan
from mempools.objects.spacekey import spaced_key
from mempools.spaces import checked
from mempools.spillfile import SPILLED

_MAGIC = b"mpstore\n"
_VERSION = 2
_HEAD = struct.Struct("<8sIH")
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<IBBHII")
_EXPIRY = struct.Struct("<Q")
_END = struct.Struct("<IBxxxQ")
_DIGEST = 16
_BYTES, _STR, _DICTIONARY, _SPACE, _FINISH = 0, 1, 2, 3, 255
_SPACED, _ID_BYTES = 4, 4  # beside _BYTES or _STR: of a namespace, whose id comes first
_TIMED = 64  # likewise: it has an expiry
_MOST = 1 << 30


@dataclass(slots=True)
class _Record:
    kind: int
    codec: int
    key: bytes
    nbytes: int  # of the value
    stored: bytes
    expiry: int  # 0: never

    @property
    def is_value(self) -> bool:
        return self.kind not in (_DICTIONARY, _SPACE)


# ---- writing


class _Writer:
    def __init__(self, file: IO[bytes], codec: str) -> None:
        self._file = file
        self._digest = hashlib.blake2b(digest_size=_DIGEST)
        name = codec.encode()
        head = _HEAD.pack(_MAGIC, _VERSION, len(name)) + name
        self._put(head + _CRC.pack(zlib.crc32(head)))

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)

    def record(self, kind: int, codec: int, key: bytes, nbytes: int, stored: bytes, ttl: float | None = None) -> None:
        if ttl is not None:
            kind |= _TIMED
        head = _RECORD.pack(0, kind, codec, len(key), len(stored), nbytes)[4:]
        if ttl is not None:
            head += _EXPIRY.pack(max(0, round((time.time() + ttl) * 1000)))
        crc = zlib.crc32(stored, zlib.crc32(key, zlib.crc32(head)))
        self._put(_CRC.pack(crc) + head + key)
        self._put(stored)

    def end(self, count: int) -> None:
        rest = _END.pack(0, _FINISH, count)[4:] + self._digest.digest()
        self._file.write(_CRC.pack(zlib.crc32(rest)) + rest)


def save(store: Any, path: str | os.PathLike[str]) -> int:
    """What `Store.save` does."""
    real = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(real)
    temporary = f"{real}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", buffering=1 << 20) as file:
            spaces = store._spaces.ids()
            count = _write(store, spaces, _Writer(file, store.codec))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, real)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return count


def _keys(store: Any, spaces: dict[int, str]) -> Iterator[tuple[Any, int, bytes]]:
    """Each key, as an index takes it, and its kind and bytes in a file, but for those of namespaces that were dropped."""
    cursor = 0
    while cursor < store._index.scan_end:
        cursor, keys = storescan.scan(store._index, cursor, storescan.ALL)
        for key in keys:
            if isinstance(key, str):
                yield key, _STR, key.encode()
            elif isinstance(key, bytes):
                yield key, _BYTES, key
            elif key.id in spaces:
                kind = _SPACED | (_STR if key.is_str else _BYTES)
                yield key, kind, key.whole


def _write(store: Any, spaces: dict[int, str], writer: _Writer) -> int:
    count = 0
    written: set[int] = set()
    for id, name in spaces.items():
        writer.record(_SPACE, 0, id.to_bytes(_ID_BYTES, "little"), len(name.encode()), name.encode())
    for key, kind, raw in _keys(store, spaces):
        found = store._index.get_timed(key)
        if found is None:  # deleted since
            continue
        number, nbytes, stored, ttl = found
        if number == SPILLED:
            try:
                number, nbytes, stored = spilling.fetch(store, key, nbytes, stored, promote=False)
            except KeyError:
                continue
        if number == WITH_DICTIONARY and stored and stored[0] not in written:
            entry = store._dictionaries.entry(stored[0])
            if entry is not None:  # else the value cannot be read, here or there
                writer.record(_DICTIONARY, 0, stored[:1], len(entry), entry)
            written.add(stored[0])
        writer.record(kind, number, raw, nbytes, stored, ttl)
        count += 1
    writer.end(count)
    return count


# ---- reading


class _Reader:
    """The records of a file, each held against its checksum, and the whole against the end's."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self._file = file
        self._path = path
        self._left = os.fstat(file.fileno()).st_size
        self._digest = hashlib.blake2b(digest_size=_DIGEST)
        head = self._take(_HEAD.size)
        magic, version, nbytes = _HEAD.unpack(head)
        if magic != _MAGIC:
            raise self._bad("it does not begin like one")
        if not 1 <= version <= _VERSION:
            raise self._bad(f"it has format {version}, this build reads those up to {_VERSION}")
        head += self._take(nbytes)
        if _CRC.unpack(self._take(4))[0] != zlib.crc32(head):
            raise self._bad("its head is damaged")
        self.codec = head[_HEAD.size :].decode("utf-8", "replace")

    def _bad(self, what: str) -> BadSnapshot:
        return BadSnapshot(f"{self._path} is no whole snapshot of a store: {what}")

    def _take(self, nbytes: int) -> bytes:
        if nbytes > self._left:
            raise self._bad("it ends too early")
        data = self._file.read(nbytes)
        if len(data) != nbytes:
            raise self._bad("it has been shortened meanwhile")
        self._left -= nbytes
        self._digest.update(data)
        return data

    def records(self) -> Iterator[_Record]:
        count = 0
        spaces: set[bytes] = set()
        while True:
            digest = self._digest.digest()
            head = self._take(_RECORD.size)
            if head[4] == _FINISH:
                self._check_end(head, count, digest)
                return
            crc, kind, codec, nr_key, nr_stored, nbytes = _RECORD.unpack(head)
            expiry = 0
            if kind & _TIMED:
                kind &= ~_TIMED
                more = self._take(_EXPIRY.size)
                expiry = max(1, _EXPIRY.unpack(more)[0])
                head += more
            if kind not in (_BYTES, _STR, _DICTIONARY, _SPACE, _SPACED | _BYTES, _SPACED | _STR):
                raise self._bad(f"after {count} values comes something unknown")
            if nr_key + nr_stored > self._left:
                raise self._bad("it ends too early")
            key, stored = self._take(nr_key), self._take(nr_stored)
            if crc != zlib.crc32(stored, zlib.crc32(key, zlib.crc32(head[4:]))):
                raise self._bad(f"after {count} values comes one whose checksum is wrong")
            record = _Record(kind, codec, key, nbytes, stored, expiry)
            if not _makes_sense(record, spaces):
                raise self._bad(f"after {count} values comes one that no store has written")
            count += record.is_value
            yield record

    def _check_end(self, head: bytes, count: int, digest: bytes) -> None:
        crc, _, said = _END.unpack(head)
        rest = self._take(_DIGEST)
        if crc != zlib.crc32(head[4:] + rest) or rest != digest:
            raise self._bad("its checksum is wrong")
        if said != count:
            raise self._bad(f"it has {count} values, and its end says {said}")
        if self._left:
            raise self._bad(f"{self._left} bytes come after its end")


def _makes_sense(record: _Record, spaces: set[bytes]) -> bool:
    """A checksum says only that whoever wrote the file meant it."""
    if record.kind == _DICTIONARY:
        return len(record.key) == 1 and record.key != b"\0" and not record.expiry
    if record.kind == _SPACE and len(record.key) != _ID_BYTES:
        return False
    try:
        if record.kind == _SPACE:
            spaces.add(record.key)
            checked(record.stored.decode())
        elif record.kind & _SPACED and record.key[:_ID_BYTES] not in spaces:
            return False
        elif record.kind & _STR:
            record.key[_ID_BYTES if record.kind & _SPACED else 0 :].decode()
    except ValueError:
        return False
    if record.codec == 0 and record.nbytes != len(record.stored):
        return False
    return max(record.nbytes, len(record.stored)) <= _MOST


def _open(path: str | os.PathLike[str]) -> IO[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BadSnapshot(f"{os.fsdecode(path)} is no file")
    return open(fd, "rb", buffering=1 << 20)


def read_through(path: str | os.PathLike[str]) -> tuple[str, int, int]:
    """The codec of the store that was saved, how many values, and the bytes of their entries. BadSnapshot if it is not whole."""
    count = nbytes = 0
    with _open(path) as file:
        reader = _Reader(file, os.fsdecode(path))
        for record in reader.records():
            count += record.is_value
            nbytes += 64 + len(record.key) + len(record.stored) + 64
        return reader.codec, count, nbytes


def load(store: Any, path: str | os.PathLike[str], replace: bool) -> int:
    """What `Store.load` does."""
    _, count, _ = read_through(path)
    put = 0
    numbers: dict[int, int] = {}
    spaces: dict[bytes, int] = {}
    try:
        with _open(path) as file:
            for record in _Reader(file, os.fsdecode(path)).records():
                stored = record.stored
                if record.kind == _DICTIONARY:
                    numbers[record.key[0]] = store._dictionaries.add(stored)
                    continue
                if record.kind == _SPACE:
                    spaces[record.key] = store.namespace(stored.decode())._index.id
                    continue
                if record.codec == WITH_DICTIONARY and stored:
                    number = numbers.get(stored[0], 0)
                    if number != stored[0]:
                        stored = bytes([number]) + stored[1:]
                key: Any = record.key
                if record.kind & _SPACED:
                    key = key[_ID_BYTES:]
                if record.kind & _STR:
                    key = key.decode()
                if record.kind & _SPACED:
                    key = spaced_key(spaces[record.key[:_ID_BYTES]], key)
                ttl = record.expiry / 1000 - time.time() if record.expiry else math.inf
                if ttl > 0:
                    put += store._index.put(key, record.codec, record.nbytes, stored, not replace, ttl)
    except Exhausted as error:
        raise Exhausted(
            f"{os.fsdecode(path)}: {put} of its {count} values were put into {store!r}, the others were not: {error}"
        ) from None
    except BadSnapshot as error:
        raise BadSnapshot(f"{put} of the values were put into {store!r}, but then: {error}") from None
    return put
