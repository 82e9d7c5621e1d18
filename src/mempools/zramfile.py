"""L5: a Zram as a file object."""

import errno
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mempools.zram import Zram


class ZramFile(io.RawIOBase):
    """What `Zram.open` gives: raw and unbuffered, seekable, of one size for ever. `io.BufferedRandom(file)` makes a buffered one.

    Reads and writes end at the device's end. Closing it closes nothing but itself. As a file of the system, it is not for two
    threads at a time: each takes its own."""

    def __init__(self, device: "Zram") -> None:
        super().__init__()
        self._device = device
        self._at = 0

    @property
    def name(self) -> str:
        return self._device.name

    def _open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")

    def readable(self) -> bool:
        self._open()
        return True

    def writable(self) -> bool:
        self._open()
        return True

    def seekable(self) -> bool:
        self._open()
        return True

    def tell(self) -> int:
        self._open()
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._open()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"whence {whence}: 0, 1 or 2")
        at = offset + (0, self._at, self._device.disksize)[whence]
        if at < 0:
            raise ValueError(f"a negative position: {at}")
        self._at = at
        return at

    def readinto(self, buffer: Any, /) -> int:
        self._open()
        view = memoryview(buffer).cast("B")
        nbytes = max(0, min(len(view), self._device.disksize - self._at))
        if nbytes:
            view[:nbytes] = self._device.read(self._at, nbytes)
            self._at += nbytes
        return nbytes

    def write(self, data: Any, /) -> int:
        self._open()
        view = memoryview(data).cast("B")
        nbytes = max(0, min(len(view), self._device.disksize - self._at))
        if nbytes:
            self._device.write(self._at, view[:nbytes])
            self._at += nbytes
        elif len(view):
            raise OSError(errno.ENOSPC, f"zram {self.name!r} ends at {self._device.disksize}")  # as of a block device
        return nbytes

    def truncate(self, size: int | None = None, /) -> int:
        raise io.UnsupportedOperation("a Zram has one size for ever")
