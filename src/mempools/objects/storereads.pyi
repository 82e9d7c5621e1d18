from collections.abc import Callable
from typing import Any

from _typeshed import WriteableBuffer

from mempools.objects.reservedkey import ReservedKey
from mempools.objects.storeentries import StoreEntries

_Stored = tuple[int, int, bytes]

class StoreReads(StoreEntries):
    def get(self, key: str | bytes | ReservedKey, /) -> _Stored | None: ...
    def get_filled(
        self, key: str | bytes | ReservedKey, number: int, fill: Callable[[Any, Any, int], int] | None, /
    ) -> bytes | _Stored | None: ...
    def get_timed(self, key: str | bytes, /) -> tuple[int, int, bytes, float | None] | None: ...
    def get_raw_into(
        self,
        key: str | bytes,
        buffer: WriteableBuffer,
        number: int = 0,
        fill: Callable[[Any, Any, int], int] | None = None,
        /,
    ) -> tuple[int, int, bytes | None] | None: ...
    def contains(self, key: str | bytes | ReservedKey, /) -> bool: ...
    def ttl(self, key: str | bytes, /) -> tuple[float | None] | None: ...
    def touch(self, key: str | bytes, ttl: float | None, /) -> bool: ...
