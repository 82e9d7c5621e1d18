"""The rules of CONTRIBUTING that a machine can hold. Each rule takes the root of a source tree (the folder that has
`src/mempools` in it) and yields one line for each violation."""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = 500
MAX_LINES_OF_SCENARIOS = 800  # a row of small programs over one stage, none of which needs the others to be understood

LAYERS = {"machine": 0, "parts": 1, "layout": 2, "pools": 3, "objects": 4, "": 5, "edges": 6}
LAYER_OF_CHECK = 3.5  # `check` drives L0 to L3, and nothing imports it
EXEMPT = {"mempools.errors"}  # may be imported from anywhere
THIRD_PARTY = re.compile(r"edges/|codecs\.py$|check/bodies\.py$")

# What mp_machine.h offers, by the letter that a label must begin with; None: relaxed, plain or a futex call.
ORDERS = {
    "load_acquire": "A",
    "store_release": "R",
    "smp_mb": "F",
    "smp_mb_after_atomic": "F",
    "smp_rmb": "A",
    "smp_wmb": "R",
    "window": "D",
    **dict.fromkeys(["read_once", "write_once", "cpu_relax", "futex_wait", "futex_wake", "copy", "fill", "compare"]),
}
for _family in ("cmpxchg", "xchg", "fetch_add", "fetch_or", "fetch_and"):
    ORDERS |= {_family: "F", f"{_family}_acquire": "A", f"{_family}_release": "R", f"{_family}_relaxed": None}
ORDER_NAMES = {"A": "acquire", "R": "release", "F": "full", "D": "a crash window"}
ATOMICS = "cython.cimports.mempools.machine.atomics"
LABEL = re.compile(r"\[([A-Z]:[\w.]+)\]")


def package(root: Path) -> Path:
    return root / "src" / "mempools"


def sources(root: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in package(root).rglob("*") if path.suffix in suffixes)


def compiled(root: Path) -> list[str]:
    """The modules in meson.build's list `compiled`, as "folder/name"."""
    listed = re.search(r"^compiled = \[(.*?)\]", (root / "meson.build").read_text(), re.DOTALL | re.MULTILINE)
    assert listed, "meson.build has no list `compiled`"
    return re.findall(r"'([\w/]+)'", listed[1])


def where(root: Path, path: Path, line: int) -> str:
    return f"{path.relative_to(root)}:{line}"


# ---- layers ----


