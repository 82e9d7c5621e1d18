from dataclasses import dataclass

HEADER_NBYTES: int

@dataclass(frozen=True)
class Header:
    nbytes: int
    id: str
    persist: bool
    created_ns: int

def nbytes_min(nbytes: int) -> int: ...
def inspect(fd: int) -> Header: ...
