"""L4: what `stats()` and `chunks()` of pools return."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ChunkInfo:
    """One chunk of a GenPool; sizes in bytes. `address` is an arena offset, or the address of foreign memory."""

    address: int
    nbytes: int
    avail: int
    device: int | None
    owner: int


@dataclass(frozen=True)
class GenPoolStats:
    """Sizes in bytes. `largest` is the largest block that could be had now; `holders` maps process ids to what they hold,
    with "shared" and "structures" for blocks that no single process owns."""

    size: int
    avail: int
    largest: int
    granule: int
    chunks: int
    holders: dict[int | str, int]


@dataclass(frozen=True)
class PoolInfo:
    """A pool of an arena; sizes in bytes. `kind` is "pages", "genpool" or "store"; the arena's own pages have no name."""

    name: str
    kind: str
    granule: int
    size: int
    avail: int
    chunks: int


@dataclass(frozen=True)
class ArenaStats:
    """Sizes in bytes. `free_bytes` are in pages that no pool has taken; `recovered` counts the dead processes whose remains
    were swept since the arena was made."""

    nbytes: int
    free_bytes: int
    pools: tuple[PoolInfo, ...]
    processes: int
    recovered: int