def imports(path: Path, dotted: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports or cimports."""
    text = path.read_text()
    if path.suffix == ".pxd":
        for number, line in enumerate(text.splitlines(), 1):
            if found := re.match(r"\s*(?:from\s+([\w.]+)\s+cimport|cimport\s+([\w.]+))", line):
                yield number, "cython.cimports." + (found[1] or found[2])
        return
    parts = dotted.split(".")
    base = parts if path.name == "__init__.py" else parts[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            prefix = base[: len(base) - node.level + 1] if node.level else []
            module = ".".join([*prefix, *filter(None, [node.module])])
            # `from mempools.layout import pages` and `from mempools import errors` name modules.
            of_package = module.removeprefix("cython.cimports.").split(".")
            if of_package[0] == "mempools" and len(of_package) < 3:
                for alias in node.names:
                    yield node.lineno, f"{module}.{alias.name}"
            else:
                yield node.lineno, module


def dotted_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(root: Path, dotted: str) -> float:
    """Of a module of the package: the layer of its folder."""
    below = dotted.split(".")[1:]
    if not below:
        return 9  # the package itself: the public names, from wherever they are
    folder = below[0] if (package(root) / below[0]).is_dir() else ""
    return LAYER_OF_CHECK if folder == "check" else LAYERS.get(folder, -1)


def layers(root: Path) -> Iterator[str]:
    for path in sources(root, ".py", ".pxd"):
        mine = dotted_name(root, path)
        own = layer(root, mine)
        if own == -1:
            yield f"{path.relative_to(root)}: the folder has no layer; the table is in tests/lint/rules.py"
        for line, name in imports(path, mine):
            place = where(root, path, line)
            target = name.removeprefix("cython.cimports.")
            top = target.split(".")[0]
            if top != "mempools":
                yield from outside(path, place, name, top, own)
            elif target not in EXEMPT and not any(target.startswith(f"{name}.") for name in EXEMPT):
                theirs = layer(root, target)
                if theirs > own:
                    yield f"{place}: {mine} (L{own:g}) imports {target} (L{theirs:g}): imports point down"
                elif theirs == LAYER_OF_CHECK != own and own != LAYERS["edges"] and mine != "mempools":
                    yield f"{place}: {mine} imports {target}: nothing in the core imports the checker"


def outside(path: Path, place: str, name: str, top: str, own: float) -> Iterator[str]:
    """An import from outside the package."""
    if name.startswith("cython.cimports."):
        if top == "posix" and own not in (LAYERS["machine"], LAYER_OF_CHECK):
            yield f"{place}: cimports {name}: only L0 names system calls"
    elif top not in {"cython", "_typeshed", *sys.stdlib_module_names} and not THIRD_PARTY.search(path.as_posix()):
        yield f"{place}: imports {name}: third-party modules only in edges/, codecs.py and check/bodies.py"


# ---- labels ----


def operations(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """The calls of mp_machine.h, with the name that the header has for each (without the 32 of a narrow word)."""
    names = {
        alias.asname or alias.name: alias.name.removesuffix("32")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == ATOMICS
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and names.get(node.func.id) in ORDERS:
            yield node, names[node.func.id]


def comments(text: str) -> Iterator[tuple[int, str]]:
    """The comments, those on lines of their own that follow each other as one, and the docstrings."""
    block, start, last = "", 0, -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line.lstrip().startswith("#")
            if not (alone and token.start[0] == last + 1):
                if block:
                    yield start, block
                block, start = "", token.start[0]
            block += token.string.lstrip("#") + "\n"
            last = token.start[0] if alone else -1
    if block:
        yield start, block
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (docstring := ast.get_docstring(node)):
            yield node.body[0].lineno, docstring


def labels(root: Path) -> Iterator[str]:
    paths = sources(root, ".py")
    defined: set[str] = set()
    mentioned: list[tuple[str, str]] = []
    for path in paths:
        text = path.read_text()
        notes = list(comments(text))
        mentioned += [(where(root, path, line), label) for line, note in notes for label in LABEL.findall(note)]
        # A comment that begins with a label explains it, up to the next line that does; windows may stand anywhere.
        explained = [part for _, note in notes for part in re.split(r"^(?=\s*\[[A-Z]:)", note, flags=re.MULTILINE)]
        here = {found[1] for part in explained if (found := LABEL.match(part.strip()))}
        paired = {found[1] for part in explained if (found := LABEL.match(part.strip())) and "pairs with" in part}
        here |= {label for _, note in notes for label in LABEL.findall(note) if label.startswith("D:")}
        for call, name in operations(ast.parse(text)):
            place = where(root, path, call.lineno)
            site = call.args[-1].value if call.args and isinstance(call.args[-1], ast.Constant) else None
            if not isinstance(site, bytes):
                yield f"{place}: the last argument of {name} is the site, a bytes literal"
                continue
            yield from label_of(place, path, name, site.decode(), here, paired)
            defined.add(site.decode())
    for place, label in mentioned:
        if label not in defined:
            yield f"{place}: [{label}] is the site of no call"


def label_of(place: str, path: Path, name: str, site: str, here: set[str], paired: set[str]) -> Iterator[str]:
    """One call: its site has the right form, and a non-relaxed one has its comment."""
    module, order = path.stem.removesuffix("object"), ORDERS[name]  # objects/genpoolobject.py is GenPool's too
    letter = site.split(":")[0] if ":" in site else None
    if not re.fullmatch(rf"(?:[A-Z]:)?{module}(?:object)?\.\w+", site):
        yield f"{place}: site {site!r}: sites in this file are [X:]{module}.what"
    elif letter != order:
        wanted = f"begins with {order}: ({ORDER_NAMES[order]})" if order else "has no letter (it orders nothing)"
        yield f"{place}: site {site!r}: the site of {name} {wanted}"
    elif order and site not in here:
        yield f"{place}: no comment in this file says what [{site}] is for"
    elif order and order != "D" and site not in paired:
        yield f"{place}: no comment that begins with [{site}] says `pairs with [...]`"


# ---- files ----


def triples(root: Path) -> Iterator[str]:
    """A compiled module has its declarations and its stub, opens with the guard, and is in meson.build's list."""
    listed = compiled(root)
    for module in listed:
        path = package(root) / f"{module}.py"
        dotted = "mempools." + module.replace("/", ".")
        for suffix in (".py", ".pxd", ".pyi"):
            if not path.with_suffix(suffix).exists():
                yield f"src/mempools/{module}{suffix}: missing; a compiled module is .py, .pxd and .pyi"
        text = path.read_text() if path.exists() else ""
        if text and not re.search(rf'if not cython\.compiled:\s+raise ImportError\(\s*f?"{dotted} is compiled', text):
            yield f"src/mempools/{module}.py: no guard that says `{dotted} is compiled code` when it is not compiled"
    for path in sources(root, ".py"):
        name = path.relative_to(package(root)).with_suffix("").as_posix()
        if name not in listed and re.search(r"^import cython$", path.read_text(), re.MULTILINE):
            yield f"{path.relative_to(root)}: imports cython, and is not in meson.build's list `compiled`"


def lengths(root: Path) -> Iterator[str]:
    for path in sources(root, ".py", ".pxd", ".pyi", ".h"):
        lines = len(path.read_text().splitlines())
        at_most = MAX_LINES_OF_SCENARIOS if path.parent.name == "scenarios" else MAX_LINES
        if lines > at_most:
            yield f"{path.relative_to(root)}: {lines} lines: past {at_most} it is two modules"


def docstrings(root: Path) -> Iterator[str]:
    """Every module says what it is."""
    for path in sources(root, ".py"):
        if not ast.get_docstring(ast.parse(path.read_text())):
            yield f"{path.relative_to(root)}: no module docstring"
