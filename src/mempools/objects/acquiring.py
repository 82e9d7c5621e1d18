"""L4: `with pool.acquire() as element` and `async with pool.acquire() as element`, for every kind of Mempool."""

from types import TracebackType
from typing import Any


class Acquired:
    """An element for the time of a `with` or `async with` block; made by Mempool.acquire, good for one block."""

    __slots__ = ("_element", "_pool", "_timeout")

    def __init__(self, pool: Any, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout

    def __enter__(self) -> Any:
        self._element = self._pool.alloc(timeout=self._timeout)
        self._pool.holders.entered(self._element, self._pool)
        return self._element

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        element = self._element
        del self._element
        self._pool.holders.left(element)
        self._pool.free(element)

    async def __aenter__(self) -> Any:
        self._element = await self._pool.alloc_async(self._timeout)
        self._pool.holders.entered(self._element, self._pool)
        return self._element

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
