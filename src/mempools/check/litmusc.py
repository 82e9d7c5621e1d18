"""The C of litmus tests: a process's statements, as trees.

Only what a test can mean is a tree: types and casts are read over, `a[i]` is `*(a + i)`, `e += 1` is `e = e + 1`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mempools.check.litmuslex import Cursor, Unsupported, number


@dataclass(frozen=True, slots=True)
class Num:
    value: int


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Deref:
    address: "Expr"


@dataclass(frozen=True, slots=True)
class AddressOf:
    place: "Expr"


@dataclass(frozen=True, slots=True)
class Unary:
    op: str  # - ~ !
    operand: "Expr"


@dataclass(frozen=True, slots=True)
class Binary:
    op: str
    left: "Expr"
    right: "Expr"


@dataclass(frozen=True, slots=True)
class Choice:
    """condition ? then : otherwise"""

    condition: "Expr"
    then: "Expr"
    otherwise: "Expr"


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    annotation: str  # of a pseudo-function: __load{once}
    args: tuple["Expr", ...]


Expr = Num | Name | Deref | AddressOf | Unary | Binary | Choice | Call


def parts(node: Expr) -> Iterator[Expr]:
    """An expression and all that it is made of."""
    yield node
    match node:
        case Deref(inner) | AddressOf(inner) | Unary(_, inner):
            yield from parts(inner)
        case Binary(_, left, right):
            yield from parts(left)
            yield from parts(right)
        case Choice(condition, then, otherwise):
            for part in (condition, then, otherwise):
                yield from parts(part)
        case Call(_, _, args):
            for part in args:
                yield from parts(part)


@dataclass(frozen=True, slots=True)
class Declare:
    name: str


@dataclass(frozen=True, slots=True)
class Assign:
    place: Expr
    value: Expr


@dataclass(frozen=True, slots=True)
class Evaluate:
    value: Expr


@dataclass(frozen=True, slots=True)
class If:
    condition: Expr
    then: tuple["Statement", ...]
    otherwise: tuple["Statement", ...]


Statement = Declare | Assign | Evaluate | If

_TYPES = frozenset(
    "int long short char unsigned signed void bool _Bool volatile const register static struct union enum "
    "u8 u16 u32 u64 s8 s16 s32 s64 __rcu auto".split()
)
_LOOPS = frozenset("while do for goto switch case default break continue return asm __asm__".split())
_BINARY = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
_ASSIGNING = ("+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=")


def is_type(name: str) -> bool:
    return name in _TYPES or name.endswith("_t")


def body(cursor: Cursor) -> tuple[Statement, ...]:
    """`{ ... }`"""
    cursor.expect("{")
    found: list[Statement] = []
    while not cursor.accept("}"):
        found += _statement(cursor)
    return tuple(found)


def _statement(cursor: Cursor) -> list[Statement]:
    if cursor.accept(";"):
        return []
    if cursor.sees("{"):
        return list(body(cursor))
    if cursor.accept("if"):
        cursor.expect("(")
        condition = expression(cursor)
        cursor.expect(")")
        then = tuple(_statement(cursor))
        otherwise = tuple(_statement(cursor)) if cursor.accept("else") else ()
        return [If(condition, then, otherwise)]
    word = cursor.peek()
    if word.kind == "name" and word.text in _LOOPS:
        raise Unsupported(word.text)
    if word.kind == "name" and cursor.sees(word.text, ":"):
        raise Unsupported("label")
    found = _declaration(cursor) if _declares(cursor) else [_simple(cursor)]
    cursor.expect(";")
    return found


def _declares(cursor: Cursor) -> bool:
    """A type comes next: a word that is one, or any two words with nothing but stars between."""
    if cursor.peek().kind != "name":
        return False
    if is_type(cursor.peek().text):
        return cursor.peek(1).text != "="
    ahead = 1
    while cursor.peek(ahead).text == "*":
        ahead += 1
    return cursor.peek(ahead).kind == "name" and cursor.peek(ahead + 1).text in ("=", ";", ",", "[")


def _declaration(cursor: Cursor) -> list[Statement]:
    while cursor.peek().kind == "name" and (is_type(cursor.peek().text) or cursor.peek(1).kind == "name"):
        if cursor.next().text in ("struct", "union", "enum"):
            cursor.name()
    if cursor.peek(1).text == "*":  # a type that only its place shows to be one
        cursor.next()
    found: list[Statement] = []
    while True:
        while cursor.accept("*") or cursor.accept("volatile") or cursor.accept("const"):
            pass
        name = cursor.name()
        if cursor.sees("["):
            raise Unsupported("local array")
        found.append(Declare(name))
        if cursor.accept("="):
            if cursor.sees("{"):
                raise Unsupported("initializer list")
            found.append(Assign(Name(name), expression(cursor)))
        if not cursor.accept(","):
            return found


def _simple(cursor: Cursor) -> Statement:
    """An assignment, or an expression alone."""
    if cursor.sees("++") or cursor.sees("--"):
        op = cursor.next().text[0]
        place = _unary(cursor)
        return Assign(place, Binary(op, place, Num(1)))
    place = expression(cursor)
    if cursor.sees("++") or cursor.sees("--"):
        return Assign(place, Binary(cursor.next().text[0], place, Num(1)))
    mark = cursor.peek().text
    if mark in _ASSIGNING:
        cursor.next()
        return Assign(place, Binary(mark[:-1], place, expression(cursor)))
    if not cursor.accept("="):
        return Evaluate(place)
    value = expression(cursor)
    if cursor.sees("="):
        raise Unsupported("assignment in an expression")
    return Assign(place, value)


def expression(cursor: Cursor) -> Expr:
    condition = _binary(cursor, 0)
    if not cursor.accept("?"):
        return condition
    then = expression(cursor)
    cursor.expect(":")
    return Choice(condition, then, expression(cursor))


def _binary(cursor: Cursor, level: int) -> Expr:
    if level == len(_BINARY):
        return _unary(cursor)
    left = _binary(cursor, level + 1)
    while cursor.peek().kind == "mark" and cursor.peek().text in _BINARY[level]:
        op = cursor.next().text
        left = Binary(op, left, _binary(cursor, level + 1))
    return left


def _unary(cursor: Cursor) -> Expr:
    for op in ("-", "~", "!"):
        if cursor.accept(op):
            operand = _unary(cursor)
            return Num(-operand.value) if op == "-" and isinstance(operand, Num) else Unary(op, operand)
    if cursor.accept("+"):
        return _unary(cursor)
    if cursor.accept("*"):
        return Deref(_unary(cursor))
    if cursor.accept("&"):
        place = _unary(cursor)
        return place.address if isinstance(place, Deref) else AddressOf(place)
    if cursor.sees("++") or cursor.sees("--"):
        raise Unsupported("assignment in an expression")
    if cursor.peek().text == "sizeof":
        raise Unsupported("sizeof")
    if cursor.sees("(") and skip_cast(cursor):
        return _unary(cursor)
    return _postfix(cursor)


def skip_cast(cursor: Cursor) -> bool:
    """Reads over `(type)`, if that comes next."""
    ahead = 1
    while cursor.peek(ahead).kind == "name" or cursor.peek(ahead).text == "*":
        ahead += 1
    words = [cursor.peek(i) for i in range(1, ahead)]
    if cursor.peek(ahead).text != ")" or not words or words[0].kind != "name":
        return False
    if not is_type(words[0].text) and not (len(words) > 1 and words[-1].text == "*"):
        return False
    cursor.at += ahead + 1
    return True


def _postfix(cursor: Cursor) -> Expr:
    value = _primary(cursor)
    while True:
        if cursor.accept("["):
            value = Deref(Binary("+", value, expression(cursor)))
            cursor.expect("]")
        elif cursor.sees("->") or cursor.sees("."):
            raise Unsupported("struct member")
        else:
            return value


def _primary(cursor: Cursor) -> Expr:
    token = cursor.peek()
    if cursor.accept("("):
        if cursor.sees("{"):
            raise Unsupported("statement expression")
        value = expression(cursor)
        if cursor.sees("="):
            raise Unsupported("assignment in an expression")
        if cursor.sees(","):
            raise Unsupported("comma operator")
        cursor.expect(")")
        return value
    if token.kind == "number":
        return Num(number(cursor.next().text))
    if token.kind != "name":
        raise cursor.error("an expression")
    name = cursor.next().text
    annotation = ""
    if name.startswith("__") and cursor.accept("{"):
        annotation = cursor.name()
        while cursor.sees("-") or cursor.sees(","):
            annotation += cursor.next().text + cursor.name()
        cursor.expect("}")
    if cursor.accept("("):
        return Call(name, annotation, _arguments(cursor))
    if annotation:
        return Call(name, annotation, ())
    return {"NULL": Num(0), "true": Num(1), "false": Num(0)}.get(name, Name(name))


def _arguments(cursor: Cursor) -> tuple[Expr, ...]:
    args: list[Expr] = []
    while not cursor.accept(")"):
        if args:
            cursor.expect(",")
        if cursor.peek().kind == "mark" and cursor.peek(1).text == ",":  # __atomic_op(x, +, 1)
            args.append(Name(cursor.next().text))
        else:
            args.append(expression(cursor))
    return tuple(args)
