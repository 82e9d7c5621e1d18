"""L5: the spill files of a store: stored values outside of memory, found by what entries say of them.

    header   magic, the store's token, the file's number
    bytes    stored values, each where its entry says; and dead ones

The store's path and token are an entry of its own (a reserved key), so every process finds them. Files are PATH.1, PATH.2, ...:
one grows, by `storespill.reserve`; the ones before are there while they are written anew. What an entry says, its stub: how many
bytes, where, in which file, with what codec, and a CRC of key and bytes. A stub is committed after its bytes are written, and
never changes; two of one store that are equal name the same bytes.

Locks, of the file that grows (flock: they end with the process). Shared: from reserving room to committing the stub.
Exclusive: while another file is made the one that grows. So when it is, nobody is about to commit a stub that names the one
before, and once a scan of all keys has found none, it can go. Reading takes no lock: who finds that its file has gone looks at
the key again.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Self

from mempools.errors import Corrupt, PoolError
from mempools.objects import storespill
from mempools.objects.reservedkey import ReservedKey
from mempools.objects.spacekey import SpacedKey
from mempools.objects.storeindex import StoreIndex

SPILLED: int = storespill.SPILLED
_MAGIC = b"mpspill\n"
_HEADER = struct.Struct("<8s16sQ")
_STUB = struct.Struct("<QQIIB7x")  # begins with the bytes: pools/hashentry.pxd
_TOKEN = 16
_PLACE = ReservedKey(b"spill")

Key = str | bytes | SpacedKey  # a ReservedKey has no value that is spilled


@dataclass(frozen=True, slots=True)
class Stub:
    """Where a stored value is."""

    nbytes: int
    offset: int
    number: int
    crc: int
    codec: int

    def pack(self) -> bytes:
        return _STUB.pack(self.nbytes, self.offset, self.number, self.crc, self.codec)


def unpack(key: Key, raw: bytes) -> Stub:
    if len(raw) != _STUB.size:
        raise Corrupt(f"{key!r}: its entry should say where it was spilled to, and has {len(raw)} bytes")
    return Stub(*_STUB.unpack(raw))


def bytes_of(key: Key) -> bytes:
    """As the store has them."""
    if isinstance(key, SpacedKey):
        return key.whole
    return key.encode() if isinstance(key, str) else key


def checksum(key: Key, stored: bytes) -> int:
    return zlib.crc32(stored, zlib.crc32(bytes_of(key)))


# ---- open files


class _File:
    """A file descriptor that ends with its last user."""

    def __init__(self, path: str, flags: int) -> None:
        self.path = path
        self.fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()


_locked: set[_File] = set()


def _forked() -> None:
    """A lock lives as long as any copy of its descriptor: the child has no business with its parent's."""
    while _locked:
        _locked.pop().close()


os.register_at_fork(after_in_child=_forked)


