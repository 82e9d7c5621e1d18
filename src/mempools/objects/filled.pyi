from collections.abc import Callable
from typing import Any, final

@final
class Room:
    def __init__(self, *args: object, **kwargs: object) -> None: ...

def filled(fill: Callable[[Any, Any, int], int], data: Any, nbytes: int, /) -> bytes: ...
