"""L4: how a caller names an algorithm of GenPool, and what a user's own algorithm sees.

The codes are those of pools/genpool.pxd; tests/unit/test_algorithms.py holds the two together.
"""

from typing import Protocol

from mempools.objects.infos import ChunkInfo

CODES = {
    "near_fit": 0,
    "first_fit": 1,
    "first_fit_align": 1,
    "best_fit": 2,
    "first_fit_order_align": 3,
    "fixed": 4,
}


class _Finder(Protocol):
    def _find_in(self, index: int, nr: int, start: int) -> int | None: ...


def granule_shift(granule: object) -> int:
    """log2 of a granule. ValueError unless it is a power of two from 1 to 2**40 (bytes)."""
    if not isinstance(granule, int) or granule < 1 or granule & (granule - 1) or granule > 1 << 40:
        raise ValueError(f"granule {granule!r}: a power of two from 1 to 2**40 (bytes) is needed")
    return granule.bit_length() - 1


def code_and_data(algo: str, data: object) -> tuple[int, int]:
    """An algorithm's code, and its data as a number. ValueError for an unknown name or data that it cannot take."""
    if algo not in CODES:
        raise ValueError(f"algorithm {algo!r}: one of {', '.join(CODES)}, or a callable")
    return CODES[algo], _number(algo, data)


def _number(algo: str, data: object) -> int:
    if algo in ("first_fit", "best_fit", "first_fit_align"):
        if data is None and algo != "first_fit_align":
            return 0
        if not isinstance(data, int) or data < 1 or data & (data - 1) or data >> 62:
            raise ValueError(f"{algo}: an alignment is a power of two (bytes), not {data!r}")
        return data
    if algo == "fixed":
        if not isinstance(data, int) or not 0 <= data < 1 << 64:
            raise ValueError(f"fixed: data is the address, an int from 0 to 2**64 - 1, not {data!r}")
        return data
    if algo == "first_fit_order_align":
        if data not in (None, "chunk", "address"):
            raise ValueError(f"first_fit_order_align: data is 'chunk' (default) or 'address', not {data!r}")
        return int(data == "address")
    if data is not None:
        raise ValueError(f"{algo} takes no data, not {data!r}")
    return 0


class ChunkView:
    """What a user's algorithm sees of one chunk: a snapshot that may change under it; the claim that follows decides.

    `index` counts chunks from the oldest, `address` is of the first granule, `granule` in bytes, len() in granules."""

    def __init__(self, pool: _Finder, index: int, info: ChunkInfo, granule: int) -> None:
        self._pool = pool
        self.index = index
        self.address = info.address
        self.granule = granule
        self._nr = info.nbytes // granule

    def __len__(self) -> int:
        return self._nr

    def find(self, nr: int, start: int = 0) -> int | None:
        """The first granule at or after `start` where nr free ones begin, or None."""
        return self._pool._find_in(self.index, nr, start)
