"""Litmus files in the C of the kernel's memory model, read into trees.

    C name
    "notes of a generator"                        (read over, up to the first brace)
    { int x = 1; int *p = &x; 0:r1=2; }
    P0(int *x, spinlock_t *s) { ... }             the processes
    locations [x; 0:r1]                           shown beside what the condition names
    filter (0:r1=1)                               final states that count
    exists (x=1 /\\ 0:r2=0)                        or ~exists, forall

`read(text)` raises LitmusError for what is malformed, and Unsupported for what it knows but does not handle.
"""

from dataclasses import dataclass, field

from mempools.check.litmusc import Statement, body, skip_cast
from mempools.check.litmuscond import Address, Condition, Constant, Place, Register, condition, constant, place
from mempools.check.litmuslex import Cursor, LitmusError, Unsupported, tokenize

MAX_ELEMENTS = 1024

InitialValue = Address | int
TRUE = Constant(True)


@dataclass(slots=True)
class Process:
    params: list[str]
    body: tuple[Statement, ...]


@dataclass(slots=True)
class Litmus:
    """A test. Variables that nothing initializes are not in `variables`: they are zero."""

    name: str
    variables: dict[str, list[InitialValue]] = field(default_factory=dict)  # an array's elements; one for a scalar
    registers: dict[tuple[int, str], InitialValue] = field(default_factory=dict)
    processes: dict[int, Process] = field(default_factory=dict)  # in the order of the file
    locations: list[Place] = field(default_factory=list)
    filter: Condition = TRUE
    quantifier: str = "forall"  # or "exists", "~exists"
    condition: Condition = TRUE


def read(text: str) -> Litmus:
    """A litmus file's text as a tree."""
    header, _, rest = text.lstrip("\ufeff \t\r\n").partition("\n")
    words = header.split(None, 1)
    if not words:
        raise LitmusError("the file is empty")
    if words[0] != "C":
        if words[0].isalnum():
            raise Unsupported(f"architecture {words[0]}")
        raise LitmusError(f"line 1: the architecture C and a name expected, not {header[:40]!r}")
    try:
        return _test(words[1].split("(*")[0].strip() if len(words) > 1 else "", Cursor(tokenize(rest)))
    except RecursionError:
        raise Unsupported("expression or block that is nested too deep") from None


def _test(name: str, cursor: Cursor) -> Litmus:
    test = Litmus(name)
    cursor.expect("{")
    while not cursor.accept("}"):
        if not cursor.accept(";"):
            _initial(test, cursor)
    while cursor.peek(1).text == "(" and _process_number(cursor.peek().text) >= 0:
        _process(test, cursor)
    if not test.processes:
        raise cursor.error("a process, P0(...) { ... },")
    _tail(test, cursor)
    return test


# ---- what variables and registers begin with


def _initial(test: Litmus, cursor: Cursor) -> None:
    """One declaration of the first block, up to its semicolon or the end of the block."""
    while cursor.peek().kind == "name" and (cursor.peek(1).kind == "name" or _type_ends(cursor)):
        cursor.next()
    while cursor.accept("*"):
        pass
    bracketed = cursor.sees("[")
    what = place(cursor)
    is_array = not bracketed and cursor.tokens[cursor.at - 1].text == "]"
    values: list[InitialValue] = _values(cursor) if cursor.accept("=") else [0]
    if isinstance(what, Register):
        test.registers[what.process, what.name] = values[0]
    else:
        nr = what.index if is_array else 1
        if not 0 < nr <= MAX_ELEMENTS or len(values) > nr:
            raise cursor.error(f"an array of 1 to {MAX_ELEMENTS} elements, with no more values,")
        test.variables[what.name] = values + [0] * (nr - len(values))
    if not cursor.sees("}"):
        cursor.expect(";")


def _type_ends(cursor: Cursor) -> bool:
    """The next word is the last of a type: a star or a register follows."""
    after = cursor.peek(1)
    return after.text == "*" or (after.kind == "number" and cursor.peek(2).text == ":")


def _values(cursor: Cursor) -> list[InitialValue]:
    if not cursor.accept("{"):
        return [_value(cursor)]
    found: list[InitialValue] = []
    while not cursor.accept("}"):
        found.append(_value(cursor))
        if not cursor.sees("}"):
            cursor.expect(",")
    return found


def _value(cursor: Cursor) -> InitialValue:
    """A number or address, also in parentheses, behind a cast, or in a macro such as ATOMIC_INIT."""
    word = cursor.peek()
    if word.kind == "name" and word.text.endswith("_LOCK_UNLOCKED"):
        cursor.next()
        if cursor.accept("("):
            cursor.name()
            cursor.expect(")")
        return 0
    if word.kind == "name" and word.text.endswith("_INIT") and cursor.peek(1).text == "(":
        cursor.next()
    if cursor.sees("(") and not skip_cast(cursor):
        cursor.expect("(")
        value = _value(cursor)
        cursor.expect(")")
        return value
    return constant(cursor)


# ---- processes


def _process_number(word: str) -> int:
    """Of P0, P1, ...; -1 for another word."""
    return int(word[1:]) if word[:1] == "P" and word[1:].isdigit() else -1


def _process(test: Litmus, cursor: Cursor) -> None:
    process = _process_number(cursor.peek().text)
    if process in test.processes:
        raise cursor.error(f"a process other than P{process}")
    cursor.next()
    cursor.expect("(")
    params: list[str] = []
    while not cursor.accept(")"):
        if params:
            cursor.expect(",")
        if not cursor.sees("void", ")") or params:
            params.append(_param(cursor))
        else:
            cursor.next()
    test.processes[process] = Process(params, body(cursor))


def _param(cursor: Cursor) -> str:
    """Its name. Whatever its type, it is the address of the variable of that name."""
    name = ""
    while not cursor.sees(",") and not cursor.sees(")"):
        if cursor.accept("["):
            if cursor.peek().kind == "number":
                cursor.next()
            cursor.expect("]")
        elif not cursor.accept("*"):
            name = cursor.name()
    if not name:
        raise cursor.error("a parameter's name")
    return name


# ---- what is asked about them


def _tail(test: Litmus, cursor: Cursor) -> None:
    while cursor.accept("locations"):
        cursor.expect("[")
        while not cursor.accept("]"):
            if cursor.accept(";"):
                continue
            test.locations.append(place(cursor))
            while not cursor.sees(";") and not cursor.sees("]"):
                cursor.next()  # a type, to print it by
                if cursor.peek().kind == "end":
                    raise cursor.error("']'")
    if cursor.accept("filter"):
        test.filter = condition(cursor)
    negated = cursor.accept("~") or cursor.accept("not")
    for word in ("exists", "final") if negated else ("exists", "final", "forall"):
        if cursor.accept(word):
            test.quantifier = "~exists" if negated else "exists" if word == "final" else word
            test.condition = condition(cursor)
            break
    else:
        if negated or cursor.peek().kind != "end":
            raise cursor.error("exists, ~exists or forall")
    cursor.accept(";")
    if cursor.peek().kind != "end":
        raise cursor.error("the end of the file")
