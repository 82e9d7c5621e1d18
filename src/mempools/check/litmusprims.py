"""The primitives of the kernel's memory model, by name: what each does to memory, in which order.

The older names of some and the pseudo-functions in terms of which the model defines them (`__load{once}`) are here too.
`atomic64_`, `atomic_long_` and `raw_spin_` are read as `atomic_` and `spin_`.
"""

import re
from dataclasses import dataclass

ORDERS = {"": "full", "_relaxed": "relaxed", "_acquire": "acquire", "_release": "release"}
_ANNOTATIONS = {"mb": "full", "once": "relaxed", "acquire": "acquire", "release": "release", "": "plain"}


@dataclass(frozen=True, slots=True)
class Load:
    order: str
    of_pointer: bool = False  # the argument is an address; otherwise it is the place itself: READ_ONCE(*x)


@dataclass(frozen=True, slots=True)
class Store:
    order: str
    of_pointer: bool = False
    fence: str = ""  # behind the store


@dataclass(frozen=True, slots=True)
class Fence:
    kind: str  # "": orders nothing


@dataclass(frozen=True, slots=True)
class Rmw:
    fn: str  # "xchg", or an operator: + - & | ^, or &~ for "and not"
    order: str
    result: str  # "old", "new", "none", "zero" (whether the new value is 0), "negative"
    operand: str = "last"  # where it stands in the call: "last", "first" or "none", which means 1


@dataclass(frozen=True, slots=True)
class Cmpxchg:
    order: str
    tries: bool = False  # try_cmpxchg: tells whether it did, and leaves the old value in the expected one's place


@dataclass(frozen=True, slots=True)
class AddUnless:
    result: str  # "done" or "old"
    nr_args: int  # 1: inc_not_zero


@dataclass(frozen=True, slots=True)
class Lock:
    kind: str  # "lock", "unlock", "trylock", "is_locked"


@dataclass(frozen=True, slots=True)
class Rcu:
    kind: str  # "lock", "unlock", "synchronize"
    sleepable: bool = False  # of the domain that the first argument points to


Primitive = Load | Store | Fence | Rmw | Cmpxchg | AddUnless | Lock | Rcu

_NAMED: dict[str, Primitive] = {
    "smp_load_acquire": Load("acquire", True),
    "atomic_read": Load("relaxed", True),
    "atomic_read_acquire": Load("acquire", True),
    "WRITE_ONCE": Store("relaxed"),
    "RCU_INIT_POINTER": Store("relaxed"),
    "rcu_assign_pointer": Store("release"),
    "smp_store_release": Store("release", True),
    "atomic_set": Store("relaxed", True),
    "atomic_set_release": Store("release", True),
    "smp_store_mb": Store("relaxed", fence="mb"),
    "set_mb": Store("relaxed", fence="mb"),
    "smp_mb__before_atomic": Fence("mb_before_rmw"),
    "smp_mb__after_atomic": Fence("mb_after_rmw"),
    "smp_mb__after_spinlock": Fence("mb_after_lock"),
    "smp_mb__after_unlock_lock": Fence("mb_after_lock"),
    "smp_mb__after_srcu_read_unlock": Fence("mb"),
    "rcu_read_lock": Rcu("lock"),
    "rcu_read_unlock": Rcu("unlock"),
    "synchronize_rcu": Rcu("synchronize"),
    "synchronize_rcu_expedited": Rcu("synchronize"),
    "srcu_read_lock": Rcu("lock", True),
    "srcu_read_unlock": Rcu("unlock", True),
    "synchronize_srcu": Rcu("synchronize", True),
    "synchronize_srcu_expedited": Rcu("synchronize", True),
    "atomic_add_unless": AddUnless("done", 3),
    "atomic_fetch_add_unless": AddUnless("old", 3),
    "atomic_inc_not_zero": AddUnless("done", 1),
    **dict.fromkeys(("smp_mb", "mb", "__sync_synchronize"), Fence("mb")),
    **dict.fromkeys(("smp_rmb", "rmb"), Fence("rmb")),
    **dict.fromkeys(("smp_wmb", "wmb"), Fence("wmb")),
    **dict.fromkeys(("barrier", "cpu_relax", "smp_read_barrier_depends", "read_barrier_depends"), Fence("")),
    **{
        name: Load("relaxed")
        for name in (
            "READ_ONCE ACCESS_ONCE READ_ONCE_CTRL lockless_dereference rcu_dereference rcu_dereference_raw "
            "rcu_dereference_check rcu_dereference_protected rcu_access_pointer srcu_dereference"
        ).split()
    },
    **{f"{prefix}{kind}": Lock(kind) for kind in ("lock", "unlock", "trylock") for prefix in ("spin_", "__")},
    **{name: Lock("is_locked") for name in ("spin_is_locked", "__islocked")},
}

