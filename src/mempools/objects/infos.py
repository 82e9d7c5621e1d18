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
