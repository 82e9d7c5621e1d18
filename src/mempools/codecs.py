"""L5: the codecs of a store, by name and by number.

A codec is an object with

* ``name``: what ``arena.store(codec=...)`` and ``mempools pack --codec`` take;
* ``id``: 1 to 255, stored with each value; 0 means "as it is". Numbers below 16 belong to this module;
* ``compress(data) -> bytes-like`` for any bytes-like object;
* ``decompress(data, nbytes) -> bytes``: exactly `nbytes` bytes, or an exception;
* ``decompress_into(data, buffer)``: the same into a writable, contiguous buffer of exactly the value's size.

A codec is called by several threads at once and never under a lock of the pool. Ready are ``none``, ``lz4`` (block format,
package cramjam) and ``zstd`` or ``zstd:LEVEL`` (standard library from 3.14 on, package backports.zstd before). A library
is imported when its codec is first asked for.
"""

import importlib
import threading
from collections.abc import Callable
from typing import Any, Protocol

from mempools.errors import PoolError
from mempools.objects.filled import filled

_FIRST_FREE_ID = 16
_CHOSEN = 1 << 63
_PARAMETER_SHIFT = 8  # a codec word: CHOSEN, zstd's level + 2**23, the codec's number
_PARAMETER_ZERO = 1 << 23


class Codec(Protocol):
    """May also have `fill(data, buffer, nbytes)`, which decompresses into a buffer of exactly nbytes, keeps no view of either,
    and returns how many bytes it wrote: a Store then lets it read the value where it lies, without a copy."""

    name: str
    id: int

    def compress(self, data: Any, /) -> Any: ...
    def decompress(self, data: Any, nbytes: int, /) -> bytes: ...
    def decompress_into(self, data: Any, buffer: Any, /) -> None: ...


class CodecMissing(PoolError, ImportError):
    """The library that a codec needs is not installed."""


class UnknownCodec(PoolError, LookupError):
    """No codec of that name or number is registered here."""


class _Raw:
    """Values as they are."""

    name = "none"
    id = 0

    def compress(self, data: Any, /) -> Any:
        return data

    def decompress(self, data: Any, nbytes: int, /) -> bytes:
        return bytes(data)

    def decompress_into(self, data: Any, buffer: Any, /) -> None:
        memoryview(buffer).cast("B")[:] = memoryview(data).cast("B")


class _Lz4:
    name = "lz4"
    id = 1

    def __init__(self) -> None:
        try:
            from cramjam import lz4
        except ImportError as error:
            raise CodecMissing("codec 'lz4' needs the package cramjam: pip install 'mempools[lz4]'") from error
        self._compress = lz4.compress_block
        self.fill = lz4.decompress_block_into

    def compress(self, data: Any, /) -> Any:
        return self._compress(data, store_size=False)

    def decompress(self, data: Any, nbytes: int, /) -> bytes:
        # Not decompress_block: when fewer bytes come out than it was told, it fills up with zeros.
        return filled(self.fill, data, nbytes)

    def decompress_into(self, data: Any, buffer: Any, /) -> None:
        if self.fill(data, buffer, len(buffer)) != len(buffer):
            raise ValueError(f"fewer than {len(buffer)} bytes came out")


def _zstd_module() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise CodecMissing("codec 'zstd' needs Python 3.14 or the package backports.zstd: pip install 'mempools[zstd]'")


class _Zstd:
    id = 2

    def __init__(self, level: int | None = None) -> None:
        zstd = _zstd_module()
        low, high = zstd.CompressionParameter.compression_level.bounds()
        if level is None:
            level = zstd.COMPRESSION_LEVEL_DEFAULT
        elif not low <= level <= high:
            raise ValueError(f"zstd has the levels {low} to {high}, not {level}")
        self.name = f"zstd:{level}"
        self._level = level
        self._new = zstd.ZstdCompressor
        self._end_of_frame = zstd.ZstdCompressor.FLUSH_FRAME
        self._decompress = zstd.decompress
        self._per_thread = threading.local()

    def compress(self, data: Any, /) -> Any:
        # A new context costs as much as a 4 KiB value: each thread keeps its own.
        try:
            context = self._per_thread.context
        except AttributeError:
            context = self._per_thread.context = self._new(level=self._level)
        return context.compress(data, self._end_of_frame)

    def decompress(self, data: Any, nbytes: int, /) -> bytes:
        return self._decompress(data)

    def decompress_into(self, data: Any, buffer: Any, /) -> None:
        memoryview(buffer).cast("B")[:] = self._decompress(data)


_builtin: dict[str, Callable[..., Codec]] = {"none": _Raw, "lz4": _Lz4, "zstd": _Zstd}
_builtin_names = {0: "none", 1: "lz4", 2: "zstd"}
_by_name: dict[str, Codec] = {}
_by_id: dict[int, Codec] = {}
_registering = threading.Lock()


def names() -> list[str]:
    """The codecs that can be asked for; a built-in one whose library is missing says so when it is."""
    return sorted({*_builtin, *_by_name})


def get(name: str) -> Codec:
    """The codec of that name. ``UnknownCodec`` when there is none, ``CodecMissing`` when its library is not installed."""
    codec = _by_name.get(name)
    if codec is not None:
        return codec
    base, colon, level = name.partition(":")
    if base not in _builtin or (colon and base != "zstd"):
        raise UnknownCodec(f"no codec is called {name!r}; there are {', '.join(names())}, and zstd:LEVEL")
    if colon:
        try:
            codec = _Zstd(int(level))
        except ValueError as error:
            raise UnknownCodec(f"codec {name!r}: {error}") from None
    else:
        codec = _builtin[base]()
    with _registering:
        _by_id.setdefault(codec.id, codec)
        return _by_name.setdefault(name, codec)


def by_id(number: int) -> Codec:
    """The codec that a stored value names."""
    codec = _by_id.get(number)
    if codec is not None:
        return codec
    if number in _builtin_names:
        return get(_builtin_names[number])
    raise UnknownCodec(f"a value was stored with codec number {number}, which is not registered in this process")


def default() -> Codec:
    """lz4 where its package is installed, else none."""
    try:
        return get("lz4")
    except CodecMissing:
        return get("none")


def word_of(codec: Codec) -> int:
    """A codec, with its level, as a Store or a Zram keeps it in the arena: never 0."""
    level = codec.name.partition(":")[2]
    return _CHOSEN | (int(level or 0) + _PARAMETER_ZERO) << _PARAMETER_SHIFT | codec.id


def of_word(word: int) -> Codec:
    """The codec that `word_of` made the word of."""
    level = (word >> _PARAMETER_SHIFT & (1 << 24) - 1) - _PARAMETER_ZERO
    number = word & 0xFF
    return get(f"zstd:{level}") if number == 2 else by_id(number)


def register(codec: Codec) -> None:
    """Adds a codec to this process's registry. Every process that reads its values has to register it too."""
    if not _FIRST_FREE_ID <= codec.id <= 255:
        raise ValueError(f"a codec's id is {_FIRST_FREE_ID} to 255, not {codec.id}")
    if not codec.name or ":" in codec.name:
        raise ValueError(f"a codec's name is not empty and has no colon, not {codec.name!r}")
    with _registering:
        if codec.name in _builtin or codec.name in _by_name:
            raise ValueError(f"there is a codec called {codec.name!r} already")
        if codec.id in _by_id:
            raise ValueError(f"codec {_by_id[codec.id].name!r} has number {codec.id} already")
        _by_name[codec.name] = codec
        _by_id[codec.id] = codec
