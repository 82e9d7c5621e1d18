r"""Conditions of litmus tests: `exists (0:r1=1 /\ ~x=2)`, as trees, and as functions of a final state.

A place is a register of a process (`0:r1`), a variable (`x`, `[x]`) or an element of an array (`x[1]`). On the right of
a comparison stands a number, the name of a variable, which is its address, or a place (`0:r2`, `[x]`, `*x`). From weak
to strong: `\/`, `/\`, `=>`, `~`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mempools.check.litmuslex import Cursor, Unsupported, number


@dataclass(frozen=True, slots=True)
class Register:
    process: int
    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    index: int = 0


Place = Register | Variable


@dataclass(frozen=True, slots=True)
class Address:
    name: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Equal:
    place: Place
    value: Place | Address | int


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Condition"


@dataclass(frozen=True, slots=True)
class Both:
    left: "Condition"
    right: "Condition"


@dataclass(frozen=True, slots=True)
class Either:
    left: "Condition"
    right: "Condition"


@dataclass(frozen=True, slots=True)
class Constant:
    value: bool


Condition = Equal | Not | Both | Either | Constant


def condition(cursor: Cursor) -> Condition:
    left = _both(cursor)
    while cursor.accept("\\/") or cursor.accept("||"):
        left = Either(left, _both(cursor))
    return left


def _both(cursor: Cursor) -> Condition:
    left = _implies(cursor)
    while cursor.accept("/\\") or cursor.accept("&&"):
        left = Both(left, _implies(cursor))
    return left


def _implies(cursor: Cursor) -> Condition:
    left = _not(cursor)
    return Either(Not(left), _implies(cursor)) if cursor.accept("=>") else left


def _not(cursor: Cursor) -> Condition:
    if cursor.accept("~") or cursor.accept("not") or cursor.accept("!"):
        return Not(_not(cursor))
    if cursor.accept("("):
        inner = condition(cursor)
        cursor.expect(")")
        return inner
    for word in ("true", "false"):
        if cursor.accept(word):
            return Constant(word == "true")
    return _comparison(cursor)


def _comparison(cursor: Cursor) -> Condition:
    left = place(cursor)
    differs = cursor.accept("!=")
    if not differs and not cursor.accept("=") and not cursor.accept("=="):
        raise cursor.error("'=' or '!='")
    found = Equal(left, _value(cursor))
    return Not(found) if differs else found


def place(cursor: Cursor) -> Place:
    process = _process(cursor)
    if process is not None:
        return Register(process, cursor.name())
    if cursor.accept("["):
        name = cursor.name()
        cursor.expect("]")
        return Variable(name)
    name = cursor.name()
    if cursor.sees("->") or cursor.sees("."):
        raise Unsupported("struct member")
    return Variable(name, _index(cursor))


def _process(cursor: Cursor) -> int | None:
    """`0:` or `P0:`, taken; None if that does not come next."""
    word = cursor.peek()
    if cursor.peek(1).text != ":" or not (word.kind == "number" or (word.text[:1] == "P" and word.text[1:].isdigit())):
        return None
    cursor.at += 2
    return int(word.text.removeprefix("P"))


def _index(cursor: Cursor) -> int:
    if not cursor.accept("["):
        return 0
    if cursor.peek().kind != "number":
        raise cursor.error("a number")
    index = number(cursor.next().text)
    cursor.expect("]")
    return index


def _value(cursor: Cursor) -> Place | Address | int:
    if cursor.peek(1).text == ":":
        return place(cursor)
    if cursor.sees("[") or cursor.accept("*"):
        return place(cursor)
    return constant(cursor)


def constant(cursor: Cursor) -> Address | int:
    """A number, or a variable's address: `x`, `&x`, `x[1]`."""
    if cursor.sees("{"):
        raise Unsupported("array as a value")
    sign = -1 if cursor.accept("-") else 1
    if cursor.peek().kind == "number":
        return sign * number(cursor.next().text)
    cursor.accept("&")
    name = cursor.name()
    return 0 if name == "NULL" else Address(name, _index(cursor))


def places(tree: Condition) -> Iterator[Place]:
    """Those that a condition looks at, in order, each as often as it is there."""
    match tree:
        case Equal(left, right):
            yield left
            if isinstance(right, Register | Variable):
                yield right
        case Not(operand):
            yield from places(operand)
        case Both(left_part, right_part) | Either(left_part, right_part):
            yield from places(left_part)
            yield from places(right_part)


State = tuple[int, ...]
Test = Callable[[State], bool]


def function(tree: Condition, column: dict[Place, int], address: Callable[[Address], int]) -> Test:
    """The condition of a final state that has the value of place p in column[p]."""
    match tree:
        case Constant(value):
            return lambda state: value
        case Not(operand):
            inner = function(operand, column, address)
            return lambda state: not inner(state)
        case Both(left, right):
            first, second = function(left, column, address), function(right, column, address)
            return lambda state: first(state) and second(state)
        case Either(left, right):
            first, second = function(left, column, address), function(right, column, address)
            return lambda state: first(state) or second(state)
        case Equal(left_place, right_value):
            return _equal(column[left_place], right_value, column, address)


def _equal(at: int, value: Place | Address | int, column: dict[Place, int], address: Callable[[Address], int]) -> Test:
    if isinstance(value, Register | Variable):
        other = column[value]
        return lambda state: state[at] == state[other]
    wanted = address(value) if isinstance(value, Address) else value
    return lambda state: state[at] == wanted
