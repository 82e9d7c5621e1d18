from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mempools.objects.poolobject import KIND_NAMES as KIND_NAMES

_Read = Callable[[int, int], bytes]

PAGE: int
TABLES: tuple[tuple[str, int], ...]
DIRECTORY: int
RESERVE: int
STRUCT: int
SHARED: int
META: int
START_BIT: int

@dataclass(frozen=True)
class SeenChunk:
    run: int
    run_nbytes: int
    base: int
    nr: int
    map: int

@dataclass(frozen=True)
class SeenPool:
    index: int
    name: str
    kind: str
    granule: int
    foreign: bool
    root: int
    root_nbytes: int
    shares: int
    shares_nbytes: int
    chunks: tuple[SeenChunk, ...]

@dataclass(frozen=True)
class SeenZspage:
    offset: int
    nbytes: int
    slot_nbytes: int
    objs: int
    inuse: int

def memory_of(mapping: Any) -> _Read: ...
def pools_seen(read: _Read, nbytes: int) -> list[SeenPool]: ...
def counters_seen(kind: str, root: bytes) -> dict[str, int]: ...
def units_seen(root: bytes) -> tuple[int, int]: ...
def zspages_seen(read: _Read, nbytes: int, root: bytes) -> list[SeenZspage]: ...
