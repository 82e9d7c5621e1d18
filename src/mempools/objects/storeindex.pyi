from typing import Any

from _typeshed import ReadableBuffer

from mempools.objects.reservedkey import ReservedKey
from mempools.objects.storereads import StoreReads

class StoreIndex(StoreReads):
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def choose_codec(self, word: int, /) -> int: ...
    def put(
        self,
        key: str | bytes | ReservedKey,
        codec: int,
        nr_logical: int,
        data: ReadableBuffer,
        only_if_absent: bool = False,
        ttl: float | None = None,
    ) -> bool: ...
    def delete(self, key: str | bytes, /) -> bool: ...
    def pop(self, key: str | bytes, /) -> tuple[int, int, bytes] | None: ...

def open_index(arena: object, mapping: Any, name: str, limit: int, create: bool) -> StoreIndex: ...
