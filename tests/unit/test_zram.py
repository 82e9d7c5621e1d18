"""Zram: pages, parts of pages, limits, recompression, writeback, statistics, the file object, errors."""

import gc
import io
import os
import pickle
import random
import subprocess
import sys
import threading

import pytest
from children import in_child, start, status_of
from fastcodec import FAST

from mempools import Arena, Busy, Corrupt, Exhausted, LayoutMismatch, PoolError, Zram, ZramFile, codecs
from mempools.objects import zramprocess

PAGE = 4096
TEXT = (b"%06d " * 585 % tuple(range(585)))[:PAGE].ljust(PAGE, b".")
SAME = b"12345678" * 512
ZEROS = bytes(PAGE)


def noise(seed):
    return random.Random(seed).randbytes(PAGE)


@pytest.fixture
def device(arena):
    device = arena.zram("pages", 64 * PAGE, codec=FAST, recompress=["zstd:3", "zstd:15"])
    yield device
    device.check()


@pytest.fixture
def backing(tmp_path):
    path = tmp_path / "backing"
    path.write_bytes(bytes(16 * PAGE))
    return path


class Squeezer:
    """A codec that makes as many bytes of a page as the page's first four say."""

    def __init__(self, name, number, less=0):
        self.name, self.id, self.less = name, number, less
        self.kept = {}

    def compress(self, data, /):
        data = bytes(data)
        nbytes = int.from_bytes(data[:4], "little") - self.less
        stored = (len(self.kept).to_bytes(8, "little") + bytes(PAGE))[:nbytes]
        self.kept[stored[:8]] = data
        return stored

    def decompress(self, data, nbytes, /):
        return self.kept[bytes(data[:8])]

    def decompress_into(self, data, buffer, /):
        buffer[:] = self.kept[bytes(data[:8])]


@pytest.fixture(scope="module")
def squeezers():
    pair = Squeezer("squeeze", 77), Squeezer("squeeze-more", 78, 100)
    for codec in pair:
        codecs.register(codec)
    return pair


def sized(nbytes):
    """A page that Squeezer makes `nbytes` bytes of."""
    return nbytes.to_bytes(4, "little") + noise(nbytes)[4:]


# ---- pages


@pytest.mark.parametrize("data", [TEXT, noise(1), SAME, ZEROS], ids=["text", "noise", "same", "zeros"])
def test_a_page_is_what_was_written(device, data):
    device.write_page(3, data)
    assert device.read_page(3) == data
    device.write_page(3, noise(9))
    assert device.read_page(3) == noise(9)
    device.write_page(3, bytearray(data))
    assert device.read_page(3) == data


def test_a_page_that_was_never_written_reads_as_zeros(device):
    assert device.read_page(63) == ZEROS
    assert device.stats().orig_data_size == 0


@pytest.mark.parametrize("index", [64, -1, 1 << 63])
def test_a_page_outside(device, index):
    for call in (device.read_page, device.notify_free, lambda i: device.write_page(i, TEXT)):
        with pytest.raises((IndexError, OverflowError, ValueError)):
            call(index)


@pytest.mark.parametrize("data", [b"", TEXT[:-1], TEXT + b"x"])
def test_a_page_of_another_size(device, data):
    with pytest.raises(ValueError, match="4096 bytes"):
        device.write_page(0, data)
    with pytest.raises(TypeError):
        device.write_page(0, "text")


def test_pages_of_one_word_take_no_memory(device):
    for index in range(64):
        device.write_page(index, bytes([index]) * PAGE)
    stats = device.stats()
    assert (stats.same_pages, stats.orig_data_size, stats.compr_data_size, stats.mem_used_total) == (
        64,
        64 * PAGE,
        0,
        0,
    )
    assert [device.read_page(index)[0] for index in range(64)] == list(range(64))


def test_what_repeats_two_words_is_not_of_one(device):
    device.write_page(0, b"12345678abcdefgh" * 256)
    assert device.stats().same_pages == 0


