"""The code of one process of a litmus test in the making: slots, dependency registers, instructions."""

from typing import Any, NamedTuple

from mempools.check.litmusc import Expr
from mempools.check.litmuscode import MAX_DEPS, Instr, Memory, Thread
from mempools.check.litmuslex import Unsupported


class Value(NamedTuple):
    slot: int
    deps: int  # a mask of dependency registers


class Local:
    """A C variable of the process."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.dep = -1  # its dependency register, once it has one


class Builder:
    def __init__(self, memory: Memory, read_names: set[str]) -> None:
        self.memory = memory
        self.thread = Thread()
        self._read_names = read_names
        self._locals: dict[str, Local] = {}
        self._constants: dict[int, int] = {}
        self._free_deps = list(range(MAX_DEPS))
        self._temporary_deps: list[int] = []
        self._guards: list[int] = []  # the dependency registers of the branches around
        self._answering: Instr | None = None  # the last instruction whose answer is in a slot of its own

    def expression(self, node: Expr) -> Value:
        raise NotImplementedError

    # ---- slots

    def _new_slot(self, value: int = 0) -> int:
        self.thread.image.append(value)
        return len(self.thread.image) - 1

    def constant(self, value: int) -> Value:
        if value not in self._constants:
            self._constants[value] = self._new_slot(value)
        return Value(self._constants[value], 0)

    def local(self, name: str, value: int = 0) -> Local:
        """The C variable of that name, made with that first value if there is none."""
        if name not in self._locals:
            self._locals[name] = Local(self._new_slot(value))
            self.thread.slots[name] = self._locals[name].slot
        return self._locals[name]

    def has_local(self, name: str) -> bool:
        return name in self._locals

    # ---- dependency registers

    def _new_dep(self) -> int:
        if not self._free_deps:
            raise Unsupported(f"more than {MAX_DEPS} dependencies at a time")
        return self._free_deps.pop(0)

    def temporary_dep(self) -> int:
        """A dependency register for the rest of the statement."""
        self._temporary_deps.append(self._new_dep())
        return self._temporary_deps[-1]

    def end_statement(self) -> None:
        self._free_deps = self._temporary_deps + self._free_deps
        self._temporary_deps = []

    def begin_guard(self, deps: int) -> None:
        """What follows is under a branch on a value with these dependencies."""
        dep = self._new_dep()
        self.emit("dep", dep=dep, data_deps=deps)
        self._guards.append(dep)

    def end_guard(self) -> None:
        self._free_deps.insert(0, self._guards.pop())

    # ---- instructions

    def emit(self, op: str, **fields: Any) -> Instr:
        instr = Instr(op, ctrl_deps=sum(1 << dep for dep in self._guards), **fields)
        self.thread.code.append(instr)
        return instr

    def here(self) -> int:
        return len(self.thread.code)

    def alu(self, fn: str, left: Value, right: Value) -> Value:
        slot = self._new_slot()
        self.emit("alu", fn=fn, dst=slot, a=left.slot, b=right.slot)
        return Value(slot, left.deps | right.deps)

    def answer(self, op: str, **fields: Any) -> Value:
        """An instruction that memory answers."""
        dep = self.temporary_dep()
        slot = self._new_slot()
        self._answering = self.emit(op, dst=slot, dep=dep, **fields)
        return Value(slot, 1 << dep)

    def assign(self, name: str, value: Value) -> None:
        local = self.local(name)
        is_read = name in self._read_names
        if is_read and local.dep < 0 and value.deps:
            local.dep = self._new_dep()
        dep = local.dep if is_read else -1
        last = self._answering
        if last is not None and last is self.thread.code[-1] and last.dst == value.slot:
            last.dst, last.dep = local.slot, dep  # the answer goes there at once
            self._answering = None
            return
        self.emit("alu", fn="copy", dst=local.slot, a=value.slot, b=value.slot)
        if dep >= 0:
            self.emit("dep", dep=dep, data_deps=value.deps)
