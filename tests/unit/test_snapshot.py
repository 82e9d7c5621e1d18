"""A store in a file and back: whole, or not at all and told."""

import os
import random
import struct

import pytest
from children import start, status_of
from fastcodec import LZ4

import mempools as mp
from mempools import codecs, snapshot


@pytest.fixture
def store(arena):
    return arena.store("s", codec="none")


@pytest.fixture
def other():
    with mp.Arena("1M") as arena:
        yield arena.store("other", codec="none")
        arena.check()


ENTRIES = {"a": b"1", b"a": b"two", "": b"", "é" * 100: bytes(1000), b"\xff\0": b"\0" * 70000, "x" * 65535: b"long key"}


@pytest.fixture
def small(store, tmp_path):
    store.update({"key": b"value", b"other": b"x" * 40})
    path = tmp_path / "small"
    assert store.save(path) == 2
    return path


def stored(store):
    return {key: store._index.get(key) for key in store}


@pytest.mark.parametrize("codec", ["none", LZ4, "zstd:5"])
def test_round_trip(arena, other, tmp_path, codec):
    store = arena.store("s", codec=codec)
    store.update(ENTRIES)
    assert store.save(tmp_path / "f") == len(ENTRIES)
    assert os.listdir(tmp_path) == ["f"]
    assert os.stat(tmp_path / "f").st_mode & 0o777 == 0o600
    assert other.load(tmp_path / "f") == len(ENTRIES)
    assert stored(other) == stored(store)
    assert dict(other) == ENTRIES
    again = mp.Store.restore(tmp_path / "f", other.arena, "again")
    assert again.codec == codec
    assert dict(again) == ENTRIES


def test_an_empty_store(store, other, tmp_path):
    assert store.save(str(tmp_path / "f")) == 0
    assert other.load(os.fsencode(tmp_path / "f")) == 0


def test_replace_or_keep(store, other, small):
    other.update({"key": b"mine", "more": b"mine"})
    assert other.load(small, replace=False) == 1
    assert dict(other) == {"key": b"mine", "more": b"mine", b"other": b"x" * 40}
    assert other.load(small) == 2
    assert dict(other) == {"key": b"value", "more": b"mine", b"other": b"x" * 40}


def test_saving_replaces_a_file_in_one_step(store, small):
    before = small.read_bytes()
    with open(small, "rb") as reader:
        store["third"] = b"3"
        assert store.save(small) == 3
        assert reader.read() == before
    assert small.read_bytes() != before


def test_a_link_leads_to_the_file_that_is_replaced(store, small, other):
    link = small.parent / "link"
    link.symlink_to(small)
    store["third"] = b"3"
    store.save(link)
    assert link.is_symlink()
    assert other.load(small) == 3


def test_every_truncation_is_told_and_nothing_is_loaded(other, small):
    whole = small.read_bytes()
    for length in range(len(whole)):
        small.write_bytes(whole[:length])
        with pytest.raises(mp.BadSnapshot, match="whole snapshot"):
            other.load(small)
    assert len(other) == 0


def test_every_changed_byte_is_told_and_nothing_is_loaded(other, small):
    whole = bytearray(small.read_bytes())
    for i in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            whole[i] ^= flip
            small.write_bytes(whole)
            with pytest.raises(mp.BadSnapshot):
                other.load(small)
            whole[i] ^= flip
    assert len(other) == 0
    small.write_bytes(whole)
    assert other.load(small) == 2


def test_two_records_that_have_changed_places_are_told(store, other, tmp_path):
    path = tmp_path / "f"
    store.update({"a": b"1", "b": b"2"})
    store.save(path)
    whole = path.read_bytes()
    at = len(whole) - 32 - 2 * 18
    path.write_bytes(whole[:at] + whole[at + 18 : at + 36] + whole[at : at + 18] + whole[at + 36 :])
    with pytest.raises(mp.BadSnapshot, match="its checksum is wrong"):
        other.load(path)


def test_more_bytes_than_there_should_be(other, small):
    with open(small, "ab") as file:
        file.write(b"x")
    with pytest.raises(mp.BadSnapshot, match="1 bytes come after"):
        other.load(small)


@pytest.mark.parametrize("garbage", [b"", b"\0" * 100, b"mpstore\n", b"\x7fELF" * 50, b"mpstore\n" + b"\xff" * 60])
def test_garbage(other, tmp_path, garbage):
    (tmp_path / "f").write_bytes(garbage)
    with pytest.raises(mp.BadSnapshot):
        other.load(tmp_path / "f")


