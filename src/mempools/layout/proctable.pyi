from dataclasses import dataclass

LIVE_BASE: int
MEND_BASE: int
ATTACH_BYTE: int
NAME_BYTE: int
SLOTS: int

@dataclass(frozen=True)
class Process:
    slot: int
    pid: int
    start_time: int
    generation: int
    alive: bool

def snapshot(fd: int) -> list[Process]: ...
