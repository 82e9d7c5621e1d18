"""Makes code of a litmus test's trees.

Dependencies are syntactic, as in the kernel's model: `r1 ^ r1` depends on r1. An `if` keeps its condition's dependencies
in a register of their own, because the C variables may be assigned again before the writes that the branch guards.
"""

from collections.abc import Iterator

from mempools.check.litmusbuild import Value
from mempools.check.litmusc import (
    AddressOf,
    Assign,
    Binary,
    Call,
    Choice,
    Declare,
    Deref,
    Evaluate,
    Expr,
    If,
    Name,
    Num,
    Statement,
    Unary,
    parts,
)
from mempools.check.litmuscalls import Calls
from mempools.check.litmuscode import Instr, Memory, Program, Thread
from mempools.check.litmuscond import Address, Place, Variable, places
from mempools.check.litmusfile import InitialValue, Litmus
from mempools.check.litmuslex import LitmusError, Unsupported
from mempools.check.litmusprims import Load, primitive
from mempools.check.litmusrcu import one_domain


def lower(test: Litmus) -> Program:
    memory = _memory(test)
    threads = {number: _thread(test, number, memory) for number in test.processes}
    one_domain(list(threads.values()))
    shown = [*places(test.condition), *places(test.filter), *test.locations]
    program = Program(test, memory, threads, list(dict.fromkeys(shown)))
    for place in program.places:
        _check(place, program)
    return program


def _memory(test: Litmus) -> Memory:
    memory = Memory()
    for name, values in test.variables.items():
        memory.add(name, len(values))
    for process in test.processes.values():
        for name in process.params:
            memory.add(name)
    for name, values in test.variables.items():
        memory.values[name] = [_initial(value, memory) for value in values]
    return memory


def _initial(value: InitialValue, memory: Memory) -> int:
    return memory.address(value) if isinstance(value, Address) else value


def _check(place: Place, program: Program) -> None:
    """A final state can show that place: there is such a process or element, and there is the register from now on."""
    if isinstance(place, Variable):
        program.memory.add(place.name)
        if place.index >= len(program.memory.values[place.name]):
            raise LitmusError(f"{place.name}[{place.index}] is not in the array")
        return
    if place.process not in program.threads:
        raise LitmusError(f"there is no process P{place.process}")
    thread = program.threads[place.process]
    if place.name not in thread.slots:
        is_param = place.name in program.test.processes[place.process].params
        thread.slots[place.name] = len(thread.image)
        thread.image.append(program.memory.bases[place.name] if is_param else 0)


# ---- names


def _walk(statements: tuple[Statement, ...]) -> Iterator[Statement]:
    """All statements, also those inside others."""
    for statement in statements:
        yield statement
        if isinstance(statement, If):
            yield from _walk(statement.then)
            yield from _walk(statement.otherwise)


def _read_names(statements: tuple[Statement, ...]) -> set[str]:
    """The variables that expressions read."""
    read: list[Expr] = []
    for statement in _walk(statements):
        match statement:
            case Assign(place, value):
                read += parts(value)
                if not isinstance(place, Name):
                    read += parts(place)
            case Evaluate(value) | If(value, _, _):
                read += parts(value)
    return {part.name for part in read if isinstance(part, Name)}


# ---- statements and expressions


def _thread(test: Litmus, number: int, memory: Memory) -> Thread:
    process = test.processes[number]
    lowering = _Lowering(memory, _read_names(process.body))
    for (owner, name), value in test.registers.items():
        if owner == number:
            lowering.local(name, _initial(value, memory))
    # A parameter that is assigned to is a variable like others; one that is not is an address.
    for statement in _walk(process.body):
        match statement:
            case Assign(Name(name), _) if name in process.params:
                lowering.local(name, memory.bases[name])
            case Declare(name):
                lowering.local(name)
            case Assign(Name(name), _):
                lowering.local(name)
    lowering.statements(process.body)
    _settle_fences(lowering.thread.code)
    return lowering.thread


def _settle_fences(code: list[Instr]) -> None:
    """smp_mb__before_atomic is a barrier before a read-modify-write; where none follows it orders nothing."""
    follows = False
    for instr in reversed(code):
        follows = follows or instr.op in ("rmw", "cmpxchg")
        if instr.op == "mb_before_rmw":
            instr.op = "mb" if follows else "nop"