class Files:
    """The spill files of one store, as this process sees them. Thread-safe."""

    def __init__(self, index: StoreIndex) -> None:
        self._index = index
        self._place: tuple[bytes, str] | None = None
        self._open: dict[int, _File] = {}

    # ---- where

    def place(self) -> tuple[bytes, str] | None:
        """The store's token and path; None: it has none."""
        if self._place is None:
            found = self._index.get(_PLACE)
            if found is not None:
                self._place = found[2][:_TOKEN], os.fsdecode(found[2][_TOKEN:])
        return self._place

    def path(self, number: int) -> str:
        return f"{self._known()[1]}.{number}"

    def _known(self) -> tuple[bytes, str]:
        place = self.place()
        if place is None:
            raise PoolError(f"store {self._index.name!r} has no spill file: say where with spill_to(path)")
        return place

    def choose(self, path: str | os.PathLike[str]) -> None:
        """What `Store.spill_to` does. Killed in between it leaves a file, or a path whose file 1 is there: said again, it is
        well."""
        wanted = os.path.abspath(os.fsdecode(path))
        if self.place() is None:
            token = secrets.token_bytes(_TOKEN)
            entry = token + os.fsencode(wanted)
            self._make(f"{wanted}.1", f"{wanted}.1.{os.getpid()}-{secrets.token_hex(4)}.tmp", token, 1)
            done = False
            try:
                done = self._index.put(_PLACE, 0, len(entry), entry, True)
            finally:
                if not done:
                    os.unlink(f"{wanted}.1")
        if self._known()[1] != wanted:
            raise PoolError(f"store {self._index.name!r} spills to {self._known()[1]}, and to no other path")
        self.begin()

    def begin(self) -> None:
        """File 1 grows, if none has yet."""
        if not storespill.grows(self._index)[0]:
            self._checked(_File(self.path(1), os.O_RDONLY), 1)
            storespill.begin(self._index, _HEADER.size)

    # ---- making

    def _make(self, path: str, temporary: str, token: bytes, number: int) -> None:
        """A file with its header, whole or not at all. FileExistsError if there is one of that name."""
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                write_all(fd, _HEADER.pack(_MAGIC, token, number), 0, path)
            finally:
                os.close(fd)
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise FileExistsError(
                    errno.EEXIST, "a store spills to a new file, and this one is there", path
                ) from None
        finally:
            os.unlink(temporary)

    def make_next(self, number: int) -> None:
        """The file of that number, empty, grows. Under the lock of the one before: what is half made was left by one who died,
        and so was a whole file in which nothing is reserved."""
        path = self.path(number)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.tmp")
        try:
            self._make(path, f"{path}.tmp", self._known()[0], number)
        except FileExistsError:
            self._checked(_File(path, os.O_RDONLY), number)
            os.truncate(path, _HEADER.size)
        storespill.next_file(self._index, number, _HEADER.size)

    def _checked(self, file: _File, number: int) -> _File:
        """It must be this store's: the arena's other users have written its path."""
        head = os.pread(file.fd, _HEADER.size, 0) if stat.S_ISREG(os.fstat(file.fd).st_mode) else b""
        if head != _HEADER.pack(_MAGIC, self._known()[0], number):
            raise Corrupt(f"{file.path} is not the spill file {number} of the store {self._index.name!r}")
        return file

    # ---- reading

    def _reading(self, number: int) -> _File:
        file = self._open.get(number)
        if file is None:
            file = self._checked(_File(self.path(number), os.O_RDONLY), number)
            for other in list(self._open):
                if other + 1 < number:
                    self._open.pop(other, None)
            file = self._open.setdefault(number, file)
        return file

    def read(self, key: Key, stub: Stub) -> bytes:
        """The stored bytes. Corrupt if they are not there, or others; OSError. Any thread, no lock."""
        where = (
            f"{key!r}: its {stub.nbytes} stored bytes were spilled to {self.path(stub.number)} at offset {stub.offset}"
        )
        try:
            file = self._reading(stub.number)
        except FileNotFoundError:
            raise Corrupt(f"{where}, and that file is not there") from None
        if stub.nbytes > os.fstat(file.fd).st_size:  # before memory is taken for them
            raise Corrupt(f"{where}, and that file ends before")
        stored = os.pread(file.fd, stub.nbytes, stub.offset)
        while len(stored) < stub.nbytes:
            more = os.pread(file.fd, stub.nbytes - len(stored), stub.offset + len(stored))
            if not more:
                raise Corrupt(f"{where}, and that file ends before")
            stored += more
        if checksum(key, stored) != stub.crc:
            raise Corrupt(f"{where}, and other bytes are there now")
        return stored

    # ---- writing

    def lock(self, how: int) -> "Locked":
        """For `with`: the file that grows, with its lock (LOCK_SH or LOCK_EX)."""
        return Locked(self, self._index, how)

    def older(self, number: int) -> list[str]:
        """Paths of the files of smaller numbers."""
        folder, name = os.path.split(self._known()[1])
        found = []
        for entry in os.listdir(folder):
            base, _, digits = entry.rpartition(".")
            if base == name and digits.isdecimal() and int(digits) < number:
                found.append((os.path.join(folder, entry), int(digits)))
        return [path for path, old in found if self._is_ours(path, old)]

    def _is_ours(self, path: str, number: int) -> bool:
        try:
            self._checked(_File(path, os.O_RDONLY), number)
        except (OSError, Corrupt):
            return False
        return True

    def destroyed(self) -> None:
        """The store is gone: so are its files. `place` has been called while it was there."""
        self._open.clear()
        if self._place is not None:
            self.remove(1 << 64)

    def remove(self, number: int) -> int:
        """Takes away the files of smaller numbers; their bytes. They are emptied too: some process may have them open."""
        nbytes = 0
        for path in self.older(number):
            with contextlib.suppress(FileNotFoundError):  # another is at it
                file = _File(path, os.O_WRONLY)
                os.unlink(path)
                nbytes += os.fstat(file.fd).st_size
                os.ftruncate(file.fd, 0)
        return nbytes


class Locked:
    def __init__(self, files: Files, index: StoreIndex, how: int) -> None:
        self._files, self._index, self._how = files, index, how
        self._file: _File | None = None
        self.number = 0

    def __enter__(self) -> Self:
        self._files.begin()
        while True:
            number = storespill.grows(self._index)[0]
            try:
                file = _File(self._files.path(number), os.O_RDWR)
            except FileNotFoundError:
                if storespill.grows(self._index)[0] != number:
                    continue
                raise
            _locked.add(file)
            try:
                fcntl.flock(file.fd, self._how)
                if storespill.grows(self._index)[0] == number:
                    self._files._checked(file, number)
                    self._file, self.number = file, number
                    return self
            finally:
                if self._file is not file:
                    self._drop(file)

    def append(self, key: Key, codec: int, stored: bytes) -> Stub:
        """Writes a stored value; the stub to commit. OSError: the disk is full, or what else is wrong with it."""
        assert self._file is not None
        number, offset = storespill.reserve(self._index, len(stored))
        write_all(self._file.fd, stored, offset, self._file.path)
        return Stub(len(stored), offset, number, checksum(key, stored), codec)

    def _drop(self, file: _File) -> None:
        _locked.discard(file)
        file.close()

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._drop(self._file)
            self._file = None


def write_all(fd: int, data: Any, offset: int, path: str) -> None:
    rest = memoryview(data)
    try:
        while rest:
            done = os.pwrite(fd, rest, offset)
            rest, offset = rest[done:], offset + done
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
