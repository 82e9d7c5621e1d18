"""L5: sizes as people write them."""

import operator
import re
from typing import SupportsIndex

Size = int | str

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE | re.ASCII)
_MAX = 1 << 62


def parse(size: SupportsIndex | str) -> int:
    """Bytes of a size: an int, or a string such as "4096", "64K", "256M", "1.5G" (units of 1024; "MiB" and "MB" too).

    ValueError for anything that is not a positive size below 4 EiB, TypeError for other types. Thread-safe.
    """
    if isinstance(size, str):
        match = _PATTERN.fullmatch(size)
        if match is None:
            raise ValueError(f'not a size: {size!r}; write bytes or a unit of K, M, G, T, as in 4096, "64K", "256M"')
        number, unit = match.groups()
        whole, _, fraction = number.partition(".")
        if len(whole) > 19 or len(fraction) > 19:
            raise ValueError(f"not a size: {size[:40]!r} has too many digits")
        scaled = int(whole + fraction) << _UNITS[unit.upper()]
        nbytes, rest = divmod(scaled, int(10 ** len(fraction)))
        if rest:
            raise ValueError(f"not a size: {size!r} is no whole number of bytes")
    elif isinstance(size, bool):
        raise TypeError("a size is an int or a string, not a bool")
    else:
        try:
            nbytes = operator.index(size)
        except TypeError:
            raise TypeError(f"a size is an int or a string, not {type(size).__name__}") from None
    if not 0 < nbytes <= _MAX:
        raise ValueError(f"a size must be positive and below 4 EiB, not {size!r}")
    return nbytes


def text(nbytes: int) -> str:
    """A size for people: "512 B", "64 KiB", "1.5 GiB"; three significant digits. Thread-safe."""
    value, unit = float(nbytes), 0
    while abs(value) >= 1024 and unit < 4:
        value /= 1024
        unit += 1
    if unit == 0:
        return f"{nbytes} B"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    number = f"{value:.{digits}f}"
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {' KMGT'[unit]}iB"
