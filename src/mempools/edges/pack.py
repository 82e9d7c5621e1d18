"""L6: a directory into an arena and out again: pack, verify, unpack."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from mempools import codecs, names, sizes
from mempools.arena import Arena
from mempools.edges.progress import Progress
from mempools.edges.tree import MANIFEST, Key, Tree, is_hidden, key_of, path_of, scan, unsafe
from mempools.errors import Exhausted, PoolError
from mempools.store import Store
from mempools.storemapping import StoreMapping
from mempools.storestats import StoreStats

STORE = "files"
_SAMPLE_FILES = 256
_SAMPLE_BYTES = 64 << 10  # of each
_MAX_FILE = 1 << 30
_LEAST = 1 << 20


@dataclass(frozen=True)
class Packed:
    """What pack did."""

    name: str
    arena_bytes: int
    stats: StoreStats
    nr_files: int
    warnings: list[str] = field(default_factory=list)


def guess(directory: str, tree: Tree, codec: codecs.Codec) -> int:
    """Bytes of an arena for a tree: from a sample of its files, compressed."""
    paths = list(tree.files)
    step = max(len(paths) // _SAMPLE_FILES, 1)
    logical = stored = 0
    for path in paths[::step]:
        try:
            with open(os.path.join(directory, path), "rb") as file:
                data = file.read(_SAMPLE_BYTES)
        except FileNotFoundError:
            continue
        logical += len(data)
        stored += min(len(codec.compress(data)), len(data))
    ratio = stored / logical if logical else 1.0
    total = sum(112 + len(os.fsencode(path)) + int(nbytes * ratio) for path, nbytes in tree.nbytes.items())
    total += len(tree.encode()) // 2
    # A sixteenth or so for what size classes round up; the rest is doubt about the sample: too small means to pack twice.
    return int(total * 1.16) + _LEAST


def pack(directory: str, name: str, *, size: int | None = None, codec: str | None = None) -> Packed:
    """Make the arena `name` with the files of a directory in one store, persistent. It appears when it is complete; on
    any failure there is none. FileExistsError if there is one already; Exhausted if it is too small or there is no
    room."""
    target = names.path_of(name)
    chosen = codecs.get(codec) if codec else None
    if os.path.lexists(target):
        raise FileExistsError(17, f"an arena of this name exists: `mempools rm {name}` removes it", name)
    tree = scan(directory)
    for path, nbytes in tree.nbytes.items():
        if nbytes > _MAX_FILE:
            raise PoolError(f"{path} has {sizes.text(nbytes)}, and a store's values at most {sizes.text(_MAX_FILE)}")
    wanted = size or guess(directory, tree, chosen or codecs.default())
    with Progress(f"packing {name}", sum(tree.nbytes.values())) as bar:
        while True:
            try:
                return _pack_once(directory, tree, name, target, wanted, codec, bar)
            except _TooSmall as error:
                if size is not None:
                    raise Exhausted(
                        f"{sizes.text(wanted)} are too small for {directory}: {error.share:.0%} of its bytes went in; "
                        "leave --size out, or give more"
                    ) from None
                wanted = int(wanted * max(1.2, 1.1 / max(error.share, 0.1)))
                bar.restart()


class _TooSmall(Exception):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share


def _pack_once(
    directory: str, tree: Tree, name: str, target: str, nbytes: int, codec: str | None, bar: Progress
) -> Packed:
    # Until it is complete the arena has a name that `gc` takes for what it is, should we be killed.
    temporary = names.temporary(os.path.dirname(target), secrets.token_hex(8))
    try:
        with Arena.file(temporary, nbytes) as arena:
            store = arena.store(STORE, codec=codec)
            warnings = [f"{path} is {what}: left out" for path, what in tree.skipped]
            warnings += _fill(directory, tree, store, bar)
            packed = Packed(name, arena.nbytes, store.stats(), len(tree.files), warnings)
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise FileExistsError(17, "an arena of this name has appeared meanwhile", name) from None
            return packed
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _fill(directory: str, tree: Tree, store: Store, bar: Progress) -> list[str]:
    total, done = sum(tree.nbytes.values()), 0
    gone = []
    try:
        for path in tree.files:
            try:
                with open(os.path.join(directory, path), "rb") as file:
                    data = file.read()
            except FileNotFoundError:
                gone.append(path)
                continue
            store[key_of(path)] = data
            done += len(data)
            bar.add(len(data))
        for path in gone:
            del tree.files[path]
        store[MANIFEST] = tree.encode()
    except Exhausted:
        raise _TooSmall(done / total if total else 0.5) from None
    return [f"{path} went away meanwhile: left out" for path in gone]


# ---- out again


def manifest(store: StoreMapping) -> Tree:
    """The store's manifest; for a store that pack did not make, one that says what its keys say."""
    data = store.get(MANIFEST)
    if data is not None:
        return Tree.decode(data)
    return Tree(files={path_of(key): (0o644, 0) for key in sorted(store, key=path_of) if not is_hidden(key)})