LOADS_OF_TWO = frozenset(("rcu_dereference_check", "rcu_dereference_protected", "srcu_dereference"))

_FENCES = {
    "mb": "smp_mb",
    "rmb": "smp_rmb",
    "wmb": "smp_wmb",
    "barrier": "barrier",
    "rb_dep": "barrier",
    "before-atomic": "smp_mb__before_atomic",
    "after-atomic": "smp_mb__after_atomic",
    "after-spinlock": "smp_mb__after_spinlock",
    "after-unlock-lock": "smp_mb__after_unlock_lock",
    "after-srcu-read-unlock": "smp_mb__after_srcu_read_unlock",
    "rcu-lock": "rcu_read_lock",
    "rcu-unlock": "rcu_read_unlock",
    "sync-rcu": "synchronize_rcu",
}
_SRCU = {"srcu-lock": "srcu_read_lock", "srcu-unlock": "srcu_read_unlock", "sync-srcu": "synchronize_srcu"}

_FUNCTIONS = {"add": "+", "sub": "-", "inc": "+", "dec": "-", "and": "&", "or": "|", "xor": "^", "andnot": "&~"}
_ORDER = "(_relaxed|_acquire|_release|)"
_XCHG = re.compile(rf"(?:atomic_)?(xchg|cmpxchg|try_cmpxchg){_ORDER}")
_FETCH = re.compile(rf"atomic_fetch_(add|sub|inc|dec|and|or|xor|andnot){_ORDER}")
_RETURN = re.compile(rf"atomic_(add|sub|inc|dec)_return{_ORDER}")
_VOID = re.compile(r"atomic_(add|sub|inc|dec|and|or|xor|andnot)")
_TEST = re.compile(rf"atomic_(add|sub|inc|dec)_(?:and_test|negative{_ORDER})")


def primitive(name: str, annotation: str = "") -> Primitive | None:
    """What a call of that name does; None for no primitive."""
    name = re.sub(r"^(?:atomic64_|atomic_long_)", "atomic_", name).removeprefix("raw_" if "raw_spin_" in name else "")
    if annotation or name.startswith("__atomic_"):
        return _pseudo(name, annotation)
    if name in _NAMED:
        return _NAMED[name]
    if found := _XCHG.fullmatch(name):
        order = ORDERS[found[2]]
        return Rmw("xchg", order, "old") if found[1] == "xchg" else Cmpxchg(order, found[1] == "try_cmpxchg")
    if found := _FETCH.fullmatch(name):
        return Rmw(_FUNCTIONS[found[1]], ORDERS[found[2]], "old", _operand(found[1]))
    if found := _RETURN.fullmatch(name):
        return Rmw(_FUNCTIONS[found[1]], ORDERS[found[2]], "new", _operand(found[1]))
    if found := _VOID.fullmatch(name):
        return Rmw(_FUNCTIONS[found[1]], "relaxed", "none", _operand(found[1]))
    if found := _TEST.fullmatch(name):
        result = "zero" if found[2] is None else "negative"
        return Rmw(_FUNCTIONS[found[1]], ORDERS[found[2] or ""], result, _operand(found[1]))
    return None


def _operand(function: str) -> str:
    return "none" if function in ("inc", "dec") else "first"


def _pseudo(name: str, annotation: str) -> Primitive | None:
    """__load{acquire}(*x), __fence{mb}, __atomic_fetch_op{once}(x, +, 1), ..."""
    if name == "__fence" and annotation in _FENCES:
        return _NAMED[_FENCES[annotation]]
    if name == "__srcu" and annotation in _SRCU:
        return _NAMED[_SRCU[annotation]]
    if name == "__load" and annotation in ("deref", "lderef"):
        return Load("relaxed")
    order = _ANNOTATIONS.get(annotation)
    if order is None:
        return None
    match name:
        case "__load":
            return Load(order)
        case "__store":
            return Store(order)
        case "__xchg":
            return Rmw("xchg", order, "old")
        case "__cmpxchg":
            return Cmpxchg(order)
        case "__atomic_op":
            return Rmw("", "relaxed", "none")
        case "__atomic_op_return":
            return Rmw("", order, "new")
        case "__atomic_fetch_op":
            return Rmw("", order, "old")
    return None
