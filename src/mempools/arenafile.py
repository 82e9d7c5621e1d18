"""L5: the file behind an arena: made whole before anyone can see it, opened only while it has its name, removed by one.

Two locks, besides those of the process table, decide between processes (see layout/proctable.py for the bytes):
    ATTACH_BYTE    shared by every process that has the arena open; who can have it alone knows that nobody has
    NAME_BYTE      held by whoever removes the file's name, from the look at whose name it is until it is gone
So an attach that comes while gc removes a leftover waits for the attach lock, sees that the file has lost its name,
and looks the name up again.
"""

import errno
import os
import secrets
import stat

from mempools import names, sizes
from mempools.errors import Corrupt, Exhausted, LayoutMismatch
from mempools.layout import mapping as mappings
from mempools.layout.mapping import Mapping
from mempools.layout.proctable import ATTACH_BYTE, NAME_BYTE
from mempools.layout.superblock import inspect, nbytes_min
from mempools.machine import files, limits, memory
from mempools.machine.memory import Progress

_SHORT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EFAULT)


def rounded(size: int | str, page: int = 0) -> int:
    """Bytes of an arena of `size`: whole pages, and enough for its own tables (else ValueError)."""
    page = page or os.sysconf("SC_PAGE_SIZE")
    nbytes = -(-sizes.parse(size) // page) * page
    if nbytes < nbytes_min(nbytes):
        raise ValueError(
            f"an arena of {nbytes} bytes cannot even hold its own tables: {nbytes_min(nbytes)} bytes are the least"
        )
    return nbytes


def exhausted(nbytes: int, reason: object) -> Exhausted:
    return Exhausted(
        f"no room for an arena of {nbytes} bytes ({sizes.text(nbytes)}): {reason}; "
        "make it smaller, or remove what fills the memory (`mempools gc`, `mempools rm`)"
    )


def reserve(fd: int, nbytes: int) -> None:
    """Pages for the whole file, or Exhausted with the numbers: after this no access can fail."""

    def before(rest: int) -> None:
        short = limits.shortage(rest, fd)
        if short is not None:
            raise exhausted(nbytes, short)

    try:
        files.reserve(fd, nbytes, before)
    except OSError as error:
        if error.errno not in _SHORT:
            raise
        raise exhausted(nbytes, limits.shortage(nbytes, fd) or error.strerror) from error


def _format(
    fd: int, nbytes: int, *, persist: bool, prefault: bool, hugepages: bool, progress: Progress | None
) -> Mapping:
    try:
        return mappings.create(fd, nbytes, persist=persist, prefault=prefault, hugepages=hugepages, progress=progress)
    except OSError as error:
        if error.errno not in _SHORT:
            raise
        raise exhausted(nbytes, error.strerror) from error


def private(nbytes: int, *, prefault: bool, hugepages: bool, progress: Progress | None) -> Mapping:
    """An arena in this process's own memory."""
    short = limits.shortage(nbytes) if prefault else None
    if short is not None:
        raise exhausted(nbytes, short)
    try:
        return mappings.create_private(nbytes, prefault=prefault, hugepages=hugepages, progress=progress)
    except OSError as error:
        if error.errno not in _SHORT:
            raise
        raise exhausted(nbytes, error.strerror) from error


def anonymous(size: int | str, *, prefault: bool, hugepages: bool, progress: Progress | None) -> Mapping:
    """An arena in a memfd whose size is sealed; `hugepages` come from the system's pool of huge pages."""
    try:
        fd = files.memory_file("mempools", hugetlb=hugepages)
    except OSError as error:
        raise exhausted(sizes.parse(size), f"memfd_create: {error.strerror}") from error
    try:
        nbytes = rounded(size, os.fstatvfs(fd).f_frsize if hugepages else 0)
        if hugepages:
            os.ftruncate(fd, nbytes)  # mmap reserves huge pages, or says that there are none
        else:
            reserve(fd, nbytes)
        files.seal_size(fd)
        files.lock(fd, ATTACH_BYTE, shared=True)
    except BaseException:
        os.close(fd)
        raise
    try:
        return _format(fd, nbytes, persist=False, prefault=prefault, hugepages=False, progress=progress)
    except Exhausted as error:
        if not hugepages:
            raise
        raise Exhausted(f"{error}; the system's huge pages are set in /proc/sys/vm/nr_hugepages") from error


def _unpublished(parent: str) -> tuple[int, str | None]:
    fd = files.unnamed_file(parent)
    if fd is not None:
        files.lock(fd, ATTACH_BYTE, shared=True)
        return fd, None
    while True:
        temporary = names.temporary(parent, secrets.token_hex(8))
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        files.lock(fd, ATTACH_BYTE, shared=True)
        if os.fstat(fd).st_nlink:
            return fd, temporary
        os.close(fd)  # gc came between the two calls


def create(
    path: str, nbytes: int, *, persist: bool, prefault: bool, hugepages: bool, progress: Progress | None
) -> Mapping:
    """A new arena in a new file, complete before it gets its name; FileExistsError if the name is taken."""
    if os.path.lexists(path):  # spares the work; the link below decides
        raise _exists(path)
    fd, temporary = _unpublished(os.path.dirname(path))
    try:
        try:
            if hugepages and memory.in_memory(fd):
                # Reserving would take small pages: faults take huge ones, and reserve what they take.
                short = limits.shortage(nbytes, fd)
                if short is not None:
                    raise exhausted(nbytes, short)
                os.ftruncate(fd, nbytes)
            else:
                reserve(fd, nbytes)
        except BaseException:
            os.close(fd)
            raise
        mapping = _format(fd, nbytes, persist=persist, prefault=prefault, hugepages=hugepages, progress=progress)
        try:
            if hugepages:
                reserve(fd, nbytes)
            mapping.ensure_slot()
            if temporary is None:
                memory.link_descriptor(fd, path)
            else:
                os.link(temporary, path)
        except FileExistsError:
            mapping.close()
            raise _exists(path) from None
        except BaseException:
            mapping.close()
            raise
        return mapping
    finally:
        if temporary is not None:
            os.unlink(temporary)


def _exists(path: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "an arena of this name exists: attach to it, or unlink it first", path)


def open_file(path: str, *, own: bool) -> int:
    """A descriptor of the file with this name, held (attach lock) so that nobody takes it for a leftover.

    `own`: in a directory that others write to, where only a file of this user itself is believed.
    """
    follow = os.O_NOFOLLOW if own else 0
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | follow)
        except IsADirectoryError:
            raise LayoutMismatch(f"{path} is a directory, not an arena") from None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
            raise LayoutMismatch(f"{path} is not a regular file, so not an arena") from None
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise LayoutMismatch(f"{path} is not a regular file, so not an arena")
            if own and info.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, f"made by user {info.st_uid} in this user's name", path)
            files.lock(fd, ATTACH_BYTE, shared=True)
            if os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # removed while we waited: there may be another by now


def attach(path: str, *, own: bool) -> Mapping:
    """The arena in the file; FileNotFoundError, LayoutMismatch or Corrupt. Holes in a copied file are filled first."""
    fd = open_file(path, own=own)
    try:
        try:
            header = inspect(fd)
            if os.fstat(fd).st_blocks * 512 < header.nbytes:
                reserve(fd, header.nbytes)  # before it is mapped: even reading a hole takes a page
        except BaseException:
            os.close(fd)
            raise
        return mappings.attach(fd)
    except (LayoutMismatch, Corrupt) as error:
        raise type(error)(f"{path}: {error}") from None


def remove(path: str, fd: int) -> bool:
    """Remove the name of the file behind `fd`, a description of the caller's own; False if it is another file's."""
    files.lock(fd, NAME_BYTE)
    try:
        try:
            mine = os.path.samestat(os.lstat(path), os.fstat(fd))
        except FileNotFoundError:
            return False
        if mine:
            os.unlink(path)
        return mine
    finally:
        files.unlock(fd, NAME_BYTE)