def test_incompressible_pages_are_stored_as_they_are(device):
    device.write_page(0, noise(1))
    stats = device.stats()
    assert (stats.huge_pages, stats.huge_pages_since, stats.compr_data_size, stats.mem_used_total) == (1, 1, PAGE, PAGE)
    device.write_page(0, TEXT)
    assert (device.stats().huge_pages, device.stats().huge_pages_since) == (0, 1)


@pytest.mark.parametrize("nbytes", [3624, 3625, 3632, 4095])
def test_the_huge_size_decides(arena, squeezers, nbytes):
    device = arena.zram("pages", "64K", codec="squeeze")
    assert device.huge_class_size == 3625
    device.write_page(0, sized(nbytes))
    assert device.stats().huge_pages == (nbytes >= 3625)
    assert device.read_page(0) == sized(nbytes)


def test_a_device_without_a_codec(arena):
    device = arena.zram("raw", "64K", codec="none")
    device.write_page(0, TEXT)
    assert device.read_page(0) == TEXT
    assert device.stats().huge_pages == 1


# ---- bytes


@pytest.mark.parametrize("offset", [0, 1, PAGE - 3, PAGE, 3 * PAGE + 17])
@pytest.mark.parametrize("nbytes", [0, 1, 7, PAGE, PAGE + 1, 3 * PAGE])
def test_parts(device, offset, nbytes):
    model = bytearray(noise(1) + TEXT + SAME + ZEROS + noise(2) + TEXT + TEXT + TEXT)
    device.write(0, model)
    data = noise(7) * 3
    device.write(offset, data[:nbytes])
    model[offset : offset + nbytes] = data[:nbytes]
    assert device.read(0, len(model)) == model
    assert device.read(offset, nbytes) == model[offset : offset + nbytes]


def test_parts_outside(device):
    for call in (device.read, device.discard, lambda offset, nbytes: device.write(offset, bytes(nbytes))):
        for offset, nbytes in ((64 * PAGE, 1), (63 * PAGE, PAGE + 1), (-1, 1)):
            with pytest.raises(IndexError):
                call(offset, nbytes)
    assert device.read(64 * PAGE, 0) == b""


def test_partial_writes_are_not_lost_beside_each_other(arena):
    device = arena.zram("pages", "64K", codec=FAST)
    device.write_page(0, TEXT)

    def work(first):
        mine = arena.zram("pages")
        for at in range(first, PAGE, 4):
            mine.write(at, bytes([first]))

    assert [status_of(pid) for pid in [start(lambda first=first: work(first)) for first in range(4)]] == [0] * 4
    assert device.read_page(0) == bytes([0, 1, 2, 3]) * 1024


def test_discard_leaves_the_edges(device):
    device.write(0, TEXT * 4)
    assert device.discard(100, 3 * PAGE) == 2
    assert device.read(0, 4 * PAGE) == TEXT + ZEROS * 2 + TEXT
    assert device.discard(5, 100) == 0
    assert device.stats().notify_free == 2


def test_a_free_that_may_not_wait(device):
    device.write_page(0, TEXT)
    assert device.notify_free(0)
    assert device.read_page(0) == ZEROS
    assert device.notify_free(0)
    assert (device.stats().notify_free, device.stats().miss_free) == (2, 0)


def test_a_free_that_misses(arena):
    """The process is stopped while it has the page."""
    import signal

    from mempools.check import steps

    device = arena.zram("pages", "64K", codec=FAST)
    device.write_page(0, TEXT)

    def work():
        mine = arena.zram("pages")
        with steps.kill_at(1, op="window", site="D:zramtable.locked"):
            mine.read_page(0)

    assert in_child(work) == -signal.SIGKILL
    assert not device.notify_free(0)
    assert device.stats().miss_free == 1
    assert device.debug_stat().split() == ["version:", "1", "0", "1"]
    arena.recover()
    assert device.read_page(0) == TEXT


# ---- memory