def keys(store: StoreMapping) -> list[Key]:
    """The user's keys, in order."""
    return sorted((key for key in store if not is_hidden(key)), key=path_of)


def verify(directory: str, store: Store) -> Iterator[str]:
    """The differences between a directory and a store, a line each."""
    here, there = scan(directory), manifest(store)
    there_files = {path_of(key): key for key in keys(store)}
    for what, mine, theirs in (
        ("file", set(here.files), set(there_files)),
        ("directory", set(here.directories), set(there.directories)),
        ("link", set(here.links), set(there.links)),
    ):
        if what == "directory" and MANIFEST not in store:
            continue
        for path in sorted(mine - theirs):
            yield f"{what} {path} is only in the directory"
        for path in sorted(theirs - mine):
            yield f"{what} {path} is only in the store"
    for path in sorted(set(here.links) & set(there.links)):
        if here.links[path] != there.links[path]:
            yield f"link {path} leads to {here.links[path]} in the directory, to {there.links[path]} in the store"
    with Progress("verifying", sum(here.nbytes.values())) as bar:
        for path in sorted(here.files.keys() & there_files.keys()):
            with open(os.path.join(directory, path), "rb") as file:
                mine_bytes = file.read()
            theirs_bytes = store.get(there_files[path])
            bar.add(len(mine_bytes))
            if theirs_bytes is None:
                yield f"file {path} is only in the directory"
            elif mine_bytes != theirs_bytes:
                yield f"file {path} differs {_where(mine_bytes, theirs_bytes)}"


def _where(mine: bytes, theirs: bytes) -> str:
    for at, (a, b) in enumerate(zip(mine, theirs, strict=False)):
        if a != b:
            return f"at byte {at}"
    return f"in length: {len(mine)} bytes in the directory, {len(theirs)} in the store"


def unpack(store: Store, directory: str) -> int:
    """Write a store's files into a new or empty directory; how many. PoolError, with nothing written, if a path leads
    out of it. Set-user-id and the like do not come back."""
    tree = manifest(store)
    files = {path_of(key): key for key in keys(store)}
    bad = unsafe(iter([*files, *tree.directories, *tree.links]))
    if bad is not None:
        raise PoolError(f"refused: {bad!r} leads out of the directory; nothing was written")
    if set(tree.links) & (set(files) | set(tree.directories)) or _under_link(tree, files):
        raise PoolError("refused: a path leads through a symbolic link of the store; nothing was written")
    os.makedirs(directory, exist_ok=True)
    if os.listdir(directory):
        raise FileExistsError(17, "not empty: unpack into a new or an empty directory", directory)
    for path in sorted(tree.directories):
        os.makedirs(os.path.join(directory, path), exist_ok=True)
    with Progress("unpacking", store.stats().logical_bytes) as bar:
        for path, key in files.items():
            value = store.get(key)
            if value is not None:
                _write(os.path.join(directory, path), value, tree.files.get(path, (0o644, 0)))
                bar.add(len(value))
    for path, target in tree.links.items():
        full = os.path.join(directory, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        os.symlink(target, full)
    for path in sorted(tree.directories, reverse=True):  # inner ones first: an outer one may become read-only
        _attributes(os.path.join(directory, path), tree.directories[path])
    if MANIFEST in store:
        _attributes(directory, tree.root)
    return len(files)


def _under_link(tree: Tree, files: dict[str, Key]) -> bool:
    parents = {path.rpartition("/")[0] for path in [*files, *tree.directories, *tree.links]}
    while parents:
        if parents & set(tree.links):
            return True
        parents = {path.rpartition("/")[0] for path in parents} - {""}
    return False


def _write(path: str, value: bytes, attributes: tuple[int, int]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        file.write(value)
    _attributes(path, attributes)


def _attributes(path: str, attributes: tuple[int, int]) -> None:
    mode, mtime = attributes
    if mtime:
        os.utime(path, ns=(mtime, mtime))
    os.chmod(path, mode)
