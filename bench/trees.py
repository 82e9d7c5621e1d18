"""A directory as a store, beside a copy on /dev/shm, a tar file and squashfs images: how large, how fast to make, to unpack, and
to read from. Wall time of the command lines, images by one processor, since `mempools pack` uses one; everything is in memory."""

import argparse
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mempools
from bench.harness import Case, arguments, measure, missing, report
from mempools import codecs

UNWANTED = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__", "*.a", "*.so", "*.pyc")
MOST = 50_000_000  # bytes of a tree: the rest is left out
PICKED = 20
MEMPOOLS = (sys.executable, "-c", "from mempools.edges.cli import main; raise SystemExit(main())")


def trees() -> dict[str, str]:
    found = {
        "this Python's library": sysconfig.get_path("stdlib"),
        "C headers": "/usr/include",
        "node_modules": "/usr/lib/node_modules",
    }
    return {name: path for name, path in found.items() if os.path.isdir(path)}


def taken(source: str, target: Path, most: int) -> tuple[list[str], int]:
    """Copies the tree's regular files to `target` until there are `most` bytes; their paths, and how many bytes."""
    files, total = [], 0
    for folder, folders, names in os.walk(source):
        unwanted = UNWANTED(folder, [*folders, *names])
        folders[:] = sorted(set(folders) - unwanted)
        for name in sorted(set(names) - unwanted):
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path) or total + os.path.getsize(path) > most:
                continue
            relative = os.path.relpath(path, source)
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / relative)
            files.append(relative)
            total += os.path.getsize(path)
    return files, total


class Way:
    """One way to keep a tree: how to make what is kept, how to unpack it into a folder, how to print one file; its bytes."""

    def __init__(
        self,
        make: Callable[[], list[str]],
        unpack: Callable[[str], list[str]],
        cat: Callable[[str], list[str]] | None,
        nbytes: Callable[[], int],
        remove: Callable[[], None],
    ) -> None:
        self.make, self.unpack, self.cat, self.nbytes, self.remove = make, unpack, cat, nbytes, remove


def run(command: list[str]) -> float:
    """Seconds."""
    before = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - before


def on_disk(path: str) -> int:
    """Bytes that a file or a tree takes on its file system."""
    nbytes = os.lstat(path).st_blocks * 512
    for folder, folders, names in os.walk(path):
        nbytes += sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for name in (*folders, *names))
    return nbytes


def ways(tree: str, folder: str) -> dict[str, Way]:
    copy, tar = os.path.join(folder, "copy"), os.path.join(folder, "tree.tar")
    found = {
        "copy": Way(
            lambda: ["cp", "-r", tree, copy],
            lambda to: ["cp", "-r", copy, to],
            lambda path: ["cat", os.path.join(copy, path)],
            lambda: on_disk(copy),
            lambda: shutil.rmtree(copy, ignore_errors=True),
        ),
        "tar": Way(
            lambda: ["tar", "-C", tree, "-cf", tar, "."],
            lambda to: ["tar", "-C", to, "-xf", tar],
            None,
            lambda: on_disk(tar),
            lambda: Path(tar).unlink(missing_ok=True),
        ),
    }
    compressors = [name for name in ("lz4", "zstd:3") if is_there(name)]
    for codec in compressors:
        name = f"bench-{os.getpid()}-{codec.partition(':')[0]}"
        found[f"mempools, {codec}"] = packed(tree, name, codec)
        if shutil.which("mksquashfs"):
            level = ["-Xcompression-level", "3"] if codec != "lz4" else []
            image = os.path.join(folder, f"{codec}.squashfs")
            found[f"squashfs, {codec}"] = squashed(tree, image, ["-comp", codec.partition(":")[0], *level])
    if not shutil.which("mksquashfs"):
        missing("mksquashfs")
    return found


def is_there(codec: str) -> bool:
    try:
        codecs.get(codec)
    except Exception:
        missing(codec)
        return False
    return True


def packed(tree: str, name: str, codec: str) -> Way:
    return Way(
        lambda: [*MEMPOOLS, "pack", tree, name, "--codec", codec],
        lambda to: [*MEMPOOLS, "unpack", name, to],
        lambda path: [*MEMPOOLS, "cat", name, path],
        lambda: memory_of(name),
        lambda: void(subprocess.run([*MEMPOOLS, "rm", name], stderr=subprocess.DEVNULL)),
    )


def void(_: object) -> None:
    pass


def memory_of(name: str) -> int:
    with mempools.Arena.attach(name) as arena:
        return arena.nbytes


def squashed(tree: str, image: str, compressor: list[str]) -> Way:
    return Way(
        lambda: ["mksquashfs", tree, image, "-noappend", "-processors", "1", "-no-progress", *compressor],
        lambda to: ["unsquashfs", "-f", "-p", "1", "-n", "-d", to, image],
        lambda path: ["sqfscat", image, path],
        lambda: on_disk(image),
        lambda: Path(image).unlink(missing_ok=True),
    )


def measured(name: str, source: str, options: argparse.Namespace, folder: str) -> None:
    tree, there = Path(folder, "tree"), os.path.join(folder, "unpacked")
    files, total = taken(source, tree, MOST // options.scale)
    kept = ways(str(tree), folder)
    picked = random.Random(1).sample(files, min(PICKED, len(files)))

    def making(way: Way) -> Case:
        def case() -> float:
            way.remove()
            return total / run(way.make()) / 1e6

        return case

    def unpacking(way: Way) -> Case:
        def case() -> float:
            shutil.rmtree(there, ignore_errors=True)
            os.mkdir(there)
            return total / run(way.unpack(there)) / 1e6

        return case

    def printing(cat: Callable[[str], list[str]]) -> Case:
        return lambda: sum(run(cat(path)) for path in picked) / len(picked) * 1e3

    def reading(read: Callable[[str], object]) -> Case:
        def case() -> float:
            before = time.thread_time_ns()
            for path in files:
                read(path)
            return total / (time.thread_time_ns() - before) * 1e3

        return case

    def file_bytes(path: str) -> bytes:
        with open(os.path.join(folder, "copy", path), "rb") as file:
            return file.read()

    try:
        rounds = 3
        what = f"{name}, {len(files):,} files, {total / 1e6:.1f} MB"
        report(f"{what}: made", measure({n: making(way) for n, way in kept.items()}, rounds), options, unit="MB/s")
        sizes = {n: [way.nbytes() / 1e6] for n, way in kept.items()}
        report(f"{what}: memory", sizes, options, unit="MB")
        report(f"{what}: unpacked", measure({n: unpacking(w) for n, w in kept.items()}, rounds), options, unit="MB/s")
        cats = {n: printing(way.cat) for n, way in kept.items() if way.cat}
        report(f"{what}: one file, by a command", measure(cats, rounds), options, unit="ms")
        readers: dict[str, Case] = {"copy: open().read()": reading(file_bytes)}
        stores = {n: f"bench-{os.getpid()}-{n.split()[1].partition(':')[0]}" for n in kept if n.startswith("mempools")}
        for n, arena in stores.items():
            readers[n] = reading(mempools.Store.attach(arena).__getitem__)
        report(f"{what}: all files, in one process (CPU time)", measure(readers, rounds + 2), options, unit="MB/s")
    finally:
        for way in kept.values():
            way.remove()
        shutil.rmtree(tree)
        shutil.rmtree(there, ignore_errors=True)


def main() -> None:
    options = arguments(__doc__ or "")
    for name, source in trees().items():
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as folder:
            measured(name, source, options, folder)


if __name__ == "__main__":
    main()
