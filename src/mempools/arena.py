"""L5: arenas: memory that the pools of one or many processes share."""

import contextlib
import os
import weakref
from types import TracebackType
from typing import Any, Self

from mempools import arenafile, names, sizes
from mempools.arenafile import rounded
from mempools.arenapools import ArenaPools
from mempools.errors import Corrupt, LayoutMismatch, PoolError
from mempools.layout import mapping as mappings
from mempools.layout.mapping import Mapping
from mempools.layout.proctable import ATTACH_BYTE, Process, snapshot
from mempools.machine import files
from mempools.machine.memory import Progress
from mempools.objects.arenacheck import pools_of, problems_of
from mempools.objects.block import find_arenas_with
from mempools.objects.infos import ArenaStats, PoolInfo
from mempools.objects.observing import memory_of
from mempools.objects.settling import what_stays
from mempools.picture import Picture, of_file, take

PRIVATE, ANONYMOUS, NAMED, FILE = "private", "anonymous", "named", "file"


class Arena(ArenaPools):
    """Memory in which pools live, of `size` bytes (an int, or "64M"); this constructor makes a private one.

    The others: `create`, `attach` and `open` for arenas that any process of the same user finds by name, `anonymous`
    for one that travels by fork or pickle and goes with its last process, `file` for one in a file of one's own.
    Every page is reserved when a shared arena is made: `Exhausted`, with the numbers, if there is no room, and never
    a SIGBUS later. A process that opens an arena several times has one mapping of it. An arena can be pickled (except
    a private one): the receiver gets the same arena, not a copy.

    `prefault` touches all pages now, `progress(done, total)` (bytes) being called meanwhile; `hugepages` asks for huge
    pages (a private or named arena takes what there is; an anonymous one needs them in /proc/sys/vm/nr_hugepages).

    Thread-safe, process-safe; may block; not for signal handlers.
    """

    def __init__(
        self, size: int | str, *, prefault: bool = False, hugepages: bool = False, progress: Progress | None = None
    ) -> None:
        mapping = arenafile.private(rounded(size), prefault=prefault, hugepages=hugepages, progress=progress)
        self._hold(mapping, PRIVATE, None, None)

    # ---- making and finding

    @classmethod
    def create(
        cls,
        name: str,
        size: int | str,
        *,
        persist: bool = False,
        prefault: bool = False,
        hugepages: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Make the arena `name` of `size` bytes. FileExistsError if there is one; Exhausted if there is no room.

        It appears under its name only when it is complete. `persist` keeps it when its last process has gone; otherwise
        `gc()` removes it then. Thread-safe, process-safe.
        """
        path = names.path_of(name)
        mapping = arenafile.create(
            path, rounded(size), persist=persist, prefault=prefault, hugepages=hugepages, progress=progress
        )
        return cls._of(mapping, NAMED, name, path)

    @classmethod
    def attach(cls, name: str) -> Self:
        """The arena `name`, made by any process of this user.

        FileNotFoundError if there is none, LayoutMismatch or Corrupt if the file is no arena that this build can use,
        Exhausted if too many processes use it. What dead processes held in it is returned to its pools.
        Thread-safe, process-safe.
        """
        path = names.path_of(name)
        try:
            mapping = arenafile.attach(path, own=True)
        except FileNotFoundError:
            raise FileNotFoundError(2, f"no arena {name!r}: create it first, or see mempools.arenas()", path) from None
        return cls._of(mapping, NAMED, name, path)

    @classmethod
    def open(
        cls,
        name: str,
        size: int | str,
        *,
        persist: bool = False,
        prefault: bool = False,
        hugepages: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """The arena `name`, made with `size` bytes if there is none: of processes that race here, one makes it.

        LayoutMismatch if there is one and it is smaller. Errors else as of `create` and `attach`.
        Thread-safe, process-safe.
        """
        path = names.path_of(name)
        mapping = _open(
            path, rounded(size), own=True, persist=persist, prefault=prefault, hugepages=hugepages, progress=progress
        )
        return cls._of(mapping, NAMED, name, path)

    @classmethod
    def anonymous(
        cls, size: int | str, *, prefault: bool = False, hugepages: bool = False, progress: Progress | None = None
    ) -> Self:
        """A shared arena without a name, gone with the last process that has it.

        It travels by fork, or pickled to another process of this user while the sender has it. Exhausted if there is
        no room. Thread-safe, process-safe.
        """
        mapping = arenafile.anonymous(size, prefault=prefault, hugepages=hugepages, progress=progress)
        return cls._of(mapping, ANONYMOUS, None, None)

    @classmethod
    def file(
        cls,
        path: str | os.PathLike[str],
        size: int | str | None = None,
        *,
        prefault: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """The arena in the file `path`; with `size`, made if there is none. `gc` never removes such a file.

        Errors as of `open` and `attach`. Thread-safe, process-safe.
        """
        real = os.path.realpath(os.fsdecode(path))
        if size is None:
            mapping = arenafile.attach(real, own=False)
        else:
            mapping = _open(
                real, rounded(size), own=False, persist=True, prefault=prefault, hugepages=False, progress=progress
            )
        return cls._of(mapping, FILE, None, real)

    @staticmethod
    def unlink(name: str) -> None:
        """Remove the name: nobody finds the arena any more, who has it keeps it. FileNotFoundError if there is none.

        Thread-safe, process-safe.
        """
        path = names.path_of(name)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                if arenafile.remove(path, fd):
                    return
            finally:
                os.close(fd)

    @classmethod
    def _of(cls, mapping: Mapping, kind: str, name: str | None, path: str | None, recover: bool = True) -> Self:
        arena = cls.__new__(cls)
        arena._hold(mapping, kind, name, path)
        try:
            mapping.ensure_slot()
            if recover:
                with contextlib.suppress(Corrupt):  # check() is how to look at an arena that recovery cannot mend
                    mapping.recover()
        except BaseException:
            arena.close()
            raise
        return arena

    def _hold(self, mapping: Mapping, kind: str, name: str | None, path: str | None) -> None:
        self._held = mapping  # absent once closed
        self._kind = kind
        self._name = name
        self._path = path
        self._nbytes = mapping.nbytes
        self._id = mapping.id
        self._received_pools = {}
        self._received_mempools = {}
        self._received_percpu = {}
        if kind != PRIVATE:
            _arenas[mapping.key] = self

    # ---- what it is

    @property
    def _mapping(self) -> Mapping:
        mapping = self._peek()
        if mapping is None:
            raise PoolError(f"{self!r}: open it again to use it")
        return mapping

    def _peek(self) -> Mapping | None:
        return self.__dict__.get("_held")

    @property
    def name(self) -> str | None:
        """The name it is found by, None for other kinds."""
        return self._name

    @property
    def path(self) -> str | None:
        """Its file, None for a private or anonymous arena."""
        return self._path

    @property
    def nbytes(self) -> int:
        """Bytes, its own tables included."""
        return self._nbytes

    @property
    def id(self) -> str:
        """What tells it from any other arena, ever: 32 hexadecimal digits, drawn when it was made."""
        return self._id

    @property
    def kind(self) -> str:
        """ "private", "anonymous", "named" or "file"."""
        return self._kind

    @property
    def closed(self) -> bool:
        """Whether this object was closed."""
        return self._peek() is None

    def __repr__(self) -> str:
        where = {NAMED: f" {self._name!r}", FILE: f" {self._path!r}"}.get(self._kind, "")
        state = ", closed" if self.closed else ""
        return f"<mempools.Arena{where}, {self._kind}, {sizes.text(self._nbytes)}{state}>"

    # ---- its processes

    def processes(self) -> list[Process]:
        """The processes that use it, and those that died and were not swept yet. Thread-safe, process-safe."""
        mapping = self._mapping
        if mapping.fd < 0:
            return [Process(mapping.slot, os.getpid(), 0, 1, True)]
        return snapshot(mapping.fd)

    def recover(self) -> int:
        """Return what dead processes held to its pools; how many such processes there were.

        It also happens by itself, when somebody attaches or finds a dead owner. Corrupt if their remains make no sense.
        Thread-safe, process-safe; may be killed and repeated at any point.
        """
        return self._mapping.recover()

    # ---- pools

    def pools(self) -> list[PoolInfo]:
        """What is in it: its own pool of pages first, then the others. Walks the owner maps. Thread-safe, process-safe."""
        return pools_of(self._mapping)

    def stats(self) -> ArenaStats:
        """Sizes, pools, processes: a moment's picture. Thread-safe, process-safe."""
        mapping = self._mapping
        pools = pools_of(mapping)
        alive = sum(process.alive for process in self.processes())
        return ArenaStats(mapping.nbytes, pools[0].avail, tuple(pools), alive, mapping.nr_recovered)

    def picture(self) -> Picture:
        """What each byte of it is for and who holds it, read without a lock while others change it: of no single moment, but
        whole. Costs a copy of every owner map. Thread-safe, process-safe."""
        mapping = self._mapping
        if mapping.fd >= 0:
            return of_file(mapping.fd, mapping.nbytes, name=self._name, id=self._id)
        return take(memory_of(mapping), mapping.nbytes, self.processes(), name=None, id=self._id)

    def check(self) -> None:
        """Walk every owner map, share record, run of pages and store; Corrupt, with a line for each contradiction.

        The dead are swept first. Others may allocate and free meanwhile: what looks wrong counts if it stays so for 5 s, so a
        process that is stopped in the middle of an operation may be taken for damage. Pools should not be made or destroyed
        meanwhile. Thread-safe, process-safe."""
        from mempools.store import Store, open_store

        mapping = self._mapping
        mapping.ensure_slot()
        mapping.recover()
        problems = what_stays(lambda: problems_of(mapping), mapping)
        for pool in pools_of(mapping):
            if pool.kind == "store" and not problems:
                open_store(Store, self, pool.name, None, None).check()
        if problems:
            raise Corrupt("; ".join(problems))

    # ---- the end

    def close(self) -> None:
        """Have done with it in this process. Its memory goes when the pools and blocks made from it have gone too.

        Busy while views of its blocks exist, if this is the last opening in this process. Closing again does nothing.
        Thread-safe.
        """
        mapping = self.__dict__.pop("_held", None)  # one step: of two threads that close, one does
        if mapping is not None:
            try:
                mapping.close()
            except BaseException:
                self._held = mapping
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        mapping = self._peek()
        if mapping is not None:
            mapping.forget()  # not closed: pools made from it may live on

    def __reduce__(self) -> tuple[Any, ...]:
        description = self._description()
        if self._kind == PRIVATE:
            raise TypeError("a private arena cannot be sent to another process: use Arena.anonymous or Arena.create")
        return _received, description

    def _description(self) -> tuple[Any, ...]:
        """What another process needs to find it."""
        mapping = self._mapping
        return self._kind, self._name, self._path, mapping.key, os.getpid(), mapping.fd


def _open(
    path: str, nbytes: int, *, own: bool, persist: bool, prefault: bool, hugepages: bool, progress: Progress | None
) -> Mapping:
    while True:
        try:
            mapping = arenafile.attach(path, own=own)
        except FileNotFoundError:
            try:
                return arenafile.create(
                    path, nbytes, persist=persist, prefault=prefault, hugepages=hugepages, progress=progress
                )
            except FileExistsError:
                continue  # somebody was faster
        if mapping.nbytes < nbytes:
            mapping.close()
            raise LayoutMismatch(
                f"{path} is an arena of {mapping.nbytes} bytes, {nbytes} are wanted: "
                "attach to it as it is, or unlink it and make it again"
            )
        return mapping


_arenas: "weakref.WeakValueDictionary[bytes, Arena]" = (
    weakref.WeakValueDictionary()
)  # open ones, by their mapping's key


def _arena_of_block(description: tuple[Any, ...]) -> Arena:
    """The arena of a block that arrives: the object that this process has, if it has one, or a new one."""
    known = _arenas.get(description[3])
    if known is not None and not known.closed:
        return known
    return _received(*description)


find_arenas_with(_arena_of_block)


def _received(kind: str, name: str | None, path: str | None, key: bytes, pid: int, sender_fd: int) -> Arena:
    """The other end of a pickle: this process's mapping, or the file by its name, or the sender's descriptor."""
    mapping = mappings.find(key)
    if mapping is not None:
        # It recovered when it was opened. Again with every message would cost more than the message: a look at each process.
        return Arena._of(mapping, kind, name, path, recover=False)
    for source in (path, f"/proc/{pid}/fd/{sender_fd}"):
        if mapping is None and source is not None:
            with contextlib.suppress(OSError, PoolError):
                mapping = _matching(source, key)
    if mapping is None:
        what = f"{kind} arena {name or path}" if name or path else "anonymous arena"
        raise PoolError(
            f"the {what} that process {pid} sent is not here: its name is another arena's or no one's now, and the "
            "sender has closed it or gone; keep it open there until the receiver has it"
        )
    return Arena._of(mapping, kind, name, path)


def _matching(source: str, key: bytes) -> Mapping | None:
    fd = os.open(source, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        files.lock(fd, ATTACH_BYTE, shared=True)
        if mappings.key_of(fd) != key:
            os.close(fd)
            return None
    except BaseException:
        os.close(fd)
        raise
    return mappings.attach(fd)