def test_the_limit_is_held_against_what_has_been_allocated(arena):
    device = arena.zram("pages", "256K", codec=FAST, mem_limit="40K")
    for index in range(10):
        device.write_page(index, noise(index))
    with pytest.raises(Exhausted, match="limit of 40960 bytes"):
        device.write_page(10, noise(10))
    with pytest.raises(MemoryError):
        device.write_page(3, noise(11))
    stats = device.stats()
    assert (stats.mem_limit, stats.mem_used_total, stats.mem_used_max) == (40960, 40960, 40960 + PAGE)
    assert (stats.failed_writes, stats.orig_data_size) == (2, 40960)
    assert device.read_page(3) == noise(3)
    device.write_page(10, SAME)
    device.discard(0, PAGE)
    device.write_page(11, noise(12))
    device.mem_limit = 0
    device.write_page(12, noise(13))
    device.reset_peak()
    assert device.stats().mem_used_max == device.stats().mem_used_total == 44 << 10
    device.check()


def test_a_strict_limit_is_never_exceeded(arena):
    device = arena.zram("pages", "512K", codec=FAST, mem_limit="100K", strict=True)

    def work(first):
        mine = arena.zram("pages")
        rng = random.Random(first)
        for _ in range(300):
            try:
                mine.write_page(rng.randrange(128), rng.choice([TEXT, noise(first), TEXT[:2000] + noise(first)[2000:]]))
            except Exhausted:
                mine.discard(rng.randrange(100) * PAGE, 28 * PAGE)

    assert [status_of(pid) for pid in [start(lambda first=first: work(first)) for first in range(3)]] == [0] * 3
    arena.recover()
    stats = device.stats()
    assert 0 < stats.mem_used_max <= 100 << 10
    assert stats.failed_writes > 0
    device.check()


def test_an_arena_that_is_full(arena):
    device = arena.zram("pages", "4M", codec=FAST)
    written = 0
    with pytest.raises(Exhausted, match="no pages for"):
        for index in range(1024):
            device.write_page(index, noise(index))
            written += 1
    assert written > 100
    assert device.read_page(5) == noise(5)
    device.check()
    device.discard(0, 100 * PAGE)
    device.write_page(1000, noise(7))
    device.check()


