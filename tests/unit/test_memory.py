import ctypes
import errno
import mmap
import os

import pytest

from mempools.machine import files, memory

PAGE = mmap.PAGESIZE


def view(address, nbytes):
    return (ctypes.c_char * nbytes).from_address(address)


def resident(address, nbytes):
    """Resident pages of the range, from the page map of this process."""
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(address // PAGE * 8)
        words = file.read(nbytes // PAGE * 8)
    return sum(words[i + 7] >> 7 for i in range(0, len(words), 8))


def test_anonymous_pages_are_zero_and_writable():
    address = memory.map_pages(3 * PAGE)
    try:
        data = view(address, 3 * PAGE)
        assert data.raw == bytes(3 * PAGE)
        data[2 * PAGE] = b"x"
        assert data[2 * PAGE] == b"x"
    finally:
        memory.unmap(address, 3 * PAGE)


@pytest.mark.parametrize("align", [PAGE, 1 << 16, 2 << 20, 8 << 20])
@pytest.mark.parametrize("shared", [False, True])
def test_alignment(align, shared):
    fd = files.memory_file("test") if shared else -1
    nbytes = 5 * PAGE
    if shared:
        os.ftruncate(fd, nbytes)
    with open("/proc/self/maps", encoding="ascii") as file:
        before = file.read().count("\n")
    address = memory.map_pages(nbytes, fd, align)
    assert address % align == 0
    view(address, nbytes)[nbytes - 1] = b"x"
    memory.unmap(address, nbytes)
    if shared:
        assert os.pread(fd, 1, nbytes - 1) == b"x"
        os.close(fd)
    with open("/proc/self/maps", encoding="ascii") as file:
        assert file.read().count("\n") <= before  # the surplus was given back


def test_two_mappings_of_a_file_share_bytes():
    fd = files.memory_file("test")
    os.ftruncate(fd, PAGE)
    first, second = memory.map_pages(PAGE, fd), memory.map_pages(PAGE, fd)
    view(first, PAGE)[7] = b"y"
    assert view(second, PAGE)[7] == b"y"
    memory.unmap(first, PAGE)
    memory.unmap(second, PAGE)
    os.close(fd)


def test_refusals_are_os_errors():
    with pytest.raises(OSError, match="mmap of"):
        memory.map_pages(1 << 62)
    with pytest.raises(OSError, match="mmap of") as caught:
        memory.map_pages(PAGE, 10**6)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError, match="mmap of"):
        memory.map_pages(PAGE, 10**6, 1 << 21)
    with pytest.raises(OSError, match="fstatfs"):
        memory.in_memory(10**6)


def test_populate_makes_pages_present_and_reports():
    nbytes = 40 << 20
    address = memory.map_pages(nbytes)
    try:
        assert resident(address, nbytes) == 0
        told = []
        memory.populate(address, nbytes, lambda done, total: told.append((done, total)))
        assert resident(address, nbytes) == nbytes // PAGE
        assert told == [(32 << 20, nbytes), (nbytes, nbytes)]
    finally:
        memory.unmap(address, nbytes)


def test_populate_stops_with_the_callback_and_past_the_end_of_a_file():
    nbytes = 40 << 20
    fd = files.memory_file("test")
    os.ftruncate(fd, PAGE)
    address = memory.map_pages(nbytes, fd)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(OSError, match="prefaulting"):  # a plain store there would be a SIGBUS
        memory.populate(address, nbytes)
    os.ftruncate(fd, nbytes)
    with pytest.raises(KeyboardInterrupt):
        memory.populate(address, nbytes, stop)
    memory.unmap(address, nbytes)
    os.close(fd)


def test_wiped_page_is_zero_in_a_child():
    address = memory.wiped_page()
    view(address, 8)[0] = b"p"
    pid = os.fork()
    if pid == 0:
        os._exit(0 if view(address, 8).raw == bytes(8) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert view(address, 8)[0] == b"p"
    memory.unmap(address, PAGE)


def test_link_descriptor(tmp_path):
    fd = files.unnamed_file(str(tmp_path))
    if fd is None:
        pytest.skip("this file system has no unnamed files")
    os.write(fd, b"whole")
    assert os.listdir(tmp_path) == []
    memory.link_descriptor(fd, tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == b"whole"
    assert (tmp_path / "name").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        memory.link_descriptor(fd, tmp_path / "name")
    with pytest.raises(FileNotFoundError):
        memory.link_descriptor(fd, tmp_path / "none" / "name")
    os.close(fd)


def test_in_memory(tmp_path):
    fd = files.memory_file("test")
    assert memory.in_memory(fd)
    os.close(fd)
    fd = os.open("/proc/self/stat", os.O_RDONLY)
    assert not memory.in_memory(fd)
    os.close(fd)


def test_want_huge_pages_answers():
    address = memory.map_pages(4 << 20, -1, 2 << 20)
    assert memory.want_huge_pages(address, 4 << 20) in (True, False)
    memory.unmap(address, 4 << 20)
