from collections.abc import Sequence

Operation = tuple[int, int, int, int, int, int]

def set_program(cpus: Sequence[Sequence[Operation]]) -> None: ...
