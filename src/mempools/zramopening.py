"""L5: Zrams by name, made if absent."""

import os
from collections.abc import Sequence
from typing import Any

from mempools import codecs, sizes
from mempools.errors import LayoutMismatch
from mempools.objects.zramobject import PAGE
from mempools.objects.zramopen import open_zram
from mempools.zram import DEFAULT_BATCH, STRICT, WB_COMPRESSED, Zram


def _file_config(arena: Any, backing: str | os.PathLike[str] | None) -> tuple[int, tuple[int, int], bytes]:
    """Blocks, identity and path of a backing file."""
    if backing is None:
        return 0, (0, 0), b""
    path = os.path.abspath(os.fspath(backing))
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        nbytes = os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)
    if nbytes < PAGE:
        raise ValueError(
            f"backing file {path}: {nbytes} bytes are no page; give it its size first, as with os.truncate"
        )
    if arena._mapping.fd >= 0:
        own = os.fstat(arena._mapping.fd)
        if (own.st_dev, own.st_ino) == (status.st_dev, status.st_ino):
            raise ValueError(f"backing file {path} is the arena itself")
    return nbytes // PAGE, (status.st_dev, status.st_ino), os.fsencode(path)


def attach_zram(arena: Any, name: str) -> Zram:
    """The device of that name as it is; KeyError if there is none."""
    return Zram(arena, open_zram(arena, arena._mapping, name, None))


def open_device(
    arena: Any,
    name: str,
    disksize: int | str | None,
    codec: str | None,
    recompress: Sequence[str],
    mem_limit: int | str | None,
    strict: bool | None,
    backing: str | os.PathLike[str] | None,
    compressed_writeback: bool | None,
    chain: int | None,
    size: int | str | None,
) -> Zram:
    """What `Arena.zram` does: the device of that name, made if absent."""
    if disksize is None:
        if codec is not None or recompress or backing is not None:
            raise ValueError(f"zram {name!r}: a device that is to be made needs its disksize")
        return attach_zram(arena, name)
    wanted = None if codec is None else codecs.get(codec)
    words = [codecs.word_of(wanted or codecs.default()), *(codecs.word_of(codecs.get(other)) for other in recompress)]
    if len(words) > 4:
        raise ValueError(f"a Zram has at most three codecs for recompression, not {len(recompress)}")
    nr_blocks, file, path = _file_config(arena, backing)
    config = {
        "chain": chain,
        "limit": 0 if size is None else sizes.parse(size),
        "nr_pages": -(-sizes.parse(disksize) // PAGE),
        "nr_blocks": nr_blocks,
        "options": (WB_COMPRESSED if compressed_writeback else 0) | (STRICT if strict else 0),
        "codecs": (*words, *(0 for _ in range(4 - len(words)))),
        "file": file,
        "path": path,
        "wb_batch": DEFAULT_BATCH,
    }
    pages = open_zram(arena, arena._mapping, name, config)
    found = pages.config()
    ignored = {
        "chain": True,  # compared when it was opened, as the size was
        "limit": True,
        "codecs": codec is None and not recompress,
        "options": strict is None and compressed_writeback is None,
        "nr_blocks": backing is None,
        "file": backing is None,
        "path": backing is None,
    }
    for key, value in found.items():
        if value != config[key] and not ignored.get(key):
            raise LayoutMismatch(
                f"zram {name!r} has {_told(key, value)}, not {_told(key, config[key])}: open it as it is, by its name alone, or "
                "choose another name"
            )
    device = Zram(arena, pages)
    if mem_limit is not None:
        device.mem_limit = mem_limit
    return device


def _told(key: str, value: Any) -> str:
    if key == "nr_pages":
        return f"{value * PAGE} bytes"
    if key == "codecs":
        return f"the codecs {', '.join(codecs.of_word(word).name for word in value if word)}"
    return f"{key} {value!r}"
