from collections.abc import Callable, Container, Sequence
from types import ModuleType
from typing import Any, final

from mempools.check.explorer import Explorer

class Ended(BaseException): ...

@final
class FiberExplorer(Explorer):
    error: BaseException | None
    def __init__(
        self,
        scene: str,
        factory: Callable[[], Any],
        names: Sequence[str],
        bodies: Sequence[Callable[[Any], object]],
        handlers: Sequence[Callable[[Any], object] | None],
        greenlet: ModuleType,
        *,
        at_end: Callable[[Any], object] | None = ...,
        dies: Container[int] = ...,
        deaths: int = ...,
        races: bool = ...,
        mutations: Sequence[tuple[str, str]] = ...,
        **options: Any,
    ) -> None: ...

@final
class Worker:
    def __call__(self) -> None: ...

def await_end(name: str, /) -> bool: ...
