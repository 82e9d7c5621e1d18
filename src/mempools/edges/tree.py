"""L6: a directory tree as a manifest: what is in it besides the files' bytes."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mempools.errors import Corrupt

MANIFEST = b"\0manifest"  # the key it is stored under; no path has a NUL
Key = str | bytes


def is_hidden(key: Key) -> bool:
    """A key of ours, not a user's."""
    return isinstance(key, bytes) and key.startswith(b"\0")


def key_of(path: str) -> Key:
    """The key of a path as Python has it: a str, or the bytes of a name that is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def path_of(key: Key) -> str:
    return key if isinstance(key, str) else os.fsdecode(key)


@dataclass
class Tree:
    """Paths relative to the root, as Python has them (a name that is not UTF-8 with surrogates)."""

    root: tuple[int, int] = (0o755, 0)  # permission bits, time of the last change in ns
    directories: dict[str, tuple[int, int]] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    # not stored
    nbytes: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # path, what it is

    def encode(self) -> bytes:
        return json.dumps(
            {
                "version": 1,
                "root": self.root,
                "directories": self.directories,
                "files": self.files,
                "links": self.links,
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Tree":
        """Corrupt if the bytes are no manifest."""
        try:
            raw = json.loads(data)
            if raw["version"] != 1:
                raise Corrupt(f"the manifest has version {raw['version']}; this program knows 1")
            return cls(
                _attributes(raw["root"]),
                {path: _attributes(value) for path, value in raw["directories"].items()},
                {path: _attributes(value) for path, value in raw["files"].items()},
                {path: str(value) for path, value in raw["links"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"the manifest makes no sense: {error!r}") from None

    def resolve(self, path: str) -> str:
        """Where the symbolic links in a path lead within the tree; the path itself where they lead out of it."""
        for _ in range(40):
            parts = path.split("/")
            for i in range(1, len(parts) + 1):
                head = "/".join(parts[:i])
                if head in self.links:
                    target = os.path.join(os.path.dirname(head), self.links[head], *parts[i:])
                    path = os.path.normpath(target)
                    break
            else:
                break
        return path


def _attributes(value: Any) -> tuple[int, int]:
    mode, mtime = value
    return int(mode) & 0o777, int(mtime)


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    ):
        if test(mode):
            return name
    return "of an unknown kind"


def scan(directory: str) -> Tree:
    """What is in a directory, symbolic links as such. OSError for what cannot be read."""
    info = os.stat(directory)
    tree = Tree((stat.S_IMODE(info.st_mode) & 0o777, info.st_mtime_ns))
    waiting = [""]
    while waiting:
        parent = waiting.pop()
        with os.scandir(os.path.join(directory, parent)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = os.path.join(parent, entry.name)
                info = entry.stat(follow_symlinks=False)
                attributes = (stat.S_IMODE(info.st_mode) & 0o777, info.st_mtime_ns)
                if entry.is_symlink():
                    tree.links[path] = os.readlink(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    tree.directories[path] = attributes
                    waiting.append(path)
                elif entry.is_file(follow_symlinks=False):
                    tree.files[path] = attributes
                    tree.nbytes[path] = info.st_size
                else:
                    tree.skipped.append((path, _kind(info.st_mode)))
    return tree


def unsafe(paths: Iterator[str]) -> str | None:
    """The first path that would lead out of the directory that it is unpacked into."""
    for path in paths:
        if not path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            return path
    return None
