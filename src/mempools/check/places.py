"""The shared memory that hangs on a scenario object: its words, its locks, its arenas.

Every execution has an object of its own, at other addresses. A word's or arena's *key* says which it is in all of them: by
the order in which a walk over the object's attributes finds it. Its bytes are its initial value until a simulated CPU writes
it, which goes into messages; after the execution the newest values are written back.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.places is compiled code: run `make build` in a checkout, or install the wheel")

import gc
import types
import weakref

from cython.cimports.libc.stdint import uint64_t, uintptr_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.check.engine import engine_watch_others
from cython.cimports.mempools.check.state import MAX_REGIONS, Engine, Region
from cython.cimports.mempools.check.views import memory_newest, memory_value
from cython.cimports.mempools.check.word import Lock, Word
from cython.cimports.mempools.layout.mapping import Mapping

_OPAQUE = cython.declare(
    frozenset,
    frozenset(
        {
            *(int, float, bool, str, bytes, bytearray, memoryview, type(None), type, types.ModuleType),
            *(types.FunctionType, types.BuiltinFunctionType, types.MethodType),
        }
    ),
)
_FIRST_ARENA = cython.declare(uint64_t, 1 << 40)  # keys: of words below it, of arenas at its multiples
_MAX_DEPTH = cython.declare(cython.int, 50)
_address = cython.declare(uint64_t, 0)

# What other threads must leave alone, in static memory: they may look at any time. Pairs, as many as regions.
_watched = cython.declare(uint64_t[512])
_nr_watched = cython.declare(cython.int, 0)
_intruded = cython.declare(cython.bint, False)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def probed(addr: cython.p_void) -> cython.void:
    global _address
    _address = cython.cast(uint64_t, addr)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def others(addr: cython.p_void) -> cython.void:
    """Another thread is about to do an operation."""
    global _intruded
    i: cython.int
    at: uint64_t = cython.cast(uint64_t, addr)
    for i in range(_nr_watched):
        if _watched[2 * i] <= at and at < _watched[2 * i + 1]:
            _intruded = True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def intruded() -> cython.bint:
    return _intruded


engine_watch_others(others)


# ---- finding ----


@cython.cfunc
def probe(word: object) -> object:
    """The address of an AtomicU64, which does not tell: the hook is told when it is read. (Its class is of a higher layer.)"""
    global _address
    _address = 0
    word.load()
    return _address


@cython.cfunc
@cython.exceptval(-1, check=False)
def walk(thing: object, name: str, found: list, seen: set, depth: cython.int) -> cython.int:
    """Appends address, bytes, name and arena of what hangs on a thing."""
    kind: type = type(thing)
    if kind in _OPAQUE or depth > _MAX_DEPTH or id(thing) in seen:
        return 0
    seen.add(id(thing))
    if kind is Word:
        at: uintptr_t = cython.cast(uintptr_t, cython.address(cython.cast(Word, thing).value))
        found.append((at, 8, name, None))
    elif kind is Lock:
        at = cython.cast(uintptr_t, cython.address(cython.cast(Lock, thing).value))
        found.append((at, 8, name, None))
    elif kind is Mapping:
        at = cython.cast(uintptr_t, cython.cast(Mapping, thing).ref.base)
        found.append((at, cython.cast(Mapping, thing).ref.nbytes, name, thing))
    elif isinstance(thing, (list, tuple)):
        for i, one in enumerate(thing):
            walk(one, f"{name}[{i}]", found, seen, depth + 1)
    elif isinstance(thing, dict):
        for key, one in thing.items():
            walk(one, f"{name}[{key!r}]", found, seen, depth + 1)
    else:
        walk_attributes(thing, kind, name, found, seen, depth)
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def walk_attributes(thing: object, kind: type, name: str, found: list, seen: set, depth: cython.int) -> cython.int:
    if kind.__module__.startswith("mempools.objects."):
        if kind.__name__ == "AtomicU64":
            found.append((probe(thing), 8, name, None))
            return 0
        thing = getattr(thing, "pool", thing)  # of a block
        return walk(getattr(thing, "mapping", None), name, found, seen, depth + 1)
    members = getattr(thing, "__dict__", None)
    if type(members) is dict:
        for key, one in members.items():
            # An arena is called as its owner calls it.
            called = name if type(one) is Mapping else f"{name}.{key}" if name else key
            walk(one, called, found, seen, depth + 1)
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for key in (slots,) if isinstance(slots, str) else slots:
            one = getattr(thing, key, None)
            if one is not None:
                walk(one, f"{name}.{key}" if name else key, found, seen, depth + 1)
    return 0


# ---- keeping ----


@cython.final
@cython.cclass
class Places:
    """The regions of an engine whose scenario objects come and go."""

    def __cinit__(self):
        self.arenas = []
        self.names = {}

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def find(self, state: object) -> cython.int:
        """Makes the engine's regions those of this object."""
        found: list = []
        shape: list = []
        words: list = []
        address: uint64_t
        key: uint64_t
        self.engine.nr_regions = 0
        self.arenas = []
        walk(state, "", found, set(), 0)
        for address, nbytes, name, arena in found:
            if arena is not None:
                self.arenas.append(weakref.ref(arena))
                self.add(address, nbytes, len(self.arenas) * _FIRST_ARENA, name, shape)
        for address, nbytes, name, arena in found:
            if arena is None:
                key = self.key_of(address)
                if key:
                    shape.append((key, nbytes, name))  # in an arena, or a second object for one word
                else:
                    self.add(address, nbytes, 0x1000 + 8 * self.engine.nr_regions, name, shape)
        if self.shape is None:
            self.shape = shape
            for key, _, name in shape:
                self.names.setdefault(key, name)
        elif self.shape != shape:
            odd = sorted({name for _, _, name in shape} ^ {name for _, _, name in self.shape})
            raise RuntimeError(
                "the scenario object does not have the same words and arenas each time it is made: "
                + (", ".join(odd) or "they come in another order")
            )
        return self.check_values()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add(self, address: uint64_t, nbytes: uint64_t, key: uint64_t, name: str, shape: list) -> cython.int:
        global _nr_watched
        nr: cython.int = self.engine.nr_regions
        region: cython.pointer(Region)
        if nr == MAX_REGIONS:
            raise ValueError(f"a scenario object may have {MAX_REGIONS} words and arenas")
        region = cython.address(self.engine.regions[nr])
        region.lo = address
        region.hi = address + nbytes
        region.key = key
        region.shadow = cython.NULL
        region.protected_ = False
        _watched[2 * nr] = region.lo
        _watched[2 * nr + 1] = region.hi
        self.engine.nr_regions = nr + 1
        _nr_watched = nr + 1
        shape.append((key, nbytes, name))
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def key_of(self, address: uint64_t) -> uint64_t:
        i: cython.int
        for i in range(self.engine.nr_regions):
            if self.engine.regions[i].lo <= address < self.engine.regions[i].hi:
                return address - self.engine.regions[i].lo + self.engine.regions[i].key
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def address_of(self, key: uint64_t) -> uint64_t:
        i: cython.int
        region: cython.pointer(Region)
        for i in range(self.engine.nr_regions):
            region = cython.address(self.engine.regions[i])
            if region.key <= key < region.key + (region.hi - region.lo):
                return region.lo + (key - region.key)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_values(self) -> cython.int:
        """What was read as a word's initial value must be so again; what an arena begins with may differ."""
        e: cython.pointer(Engine) = self.engine
        n: cython.int
        value: uint64_t
        for n in range(e.memory.nr_locs):
            key: uint64_t = e.memory.locs[n].addr
            value = 0
            memcpy(
                cython.address(value),
                cython.cast(cython.p_void, self.address_of(key)),
                cython.cast(cython.size_t, e.memory.locs[n].size),
            )
            if value != e.memory.locs[n].initial and key < _FIRST_ARENA:
                raise RuntimeError(
                    f"{self.name_of(key)} is {e.memory.locs[n].initial} in one scenario object and {value} in the next: "
                    "the constructor must make them equal"
                )
            e.memory.locs[n].initial = value
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def write_back(self) -> cython.void:
        """The newest values, from the messages into memory."""
        e: cython.pointer(Engine) = self.engine
        n: cython.int
        value: uint64_t
        for n in range(e.memory.nr_locs):
            if e.memory.locs[n].nr > 1:
                value = memory_value(cython.address(e.memory), n, memory_newest(cython.address(e.memory), n))
                memcpy(
                    cython.cast(cython.p_void, self.address_of(e.memory.locs[n].addr)),
                    cython.address(value),
                    cython.cast(cython.size_t, e.memory.locs[n].size),
                )

    @cython.cfunc
    def outlived(self) -> cython.bint:
        """The scenario object is gone: is one of its arenas still there? By a block, a pool or itself."""
        for arena in self.arenas:
            if arena() is not None:
                gc.collect()
                break
        for arena in self.arenas:
            if arena() is not None:
                return True
        return False

    @cython.cfunc
    def name_of(self, key: uint64_t) -> str:
        name = self.names.get(key)
        if name is not None:
            return name
        for start, nbytes, name in self.shape or ():
            if start <= key < start + nbytes:
                return f"{name}+{key - start:#x}"
        return f"local+{key & 0xFFFF:#x}"

    @cython.cfunc
    @cython.exceptval(check=False)
    def forget(self) -> cython.void:
        """No other thread need leave anything alone."""
        global _nr_watched, _intruded
        _nr_watched = 0
        _intruded = False
