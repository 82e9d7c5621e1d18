"""L4: keys of a store's own entries, which no user can ask for and no iteration shows."""


class ReservedKey:
    """Another kind than the str and bytes of users; equal bytes are the same entry."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        return f"ReservedKey({self.raw!r})"
