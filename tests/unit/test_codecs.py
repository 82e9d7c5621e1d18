import sys
import threading
import zlib

import pytest

from mempools import Arena, codecs
from mempools.errors import PoolError
from mempools.objects.filled import filled

VALUES = [b"", b"x", b"abc" * 1000, bytes(range(256)) * 16, bytes(1 << 20)]


def available(name):
    try:
        return codecs.get(name)
    except codecs.CodecMissing:
        pytest.skip(f"{name} is not installed")


@pytest.fixture(params=["none", "lz4", "zstd", "zstd:3", "zstd:-1"])
def codec(request):
    return available(request.param)


@pytest.fixture
def clean_registry(monkeypatch):
    monkeypatch.setattr(codecs, "_by_name", {})
    monkeypatch.setattr(codecs, "_by_id", {})


@pytest.mark.parametrize("value", VALUES, ids=len)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_round_trip(codec, value, kind):
    stored = bytes(codec.compress(kind(value)))
    assert codec.decompress(stored, len(value)) == value
    buffer = bytearray(len(value))
    codec.decompress_into(stored, buffer)
    assert buffer == value


def test_compresses(codec):
    if codec.id:
        assert len(codec.compress(b"abc" * 1000)) < 100


@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_garbage_is_an_exception(name):
    codec = available(name)
    for garbage in (b"\xff" * 50, bytes(codec.compress(b"abc" * 100))[:7]):
        with pytest.raises(Exception, match="."):
            codec.decompress(bytes(garbage), 300)


def test_filled_bytes_are_whole_or_an_exception():
    def fill(data, view, nbytes):
        memoryview(view)[: len(data)] = data
        return len(data)

    assert filled(fill, b"abc", 3) == b"abc"
    assert filled(fill, b"", 0) == b""
    with pytest.raises(ValueError, match="3 bytes came out, not 4"):
        filled(fill, b"abc", 4)
    with pytest.raises(ValueError):
        filled(fill, b"abc", 2)
    with pytest.raises(SystemError):
        filled(fill, b"", -1)
    kept = []
    with pytest.raises(BufferError):
        filled(lambda data, view, nbytes: kept.append(memoryview(view)) or nbytes, b"", 5)


def test_levels_share_a_number():
    available("zstd")
    assert codecs.get("zstd:19").id == codecs.get("zstd").id
    assert codecs.get("zstd:19") is codecs.get("zstd:19")


@pytest.mark.parametrize("name", ["lzma", "", "zstd:", "zstd:high", "lz4:1"])
def test_unknown(name):
    with pytest.raises(codecs.UnknownCodec, match="codec"):
        codecs.get(name)


def test_levels_have_bounds():
    available("zstd")
    with pytest.raises(codecs.UnknownCodec, match="not 4000"):
        codecs.get("zstd:4000")


@pytest.mark.parametrize(("name", "modules"), [("lz4", ["cramjam"]), ("zstd", ["compression.zstd", "backports.zstd"])])
def test_missing_library_says_what_to_install(name, modules, monkeypatch, clean_registry):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'mempools\[{name}\]'") as caught:
        codecs.get(name)
    assert isinstance(caught.value, PoolError)


class Reversed:
    name = "reversed"
    id = 200

    def compress(self, data):
        return bytes(data)[::-1]

    def decompress(self, data, nbytes):
        return bytes(data)[::-1]

    def decompress_into(self, data, buffer):
        buffer[:] = bytes(data)[::-1]


def test_register(clean_registry):
    with pytest.raises(codecs.UnknownCodec):
        codecs.by_id(200)
    mine = Reversed()
    codecs.register(mine)
    assert codecs.get("reversed") is mine
    assert codecs.by_id(200) is mine
    assert "reversed" in codecs.names()
    with pytest.raises(ValueError, match="already"):
        codecs.register(Reversed())


class InPlace:
    """Reads what is stored where it lies; keeps a view of it, or fails, if it is told to."""

    name = "inplace"
    id = 201

    def __init__(self):
        self.mode = "good"
        self.kept = []

    def compress(self, data):
        return zlib.compress(data)

    def decompress(self, data, nbytes):
        return zlib.decompress(data)

    def decompress_into(self, data, buffer):
        buffer[:] = zlib.decompress(data)

    def fill(self, data, buffer, nbytes):
        value = zlib.decompress(data)
        memoryview(buffer)[:] = value
        if self.mode == "keeps its source":
            self.kept.append(memoryview(data))
        if self.mode == "keeps its buffer":
            self.kept.append(memoryview(buffer))
        if self.mode == "raises":
            raise RuntimeError
        return nbytes - (self.mode == "writes less")


@pytest.mark.parametrize("mode", ["good", "keeps its source", "keeps its buffer", "raises", "writes less"])
@pytest.mark.parametrize("nbytes", [300, 50_000, 200_000])
def test_a_codec_may_read_where_the_bytes_lie(clean_registry, mode, nbytes):
    codec = InPlace()
    codecs.register(codec)
    store = Arena.anonymous("2M").store("values", codec="inplace")
    value = bytes(range(200)) * (nbytes // 200)
    store["k"] = value
    stored = zlib.compress(value)
    codec.mode = mode
    assert store["k"] == value
    buffer = bytearray(nbytes + 3)
    assert store.get_into("k", buffer) == len(value)
    assert buffer[: len(value)] == value
    with pytest.raises(ValueError, match="the buffer only"):
        store.get_into("k", bytearray(len(value) - 1))
    store["k"] = b"new"
    assert store["k"] == b"new"
    store.compact()
    if mode == "keeps its source":
        assert all(view == stored for view in codec.kept), "an entry that is looked at stays"
        codec.kept.clear()
    else:
        store.check()


@pytest.mark.parametrize(("name", "number"), [("mine", 3), ("mine", 256), ("lz4", 200), ("a:b", 200), ("", 200)])
def test_register_refuses(name, number, clean_registry):
    codec = Reversed()
    codec.name, codec.id = name, number
    with pytest.raises(ValueError, match="codec"):
        codecs.register(codec)


def test_by_id_finds_builtin_codecs(clean_registry):
    available("lz4"), available("zstd")
    assert [codecs.by_id(number).name.partition(":")[0] for number in (0, 1, 2)] == ["none", "lz4", "zstd"]


def test_zstd_from_several_threads():
    codec = available("zstd")
    failures = []

    def work(seed):
        value = bytes([seed]) * 5000
        for _ in range(50):
            if codec.decompress(codec.compress(value), 5000) != value:
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
