import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mempools.arena import Arena
from mempools.errors import Corrupt, LayoutMismatch
from mempools.layout import mapping, superblock
from mempools.machine import files

NBYTES = 1 << 20
WORDS = {
    "magic": 0,
    "version": 1,
    "byte_order": 2,
    "page_bytes": 3,
    "nbytes": 4,
    "flags": 7,
    "slots": 9,
    "pools": 10,
    "checksum": 15,
    "ready": 16,
}


@pytest.fixture(scope="module")
def image() -> bytes:
    """A whole arena as bytes."""
    with Arena.anonymous(NBYTES) as arena:
        return os.pread(arena._mapping.fd, NBYTES, 0)


def inspect(data: bytes, nbytes: int | None = None) -> superblock.Header:
    fd = files.memory_file("test")
    try:
        os.ftruncate(fd, len(data) if nbytes is None else nbytes)
        os.pwrite(fd, data, 0)
        return superblock.inspect(fd)
    finally:
        os.close(fd)


def with_word(image: bytes, name: str, value: int) -> bytes:
    at = WORDS[name] * 8
    return image[:at] + struct.pack("=Q", value) + image[at + 8 :]


def test_a_good_one(image):
    header = inspect(image)
    assert (header.nbytes, header.persist) == (NBYTES, False)
    assert len(header.id) == 32 and header.created_ns > 0


def test_ids_differ():
    with Arena.anonymous(NBYTES) as first, Arena.anonymous(NBYTES) as second:
        assert first.id != second.id


@pytest.mark.parametrize(
    "name, value, error, text",
    [
        ("magic", 0x736C6F6F706D656D, LayoutMismatch, "other byte order"),
        ("magic", 0, LayoutMismatch, "not an arena: it begins with"),
        ("version", 0, LayoutMismatch, "layout 0, this build of mempools has layout 5"),
        ("version", 1 << 63, LayoutMismatch, "layout 9223372036854775808"),
        ("nbytes", NBYTES * 2, Corrupt, "checksum"),
        ("flags", 1, Corrupt, "checksum"),
        ("checksum", 0, Corrupt, "checksum"),
        ("ready", 0, Corrupt, "never finished"),
    ],
)
def test_each_fault_is_named(image, name, value, error, text):
    with pytest.raises(error, match=text):
        inspect(with_word(image, name, value))


@pytest.mark.parametrize("nbytes", [NBYTES - 4096, NBYTES + 4096, 4096])
def test_another_size_than_it_says(image, nbytes):
    with pytest.raises(Corrupt, match=f"says {NBYTES} bytes, the file has {nbytes}"):
        inspect(image[:4096], nbytes)


@pytest.mark.parametrize("nbytes", [0, 1, 8, superblock.HEADER_NBYTES - 1])
def test_shorter_than_a_superblock(image, nbytes):
    with pytest.raises(LayoutMismatch, match=f"not an arena: {nbytes} bytes"):
        inspect(image[:nbytes])


@given(bit=st.integers(0, 17 * 64 - 1))
@settings(max_examples=300, deadline=None)
def test_any_flipped_bit_is_found(image, bit):
    data = bytearray(image[:4096])
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((LayoutMismatch, Corrupt)):
        inspect(bytes(data), NBYTES)


@given(data=st.binary(max_size=512), keep=st.integers(0, 136))
@settings(max_examples=200, deadline=None)
def test_anything_is_refused_with_a_reason(image, data, keep):
    """Random bytes, with more or less of a true beginning; through the door that users take."""
    fd = files.memory_file("test")
    os.ftruncate(fd, NBYTES)
    os.pwrite(fd, image[:keep] + data, 0)
    if os.pread(fd, 136, 0) == image[:136]:
        os.close(fd)
        return
    with pytest.raises((LayoutMismatch, Corrupt)):
        mapping.attach(fd)
