from collections.abc import Callable
from typing import Any

class Room:
    def __init__(self) -> None: ...

def filled(fill: Callable[[Any, memoryview, int], int], data: Any, nbytes: int, /) -> bytes: ...
