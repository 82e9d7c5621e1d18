"""Litmus tests as code: what the trees of litmusfile become, and what the interpreter runs.

A value lives in a slot of its process. Each process has an image of its slots: the constants, and what registers begin
with. What a value depends on is a set of dependency registers (a mask), known when the code is made: those that the
reads behind it write to.
"""

from dataclasses import dataclass, field

from mempools.check.litmuscond import Address, Place, Register
from mempools.check.litmusfile import Litmus

MAX_DEPS = 32


@dataclass(slots=True)
class Instr:
    """One step of a process.

    alu: slot dst = slot a `fn` slot b            jump; jump_zero: if slot a is zero
    dep: register dep = union of data_deps        nop
    read, lock, unlock, trylock: at slot a        write: slot b at slot a
    rmw: `fn` with slot b at slot a               cmpxchg: expected slot b, new slot c
    mb, rmb, wmb, relax, rcu_lock, rcu_unlock, synchronize_rcu
    mb_after_rmw, mb_after_lock: mb, if the process has done one

    What memory answers goes to slot dst and dependency register dep; -1: nowhere.
    """

    op: str
    dst: int = -1
    a: int = -1
    b: int = -1
    c: int = -1
    fn: str = ""
    order: str = "relaxed"
    silent: bool = False  # an rmw that returns nothing
    dep: int = -1
    addr_deps: int = 0
    data_deps: int = 0
    ctrl_deps: int = 0
    target: int = -1  # of a jump: the number of an instruction
    domain: str = ""  # of an RCU operation: a srcu_struct's name, "" for RCU itself
    index: str = ""  # the variable that links srcu_read_lock and srcu_read_unlock


@dataclass(slots=True)
class Thread:
    code: list[Instr] = field(default_factory=list)
    image: list[int] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)  # of the registers, by name


@dataclass(slots=True)
class Program:
    test: Litmus
    memory: "Memory"
    threads: dict[int, Thread]  # by the processes' numbers
    places: list[Place]  # what a final state shows, in this order

    def where(self, place: Place) -> tuple[int | None, int]:
        """A process and a slot of it, or None and an address."""
        if isinstance(place, Register):
            return place.process, self.threads[place.process].slots[place.name]
        return None, self.memory.address(Address(place.name, place.index))


class Memory:
    """The variables of a test: where they lie, and what they begin with."""

    base = 1 << 40  # of the first variable; no test counts as far
    step = 1 << 12  # from variable to variable; elements are one apart, so that pointer arithmetic is plain

    def __init__(self) -> None:
        self.bases: dict[str, int] = {}
        self.values: dict[str, list[int]] = {}

    def add(self, name: str, nr: int = 1) -> int:
        """The address of a variable, which is there from now on."""
        if name not in self.bases:
            self.bases[name] = self.base + len(self.bases) * self.step
            self.values[name] = [0] * nr
        return self.bases[name]

    def address(self, of: Address) -> int:
        return self.add(of.name) + of.index

    def items(self) -> list[tuple[int, int]]:
        """Address and first value of every element."""
        return [
            (self.bases[name] + index, value) for name in self.bases for index, value in enumerate(self.values[name])
        ]