def test_compaction(device):
    """Pages of which half compresses: three in two pages of memory, or so."""
    pages = [noise(index)[: PAGE // 2] + TEXT[: PAGE // 2] for index in range(64)]
    for index, data in enumerate(pages):
        device.write_page(index, data)
    for index in range(64):
        if index % 4:
            device.discard(index * PAGE, PAGE)
    before = device.stats()
    freed = device.compact()
    after = device.stats()
    assert freed > 0
    assert after.pages_compacted > 0
    assert after.mem_used_total < before.mem_used_total
    assert all(device.read_page(index) == pages[index] for index in range(0, 64, 4))


# ---- idle pages and recompression


def test_an_access_ends_being_idle(device):
    for index, data in enumerate((TEXT, TEXT, noise(1), SAME)):
        device.write_page(index, data)
    assert device.idle() == 3
    assert device.idle() == 0
    assert device.stats().idle_pages == 3
    device.read_page(0)
    device.write_page(2, TEXT)
    assert device.stats().idle_pages == 1
    assert device.idle(3600) == 0
    assert device.idle(0) == 2
    with pytest.raises(ValueError, match="not negative"):
        device.idle(-1)


def test_recompression(device):
    mixed = TEXT[:3000] + noise(1)[3000:]
    for index, data in enumerate((TEXT, mixed, noise(2), SAME)):
        device.write_page(index, data)
    before = device.stats()
    found = device.recompress()
    assert (found.tried, found.passed) == (3, 0)
    assert found.recompressed >= 1
    assert found.saved == before.compr_data_size - device.stats().compr_data_size > 0
    assert found.incompressible >= 1
    assert device.stats().incompressible_pages == found.incompressible
    assert [device.read_page(index) for index in range(4)] == [TEXT, mixed, noise(2), SAME]
    assert "r" in device.block_state()
    assert "n" in device.block_state()


def test_recompression_chooses(device):
    for index in range(6):
        device.write_page(index, TEXT)
    device.idle()
    device.read_page(0)
    assert device.recompress("huge").tried == 0
    assert device.recompress("idle", threshold=3000).tried == 0
    assert device.recompress("idle", max_pages=2).tried == 2
    assert device.recompress("idle", priority=1).tried == 3
    assert device.recompress(codec="zstd:3").tried == 1
    device.write_page(7, noise(7))
    device.idle()
    assert device.recompress("huge_idle").incompressible == 1
    assert device.recompress("huge_idle").tried == 0  # it is marked


@pytest.mark.parametrize("nbytes", [3625, 3628, 3632])
def test_recompression_asks_for_the_huge_size(arena, squeezers, nbytes):
    """The kernel takes these for a smaller class: they have one, of the size, but need a page of their own with their header."""
    device = arena.zram("pages", "64K", codec="none", recompress=["squeeze"])
    device.write_page(0, sized(nbytes))
    before = device.stats()
    found = device.recompress()
    assert (found.tried, found.recompressed, found.incompressible) == (1, 0, 1)
    assert device.stats().mem_used_total == before.mem_used_total
    device.write_page(1, sized(3624))
    assert device.recompress().recompressed == 1
    assert device.read_page(1) == sized(3624)


def test_recompression_that_saves_no_class_is_none(arena, squeezers):
    device = arena.zram("pages", "64K", codec="squeeze", recompress=["squeeze-more"])
    device.write_page(0, sized(3720 - 100))  # the class of 3632, and of 3520 that of 3584
    device.write_page(1, sized(3400))  # that of 3408, which the other makes 3300 of: the same
    found = device.recompress()
    assert (found.tried, found.recompressed, found.incompressible) == (2, 1, 1)
    assert device.read_page(0) == sized(3620)


def test_recompression_of_what_is_touched_meanwhile(arena, squeezers):
    device = arena.zram("pages", "64K", codec="none", recompress=["squeeze"])
    other = arena.zram("pages")
    for index in range(3):
        device.write_page(index, sized(2000 + index))
    compress = squeezers[0].compress

    def busy(data, /):
        squeezers[0].compress = compress
        other.read_page(0)
        other.write_page(1, TEXT)
        other.discard(2 * PAGE, PAGE)
        return compress(data)

    squeezers[0].compress = busy
    found = device.recompress()
    squeezers[0].compress = compress
    assert found.recompressed == 0
    assert found.passed == 3
    assert (device.read_page(0), device.read_page(1), device.read_page(2)) == (sized(2000), TEXT, ZEROS)
    device.check()


def test_recompression_that_cannot_be(device, arena):
    for wrong in ({"priority": 3}, {"priority": 0}, {"codec": "zstd:7"}, {"codec": "zstd:3", "priority": 2}):
        with pytest.raises(ValueError, match="priorit|recompression"):
            device.recompress(**wrong)
    with pytest.raises(ValueError, match="less than 3625"):
        device.recompress(threshold=3625)
    with pytest.raises(ValueError, match="huge_idle, or None"):
        device.recompress("incompressible")
    with pytest.raises(ValueError, match="no codec for recompression"):
        arena.zram("plain", "64K", codec=FAST).recompress()


def test_one_is_at_it_at_a_time(arena, device):
    assert zramprocess.begin_processing(device._pages)
    with pytest.raises(Busy, match="on its way"):
        arena.zram("pages").recompress()
    zramprocess.end_processing(device._pages)
    assert device.recompress().tried == 0


# ---- writeback


@pytest.fixture(params=[False, True], ids=["raw", "compressed"])
def with_file(request, arena, backing):
    device = arena.zram("pages", 64 * PAGE, codec=FAST, backing=backing, compressed_writeback=request.param)
    yield device
    device.check()


def test_writeback(with_file):
    device = with_file
    data = {0: TEXT, 1: noise(1), 2: SAME, 3: TEXT[::-1]}
    for index, page in data.items():
        device.write_page(index, page)
    device.idle()
    device.read_page(3)
    assert device.writeback("huge_idle").written == 1
    assert device.writeback("idle").written == 1
    stats = device.stats()
    assert (stats.bd_count, stats.bd_writes, stats.orig_data_size) == (2, 2, 4 * PAGE)
    assert {index: device.read_page(index) for index in data} == data
    assert device.stats().bd_reads == 2
    found = device.writeback(pages=[3, (0, 3)])
    assert (found.written, found.passed) == (1, 0)
    device.compact()  # each class keeps an empty zspage until then
    assert device.stats().mem_used_total == 0
    assert {index: device.read_page(index) for index in data} == data
    device.write(PAGE + 5, b"part")
    assert device.read_page(1) == noise(1)[:5] + b"part" + noise(1)[9:]
    device.discard(0, 64 * PAGE)
    assert device.stats().bd_count == 0
    assert device.bd_stat().split()[0] == "0"


def test_writeback_until_the_file_is_full(with_file):
    device = with_file
    for index in range(20):
        device.write_page(index, noise(index))
    found = device.writeback("huge")
    assert (found.written, found.stopped) == (16, "space")
    assert all(device.read_page(index) == noise(index) for index in range(20))
    device.discard(0, 64 * PAGE)
    device.write_page(0, noise(0))
    assert device.writeback("huge").written == 1


def test_writeback_within_a_budget(with_file):
    device = with_file
    assert device.writeback_limit is None
    device.writeback_batch_size = 2
    assert device.writeback_batch_size == 2
    for index in range(8):
        device.write_page(index, noise(index))
    device.writeback_limit = 5
    found = device.writeback("huge")
    assert (found.written, found.stopped, device.writeback_limit) == (5, "budget", 0)
    device.writeback_limit = None
    assert device.writeback("huge").written == 3
    with pytest.raises(ValueError, match="1 to 65536"):
        device.writeback_batch_size = 0


def test_writeback_of_what_is_incompressible(arena, backing):
    device = arena.zram("pages", "64K", codec=FAST, recompress=["zstd:3"], backing=backing)
    device.write_page(0, noise(0))
    device.write_page(1, TEXT)
    assert device.writeback("incompressible").written == 0
    device.recompress()
    assert device.writeback("incompressible").written == device.stats().bd_count == 1


def test_a_write_that_fails_costs_nothing(with_file, monkeypatch):
    device = with_file
    for index in range(4):
        device.write_page(index, noise(index))
    device.writeback_limit = 10

    def fails(fd, buffers, offset):
        raise OSError(5, "no such luck")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fails)
        found = device.writeback("huge")
    assert (found.written, found.failed, found.error.errno) == (0, 4, 5)
    assert (device.writeback_limit, device.stats().bd_count) == (10, 0)
    device.check()
    assert device.writeback("huge").written == 4


@pytest.mark.parametrize("what", ["read", "write", "discard", "writes of the same"])
def test_writeback_of_what_is_touched_meanwhile(with_file, arena, monkeypatch, what):
    device = with_file
    other = arena.zram("pages")
    device.write_page(0, noise(0))
    write = os.pwritev

    def slow(fd, buffers, offset):
        if what == "read":
            other.read_page(0)
        elif what == "discard":
            other.discard(0, PAGE)
        else:
            other.write_page(0, TEXT if what == "write" else noise(0))
        return write(fd, buffers, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", slow)
        found = device.writeback("huge")
    assert (found.written, found.passed) == (0, 1)
    assert device.stats().bd_count == 0
    assert device.read_page(0) == {"write": TEXT, "discard": ZEROS}.get(what, noise(0))
    device.check()


def test_a_block_that_goes_to_another_page_while_it_is_read(with_file, arena, monkeypatch):
    device = with_file
    other = arena.zram("pages")
    device.write_page(0, noise(0))
    device.writeback("huge")
    read = os.pread

    def slow(fd, nbytes, offset):
        monkeypatch.setattr(os, "pread", read)
        other.write_page(0, noise(1))
        other.writeback("huge")  # into the same block
        return read(fd, nbytes, offset)

    monkeypatch.setattr(os, "pread", slow)
    assert device.read_page(0) == noise(1)


def test_a_writeback_that_is_interrupted_leaves_no_block(with_file, monkeypatch):
    device = with_file
    for index in range(4):
        device.write_page(index, noise(index))
    device.writeback_limit = 10

    def interrupted(fd, buffers, offset):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", interrupted)
        with pytest.raises(KeyboardInterrupt):
            device.writeback("huge")
    device.check()
    assert device.writeback_limit == 10
    assert device.writeback("huge").written == 4


def test_backing_files_that_cannot_be(arena, tmp_path, backing):
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match="no page"):
        arena.zram("pages", "64K", backing=empty)
    with pytest.raises(FileNotFoundError):
        arena.zram("pages", "64K", backing=tmp_path / "none")
    with pytest.raises(ValueError, match="at most"):
        arena.zram("pages", "64K", backing=long_path(backing))
    with pytest.raises(ValueError, match="arena itself"):
        arena.zram("pages", "64K", backing=f"/proc/self/fd/{arena._mapping.fd}")
    with pytest.raises(PoolError, match="no backing file"):
        arena.zram("plain", "64K").writeback("huge")
    device = arena.zram("pages", "64K", backing=backing)
    with pytest.raises(IndexError):
        device.writeback(pages=[16])
    with pytest.raises(IndexError):
        device.writeback(pages=[(3, 2)])
    with pytest.raises(ValueError, match="incompressible, or pages"):
        device.writeback()
    empty.replace(backing)
    with pytest.raises(PoolError, match="not the file any more"):
        arena.zram("pages").writeback("huge")


def long_path(backing):
    deep = backing.parent
    for _ in range(3):
        deep /= "d" * 200
        deep.mkdir()
    deep /= "backing"
    deep.write_bytes(bytes(PAGE))
    return deep


# ---- statistics


def test_the_kernel_s_columns(arena, backing):
    device = arena.zram("pages", "1M", codec=FAST, mem_limit="1M", backing=backing)
    for index, data in enumerate((TEXT, SAME, noise(1), noise(2))):
        device.write_page(index, data)
    device.writeback(pages=[3])
    stats = device.stats()
    mm = [int(word) for word in device.mm_stat().split()]
    assert mm == [
        4 * PAGE,
        stats.compr_data_size,
        stats.mem_used_total,
        1 << 20,
        stats.mem_used_max,
        1,
        0,
        1,
        2,
    ]
    assert stats.compr_data_size - PAGE < PAGE
    assert device.io_stat().split() == ["0", "0", "0", "0"]
    assert device.bd_stat().split() == ["1", "0", "1"]
    state = [line.split() for line in device.block_state().splitlines()]
    assert [(int(index), flags) for index, _, flags in state] == [
        (0, "......"),
        (1, "s....."),
        (2, "..h..."),
        (3, ".wh..."),
    ]
    assert len({line[1] for line in state}) <= 2
    assert device.block_state(1, 2).split()[2] == "s....."
    assert 0 < stats.ratio < 100


def test_the_ratio_of_zeros_is_what_the_kernel_s_own_test_asks_for(arena):
    """zram01 of its self-tests: 2 MiB of a file system that is full of zeros."""
    device = arena.zram("pages", "512K", codec=FAST)
    for index in range(128):
        device.write_page(index, ZEROS)
    stats = device.stats()
    assert 100 * stats.orig_data_size >= 100 * max(stats.mem_used_total, 1)


def test_a_page_that_cannot_be_decoded(arena, squeezers):
    device = arena.zram("pages", "64K", codec="squeeze")
    device.write_page(0, sized(2000))
    squeezers[0].kept.clear()
    with pytest.raises(Corrupt, match="cannot read its 2000 stored bytes"):
        device.read_page(0)
    assert device.stats().failed_reads == 1
    device.write_page(0, sized(2001))
    assert device.read_page(0) == sized(2001)


# ---- the device


def test_a_device_is_found_by_its_name(arena):
    device = arena.zram("pages", 10 * PAGE + 1, codec="zstd:3", recompress=["zstd:9"])
    assert (device.name, device.disksize, device.codec, device.recompress_codecs) == (
        "pages",
        11 * PAGE,
        "zstd:3",
        ("zstd:9",),
    )
    device.write_page(0, TEXT)
    for same in (
        arena.zram("pages"),
        arena.zram("pages", 11 * PAGE),
        pickle.loads(pickle.dumps(device)) if arena.name else device,
    ):
        assert same.read_page(0) == TEXT
        assert same.codec == "zstd:3"
    with pytest.raises(LayoutMismatch, match=r"has 45056 bytes, not 40960"):
        arena.zram("pages", 10 * PAGE)
    with pytest.raises(LayoutMismatch, match=f"has the codecs zstd:3, zstd:9, not the codecs {FAST}"):
        arena.zram("pages", 11 * PAGE, codec=FAST)
    with pytest.raises(LayoutMismatch, match="options"):
        arena.zram("pages", 11 * PAGE, strict=True)
    with pytest.raises(LayoutMismatch, match="chain"):
        arena.zram("pages", 11 * PAGE, chain=4)
    with pytest.raises(KeyError, match="other"):
        arena.zram("other")
    with pytest.raises(ValueError, match="needs its disksize"):
        arena.zram("other", codec=FAST)
    with pytest.raises(ValueError, match="at most three"):
        arena.zram("other", "64K", recompress=["zstd:1", "zstd:2", "zstd:3", "zstd:4"])
    with pytest.raises(codecs.UnknownCodec):
        arena.zram("other", "64K", codec="lzma")
    for wrong in (0, -1, "x"):
        with pytest.raises(ValueError, match="size"):
            arena.zram("other", wrong)
    with pytest.raises(Exhausted):
        arena.zram("large", "1T")
    with pytest.raises(LayoutMismatch, match="is a zram"):
        arena.zspool("pages")
    arena.genpool("blocks")
    with pytest.raises(LayoutMismatch, match="is a genpool"):
        arena.zram("blocks", "64K")


def test_a_device_is_made_by_its_class_s_arena_alone(arena):
    with pytest.raises(TypeError):
        Zram()
    with pytest.raises(TypeError, match="Arena.zram"):
        type(arena.zram("pages", "64K")._pages)()


def test_reset(arena):
    device = arena.zram("pages", "64K", codec=FAST, mem_limit="1M")
    device.write_page(0, TEXT)
    device.discard(PAGE, PAGE)
    assert in_child(lambda: (arena.zram("pages").read_page(0), exit_if(not refused(device)))) == 0
    arena.recover()
    device.reset()
    assert device.read_page(0) == ZEROS
    stats = device.stats()
    assert (stats.mem_used_total, stats.mem_limit, stats.mem_used_max, stats.notify_free) == (0, 0, 0, 0)
    device.write_page(0, TEXT)
    assert device.read_page(0) == TEXT


def refused(device):
    try:
        device.reset()
    except Busy:
        return True
    return False


def exit_if(wrong):
    if wrong:
        os._exit(3)


def test_reset_by_who_only_found_the_device(arena):
    device = arena.zram("pages", "64K", codec="zstd:3", chain=4, recompress=["zstd:9"], strict=True, size="128K")
    other = arena.zram("pages")
    config = device._pages.config()
    other.reset()
    assert other._pages.config() == config
    with pytest.raises(PoolError, match="destroyed"):
        device.read_page(0)


def test_destroy(arena):
    device = arena.zram("pages", "64K", codec=FAST)
    device.write_page(0, TEXT)
    with pytest.raises(Busy, match="discard them"):
        device.destroy()
    device.destroy(force=True)
    for call in (
        device.stats,
        device.compact,
        device.check,
        lambda: device.read_page(0),
        device.idle,
        device.block_state,
    ):
        with pytest.raises(PoolError, match="destroyed"):
            call()
    arena.check()
    assert all(pool.kind != "zram" for pool in arena.pools())


def test_a_closed_arena():
    arena = Arena("1M")
    device = arena.zram("pages", "64K", codec=FAST)
    device.write_page(0, TEXT)
    file = device.open()
    arena.close()
    for call in (
        device.stats,
        device.idle,
        lambda: device.read_page(0),
        lambda: device.write_page(0, TEXT),
        lambda: file.read(10),
    ):
        with pytest.raises(PoolError, match="closed"):
            call()
    assert "pages" in repr(device)


def test_a_private_arena_and_its_forked_child():
    with Arena("1M") as arena:
        device = arena.zram("pages", "64K", codec=FAST)
        device.write_page(0, TEXT)
        device.write_page(1, noise(1))

        def work():
            assert device.read_page(0) == TEXT
            device.write_page(0, noise(2))
            device.check()
            exit_if(device.read_page(0) != noise(2))

        assert in_child(work) == 0
        assert device.read_page(0) == TEXT
        device.check()


def test_threads(arena):
    device = arena.zram("pages", 16 * PAGE, codec="zstd:1")
    errors = []

    def work(seed):
        rng = random.Random(seed)
        try:
            for _ in range(200):
                index = rng.randrange(16)
                device.write_page(index, bytes([index]) * 2048 + noise(rng.randrange(4))[:2048])
                page = device.read_page(rng.randrange(16))
                if any(page):
                    assert page[:2048] == page[:1] * 2048
                    assert page[2048:] in [noise(seed)[:2048] for seed in range(4)]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    device.check()


def test_a_spawned_process():
    with Arena.create("spawn", "1M") as arena:
        device = arena.zram("pages", "64K", codec=FAST)
        device.write_page(1, TEXT)
        code = (
            "import sys, mempools\n"
            f"device = mempools.Arena.attach({arena.name!r}).zram('pages')\n"
            "sys.stdout.buffer.write(device.read_page(1))\n"
            "device.write_page(2, device.read_page(1))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert done.stdout == TEXT == device.read_page(2)
        again = pickle.loads(pickle.dumps(device))
        assert again.read_page(2) == TEXT
    Arena.unlink("spawn")


# ---- the file object


def test_a_file(device):
    file = device.open()
    assert isinstance(file, ZramFile)
    assert isinstance(file, io.RawIOBase)
    assert (file.readable(), file.writable(), file.seekable(), file.name) == (True, True, True, "pages")
    assert file.write(b"hello") == 5
    assert file.seek(0) == 0
    assert file.read(5) == b"hello"
    assert file.seek(-3, io.SEEK_END) == 64 * PAGE - 3
    assert file.write(b"abcdef") == 3
    assert file.read(10) == b""
    assert file.tell() == 64 * PAGE
    with pytest.raises(OSError, match="ends at"):
        file.write(b"x")
    assert file.write(b"") == 0
    assert file.seek(-1, io.SEEK_CUR) == 64 * PAGE - 1
    assert file.read(9) == b"c"
    assert file.seek(1 << 40) == 1 << 40
    assert file.read(1) == b""
    with pytest.raises(ValueError, match="negative"):
        file.seek(-1)
    with pytest.raises(ValueError, match="whence"):
        file.seek(0, 9)
    with pytest.raises(io.UnsupportedOperation):
        file.truncate(5)
    file.close()
    for call in (file.tell, file.readable, lambda: file.read(1), lambda: file.write(b"x"), lambda: file.seek(0)):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_buffered_file(device):
    with io.BufferedRandom(device.open()) as file:
        file.seek(3 * PAGE - 10)
        file.write(TEXT * 3)
        file.seek(3 * PAGE - 10)
        assert file.read(3 * PAGE) == TEXT * 3
        file.seek(100)
        file.write(b"x" * 50)
    assert device.read(100, 50) == b"x" * 50
    assert device.read(3 * PAGE - 10, 3 * PAGE) == TEXT * 3


def test_a_device_that_is_dropped_closes_its_file(arena, backing):
    device = arena.zram("pages", "64K", backing=backing)
    device.write_page(0, noise(0))
    device.writeback("huge")
    fd = device._backing()
    assert os.path.samefile(f"/proc/self/fd/{fd}", backing)
    del device
    gc.collect()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