def test_what_is_no_file(other, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        with pytest.raises(mp.BadSnapshot, match="is no file"):
            other.load(path)


def test_another_version_is_named(other, small):
    whole = bytearray(small.read_bytes())
    whole[8:12] = struct.pack("<I", 3)
    small.write_bytes(whole)
    with pytest.raises(mp.BadSnapshot, match="format 3, this build reads those up to 2"):
        other.load(small)


def test_a_file_of_the_first_format_is_read(other, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "_VERSION", 1)
    pretend(tmp_path / "f", (1, 0, b"k", 1, b"v"))
    monkeypatch.undo()
    assert other.load(tmp_path / "f") == 1 and other["k"] == b"v" and other.ttl("k") is None


def pretend(path, *records):
    """A file whose checksums are right."""
    with open(path, "wb") as file:
        writer = snapshot._Writer(file, "none")
        for record in records:
            writer.record(*record)
        writer.end(sum(record[0] != 2 for record in records))


@pytest.mark.parametrize(
    "record",
    [
        (1, 0, b"\xff", 1, b"v"),  # a str that is no UTF-8
        (1, 0, b"k", 2, b"v"),  # not compressed, and not of its size
        (1, 5, b"k", 2**31, b"v"),
        (2, 0, b"\0", 4, b"dict"),
        (2, 0, b"12", 4, b"dict"),
        (3, 0, b"k", 1, b"v"),
        (3, 0, b"\1\0\0\0", 0, b""),  # a namespace without a name
        (4, 0, b"\1\0\0\0k", 1, b"v"),  # of a namespace that did not come before it
        (6, 0, b"k", 1, b"v"),
    ],
)
def test_what_no_store_has_written(other, tmp_path, record):
    pretend(tmp_path / "f", (1, 0, b"first", 1, b"v"), record)
    with pytest.raises(mp.BadSnapshot, match="after 1 values"):
        other.load(tmp_path / "f")
    assert len(other) == 0


def test_values_of_codecs_that_this_process_does_not_know(store, other, tmp_path):
    store._index.put("k", 177, 100, b"by a codec of somebody's")
    assert store.save(tmp_path / "f") == 1
    assert other.load(tmp_path / "f") == 1
    assert other._index.get("k") == (177, 100, b"by a codec of somebody's")
    with pytest.raises(codecs.UnknownCodec):
        other["k"]


def test_no_room_says_how_many_are_in(store, tmp_path):
    for i in range(5):
        store[str(i)] = os.urandom(60_000)
    store.save(tmp_path / "f")
    with mp.Arena("300K") as arena:
        tight = arena.store("t", codec="none")
        with pytest.raises(mp.Exhausted, match=r"[1-4] of its 5 values were put into"):
            tight.load(tmp_path / "f")
        assert 1 <= len(tight) <= 4
        assert all(tight[key] == store[key] for key in tight)


def test_a_file_that_is_not_there(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        store.save(tmp_path / "none" / "f")


def test_a_full_disk_leaves_the_old_file(small_tmpfs):
    with mp.Arena("8M") as arena:
        store = arena.store("s", codec="none")
        store["a"] = b"1"
        store.save(small_tmpfs / "f")
        before = (small_tmpfs / "f").read_bytes()
        store["b"] = os.urandom(3 << 20)
        with pytest.raises(OSError, match="No space left"):
            store.save(small_tmpfs / "f")
        assert (small_tmpfs / "f").read_bytes() == before
        assert os.listdir(small_tmpfs) == ["f"]


def test_while_another_process_writes(store, other, tmp_path):
    """Each entry is whole, and those that are there all the time are in the file."""
    for i in range(50):
        store[f"there {i}"] = b"%d;" % i * 100

    def write():
        rng = random.Random(1)
        while True:
            store[f"there {rng.randrange(50)}"] = b"%d;" % rng.randrange(1000) * 100
            store[f"now and then {rng.randrange(50)}"] = b"%d;" % rng.randrange(1000) * 100
            store.pop(f"now and then {rng.randrange(50)}", None)

    writer = start(write)
    try:
        for _ in range(20):
            store.save(tmp_path / "f")
            other.clear()
            other.load(tmp_path / "f")
            assert {key for key in other if key.startswith("there")} == {f"there {i}" for i in range(50)}
            for value in other.values():
                assert value == value[: value.index(b";") + 1] * 100
    finally:
        os.kill(writer, 9)
        status_of(writer)


def test_a_killed_save_leaves_the_old_file(store, small, monkeypatch):
    """And a file under another name, which says whose it is."""
    before = small.read_bytes()
    store["third"] = b"3"

    def killed():
        monkeypatch.setattr(os, "rename", lambda *_: os.kill(os.getpid(), 9))
        store.save(small)

    child = start(killed)
    assert status_of(child) == -9
    assert small.read_bytes() == before
    (left,) = [name for name in os.listdir(small.parent) if name != small.name]
    assert left.startswith(f"{small.name}.{child}-")
    assert left.endswith(".tmp")
