"""L5: names of arenas and where their files lie."""

import os
import re
from collections.abc import Iterator

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", re.ASCII)


def directory() -> str:
    """Where named arenas live: /dev/shm, or the value of MEMPOOLS_DIR."""
    return os.environ.get("MEMPOOLS_DIR") or "/dev/shm"


def check(name: str) -> str:
    """The name itself if it may name an arena, else ValueError (TypeError for what is no string)."""
    if not isinstance(name, str):
        raise TypeError(f"the name of an arena is a string, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:120]!r} cannot name an arena: 1 to 100 of the letters A to Z and a to z, digits, '.', '_' "
            "and '-', with no '.' in front"
        )
    return name


def path_of(name: str) -> str:
    """The file of the arena `name` of this user."""
    return os.path.join(directory(), f"mempools.{os.geteuid()}.{check(name)}")


def temporary(parent: str, token: str) -> str:
    """A file that is being made, where the file system has no unnamed files; no arena has such a name."""
    return os.path.join(parent, f".mempools.{os.geteuid()}.{token}.tmp")


def named_files() -> Iterator[tuple[str, str]]:
    """(name, path) of what looks like an arena of this user, in order."""
    prefix = f"mempools.{os.geteuid()}."
    parent = directory()
    for entry in sorted(os.listdir(parent)):
        if entry.startswith(prefix) and _NAME.fullmatch(entry[len(prefix) :]):
            yield entry[len(prefix) :], os.path.join(parent, entry)


def temporary_files() -> Iterator[str]:
    """Paths of unfinished files of this user, in order."""
    prefix = f".mempools.{os.geteuid()}."
    parent = directory()
    for entry in sorted(os.listdir(parent)):
        if entry.startswith(prefix) and entry.endswith(".tmp"):
            yield os.path.join(parent, entry)
