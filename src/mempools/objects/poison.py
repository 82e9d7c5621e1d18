"""L4: what the poison of a Mempool's free elements says."""

_CONTEXT = 8  # bytes shown on either side


class PoisonWarning(RuntimeWarning):
    """Somebody wrote to an element of a Mempool while it was in the reserve."""


def report(found: bytes | bytearray, byte: int, last: int) -> str | None:
    """The first byte that is not what it was filled with, with those around it; None if all are."""
    expected = bytes([byte]) * (len(found) - 1) + bytes([last])
    if found == expected:
        return None
    at = next(i for i, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other)
    low, high = max(at - _CONTEXT, 0), at + _CONTEXT + 1
    return (
        f"byte {at} of {len(found)} is {found[at]:#04x} instead of {expected[at]:#04x}; "
        f"bytes {low} to {min(high, len(found)) - 1}: {found[low:high].hex(' ')}"
    )