class _Lowering(Calls):
    def statements(self, statements: tuple[Statement, ...]) -> None:
        for statement in statements:
            match statement:
                case Assign(place, value):
                    self._assignment(place, value)
                case Evaluate(value):
                    self.expression(value)
                    self.end_statement()
                case If():
                    self._if(statement)

    def _assignment(self, place: Expr, value: Expr) -> None:
        if isinstance(place, Name):
            result = self.expression(value)
            last = self.thread.code[-1] if self.thread.code else None
            if last is not None and last.op == "rcu_lock" and isinstance(value, Call):
                last.index = place.name
            self.assign(place.name, result)
        elif isinstance(place, Call):  # ACCESS_ONCE(*x) = 1
            access = primitive(place.name, place.annotation)
            if not isinstance(access, Load) or access.of_pointer or len(place.args) != 1:
                raise Unsupported("assignment to a call")
            address = self.place(place.args[0])
            self.store(access.order, address, self.expression(value))
        else:
            address = self.place(place)
            self.store("plain", address, self.expression(value))
        self.end_statement()

    def _if(self, statement: If) -> None:
        condition = self.expression(statement.condition)
        if condition.deps:
            self.begin_guard(condition.deps)
        self.end_statement()
        skip = self.emit("jump_zero", a=condition.slot)
        self.statements(statement.then)
        if statement.otherwise:
            end = self.emit("jump")
            skip.target = self.here()
            self.statements(statement.otherwise)
            end.target = self.here()
        else:
            skip.target = self.here()
        if condition.deps:
            self.end_guard()

    def expression(self, node: Expr) -> Value:
        match node:
            case Num(value):
                return self.constant(value)
            case Name(name):
                return self._name(name)
            case Deref(address):
                return self.load("plain", self.expression(address))
            case AddressOf(Name(name)) if not self.has_local(name):
                return self.constant(self.memory.add(name))
            case AddressOf(_):
                raise Unsupported("address of what is no variable")
            case Unary(op, operand):
                return self._unary(op, self.expression(operand))
            case Binary("&&" | "||" as op, left, right):
                return self._logical(op, left, right)
            case Binary(op, left, right):
                return self.alu(op, self.expression(left), self.expression(right))
            case Choice(condition, then, otherwise):
                return self._branches(self.expression(condition), then, otherwise)
            case Call():
                return self.call(node)

    def _name(self, name: str) -> Value:
        if self.has_local(name):
            local = self.local(name)
            return Value(local.slot, 1 << local.dep if local.dep >= 0 else 0)
        if name in self.memory.bases:
            return self.constant(self.memory.bases[name])
        return Value(self.local(name).slot, 0)

    def _unary(self, op: str, operand: Value) -> Value:
        if op == "!":
            return self.alu("==", operand, self.constant(0))
        if op == "~":
            return self.alu("^", operand, self.constant(-1))
        return self.alu("-", self.constant(0), operand)

    def _logical(self, op: str, left: Expr, right: Expr) -> Value:
        """The right side is evaluated if need be; where that makes no difference, without a branch."""
        first = self.expression(left)
        truth = self.alu("!=", first, self.constant(0))
        if not any(isinstance(part, Call | Deref) for part in parts(right)):
            second = self.alu("!=", self.expression(right), self.constant(0))
            return self.alu("&" if op == "&&" else "|", truth, second)
        if op == "&&":
            return self._branches(truth, Binary("!=", right, Num(0)), Num(0))
        return self._branches(truth, Num(1), Binary("!=", right, Num(0)))

    def _branches(self, condition: Value, then: Expr, otherwise: Expr) -> Value:
        """condition ? then : otherwise"""
        slot, dep = self._new_slot(), self.temporary_dep()
        if condition.deps:
            self.begin_guard(condition.deps)
        skip = self.emit("jump_zero", a=condition.slot)
        self._take(slot, dep, condition, self.expression(then))
        end = self.emit("jump")
        skip.target = self.here()
        self._take(slot, dep, condition, self.expression(otherwise))
        end.target = self.here()
        if condition.deps:
            self.end_guard()
        return Value(slot, 1 << dep)

    def _take(self, slot: int, dep: int, condition: Value, value: Value) -> None:
        self.emit("alu", fn="copy", dst=slot, a=value.slot, b=value.slot)
        self.emit("dep", dep=dep, data_deps=condition.deps | value.deps)
