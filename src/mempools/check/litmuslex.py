"""The words of a litmus file: comments blanked out, the rest cut into tokens that know their line.

A litmus file mixes three languages. In the bodies of processes, which are C, `(*` begins an expression unless white
space follows; everywhere else it begins a comment, as in OCaml. `/* */` and `//` are comments throughout.
"""

import re
from dataclasses import dataclass


class LitmusError(ValueError):
    """No litmus test: malformed, with the line."""


class Unsupported(Exception):
    """A litmus test, with something in it that is not handled: the construct, in a few words."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # "name", "number", "mark" or "end"
    text: str
    line: int


_MARKS = re.compile(r"\(\*|/\*|//|\"|[{}]")
_TOKEN = re.compile(
    r"(?P<name>[A-Za-z_$][\w$]*)"
    r"|(?P<number>0[xX][0-9a-fA-F]+|\d+)(?:[uUlL]*\b)"
    r"|(?P<mark>/\\|\\/|->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|=>|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.()\[\]{}@#'\"\\])"
)


def tokenize(text: str) -> list[Token]:
    """Of the whole file behind its first line, from the first brace on: what stands before it are titles, strings and
    notes of generators, in no language. Ends with a token of kind "end"."""
    text = _blank(text)
    position = text.find("{") if "{" in text else 0
    line = 2 + text.count("\n", 0, position)
    tokens: list[Token] = []
    while position < len(text):
        if text[position].isspace():
            line += text[position] == "\n"
            position += 1
            continue
        found = _TOKEN.match(text, position)
        if not found:
            raise LitmusError(f"line {line}: {text[position]!r} has no meaning here")
        kind = found.lastgroup or ""
        tokens.append(Token(kind, found[kind], line))
        position = found.end()
    tokens.append(Token("end", "the end of the file", line))
    return tokens


def _blank(text: str) -> str:
    """The text with spaces for comments and for strings outside bodies; lines stay where they are."""
    parts: list[str] = []
    position = depth = 0
    in_body = False
    while found := _MARKS.search(text, position):
        start, mark = found.start(), found[0]
        parts.append(text[position:start])
        if mark in "{}":
            if depth == 0:
                in_body = "".join(parts).rstrip().endswith(")")
            depth += 1 if mark == "{" else -1
            in_body = in_body and depth > 0
            end = start + 1
            parts.append(mark)
        elif (mark == "(*" and in_body and not text[start + 2 : start + 3].isspace()) or (mark == '"' and in_body):
            end = start + len(mark)
            parts.append(mark)
        else:
            end = _end_of_comment(text, start, mark)
            parts.append(" " + "\n" * text.count("\n", start, end))
        position = end
    parts.append(text[position:])
    return "".join(parts)


def _end_of_comment(text: str, start: int, mark: str) -> int:
    if mark == "//":
        return text.find("\n", start) % (len(text) + 1)
    if mark == "(*":
        end = _end_of_nested(text, start)
        if end > 0:  # or it has code in it, whose (* is none that closes
            return end
    closing = {"(*": "*)", "/*": "*/", '"': '"'}[mark]
    end = text.find(closing, start + len(mark))
    if end < 0:
        raise LitmusError(f"line {text.count(chr(10), 0, start) + 2}: {mark} without {closing}")
    return end + len(closing)


def _end_of_nested(text: str, start: int) -> int:
    depth = 0
    for found in re.compile(r"\(\*|\*\)").finditer(text, start):
        depth += 1 if found[0] == "(*" else -1
        if depth == 0:
            return found.end()
    return -1


class Cursor:
    """A place in a list of tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def sees(self, *texts: str) -> bool:
        """Whether the next tokens are these."""
        return all(self.peek(i).text == text and self.peek(i).kind != "end" for i, text in enumerate(texts))

    def accept(self, text: str) -> bool:
        """Takes the token if it is the next."""
        if self.sees(text):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> Token:
        if not self.sees(text):
            raise self.error(f"{text!r}")
        return self.next()

    def name(self) -> str:
        if self.peek().kind != "name":
            raise self.error("a name")
        return self.next().text

    def error(self, wanted: str) -> LitmusError:
        token = self.peek()
        found = token.text if token.kind == "end" else repr(token.text)
        return LitmusError(f"line {token.line}: {wanted} expected, not {found}")


def number(text: str) -> int:
    """As C reads it: a leading 0 is octal."""
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text, 8) if text[0] == "0" and text.isdigit() and not set(text) & set("89") else int(text)
