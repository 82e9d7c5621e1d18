"""What a body in Python did, in words: the line that asks for an operation, what was raised."""

import contextlib
import traceback
from types import FrameType


def line_of(frame: FrameType) -> str:
    """`handoff.py:14`, of the innermost frame outside this package; the function's name for what was typed in."""
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    return _place(frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno)


def told(error: BaseException) -> str:
    """An assertion by its message, or else as it stands in the source; others with their type; and the line."""
    text = ""
    with contextlib.suppress(Exception):  # of its own making
        text = str(error).partition("\n")[0]  # pytest explains an assertion on further lines
    if not isinstance(error, AssertionError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = list(traceback.walk_tb(error.__traceback__))
    inner = [frame for frame in frames if not _is_ours(frame[0])] or frames
    if inner:
        last = traceback.StackSummary.extract(iter(inner[-1:]))[0]
        text = f"{text or last.line or 'AssertionError'} ({_place(last.filename, last.name, last.lineno)})"
    return text or "AssertionError"


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("mempools.")


def _place(file: str, function: str, line: int | None) -> str:
    return f"{function if file.startswith('<') else file.rpartition('/')[2]}:{line}"
