from collections.abc import Callable
from typing import Any

def filled(fill: Callable[[Any, memoryview, int], int], data: Any, nbytes: int, /) -> bytes: ...
