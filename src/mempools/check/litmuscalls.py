"""Code of the primitives of a litmus test: from a call to the instructions that ask memory."""

from mempools.check import litmusprims as prims
from mempools.check.litmusbuild import Builder, Value
from mempools.check.litmusc import AddressOf, Call, Deref, Expr, Name
from mempools.check.litmuslex import LitmusError, Unsupported


class Calls(Builder):
    def call(self, node: Call) -> Value:
        """The value of a call; 0 of one that has none."""
        primitive = prims.primitive(node.name, node.annotation)
        match primitive:
            case prims.Load():
                return self._load(primitive, node)
            case prims.Store():
                return self._store(primitive, node)
            case prims.Fence(kind):
                return self._fence(kind, node)
            case prims.Rmw():
                return self._rmw(primitive, node)
            case prims.Cmpxchg():
                return self._cmpxchg(primitive, node)
            case prims.AddUnless():
                return self._add_unless(primitive, node)
            case prims.Lock(kind):
                return self._lock(kind, node)
            case prims.Rcu():
                return self._rcu(primitive, node)
        raise Unsupported(f"{node.name}{{{node.annotation}}}" if node.annotation else f"{node.name}()")

    def _args(self, node: Call, nr: int) -> tuple[Expr, ...]:
        if len(node.args) != nr:
            raise LitmusError(f"{node.name} takes {nr} arguments, not {len(node.args)}")
        return node.args

    def place(self, node: Expr) -> Value:
        """The address of what an expression stands for."""
        if isinstance(node, Deref):
            return self.expression(node.address)
        raise Unsupported("access to a register as if it were in memory")

    # ---- loads and stores

    def load(self, order: str, address: Value) -> Value:
        return self.answer("read", a=address.slot, addr_deps=address.deps, order=order)

    def store(self, order: str, address: Value, value: Value) -> None:
        self.emit("write", a=address.slot, b=value.slot, addr_deps=address.deps, data_deps=value.deps, order=order)

    def _load(self, load: prims.Load, node: Call) -> Value:
        where = self._args(node, 2 if node.name in prims.LOADS_OF_TWO else 1)[0]
        return self.load(load.order, self.expression(where) if load.of_pointer else self.place(where))

    def _store(self, store: prims.Store, node: Call) -> Value:
        where, what = self._args(node, 2)
        address = self.expression(where) if store.of_pointer else self.place(where)
        self.store(store.order, address, self.expression(what))
        if store.fence:
            self.emit(store.fence)
        return self.constant(0)

    def _fence(self, kind: str, node: Call) -> Value:
        if kind:
            self.emit(kind)
        return self.constant(0)

    # ---- read-modify-write

    def _rmw(self, rmw: prims.Rmw, node: Call) -> Value:
        fn, operand = rmw.fn, rmw.operand
        if not fn:  # __atomic_op(x, +, 1)
            where, operator, what = self._args(node, 3)
            fn = operator.name if isinstance(operator, Name) else "?"
            if fn not in ("+", "-", "&", "|", "^"):
                raise Unsupported(f"{node.name} with the operator {fn}")
        elif operand == "none":
            (where,) = self._args(node, 1)
        elif operand == "first":
            what, where = self._args(node, 2)
        else:
            where, what = self._args(node, 2)
        address = self.expression(where)
        value = self.constant(1) if operand == "none" else self.expression(what)
        return self._modify(rmw, fn, address, value)

    def _modify(self, rmw: prims.Rmw, fn: str, address: Value, value: Value) -> Value:
        zero = self.constant(0)
        given = value
        if fn == "-":
            given, fn = self.alu("-", zero, value), "+"
        elif fn == "&~":
            given, fn = self.alu("^", value, self.constant(-1)), "&"
        deps = {"addr_deps": address.deps, "data_deps": value.deps}
        if rmw.result == "none":
            self.emit("rmw", fn=fn, a=address.slot, b=given.slot, order=rmw.order, silent=True, **deps)
            return zero
        old = self.answer("rmw", fn=fn, a=address.slot, b=given.slot, order=rmw.order, **deps)
        if rmw.result == "old":
            return old
        new = Value(self.alu(fn, old, given).slot, old.deps)
        if rmw.result == "new":
            return new
        return self.alu("==" if rmw.result == "zero" else "<", new, zero)

    def _cmpxchg(self, cmpxchg: prims.Cmpxchg, node: Call) -> Value:
        where, expected, what = self._args(node, 3)
        address = self.expression(where)
        if not cmpxchg.tries:
            return self._compare(cmpxchg.order, address, self.expression(expected), self.expression(what))
        if not isinstance(expected, AddressOf) or not isinstance(expected.place, Name):
            raise Unsupported("try_cmpxchg whose expected value is no local variable")
        wanted = self.expression(expected.place)
        wanted = self.alu("copy", wanted, wanted)  # the variable is overwritten
        old = self._compare(cmpxchg.order, address, wanted, self.expression(what))
        done = self.alu("==", old, Value(wanted.slot, 0))
        self.assign(expected.place.name, old)
        return done

    def _compare(self, order: str, address: Value, expected: Value, new: Value) -> Value:
        return self.answer(
            "cmpxchg",
            a=address.slot,
            b=expected.slot,
            c=new.slot,
            order=order,
            addr_deps=address.deps,
            data_deps=expected.deps | new.deps,
        )

    def _add_unless(self, add: prims.AddUnless, node: Call) -> Value:
        """As the kernel does it: reads, gives up at the value that it must not be, and otherwise tries to swap the sum
        in, again and again."""
        args = self._args(node, add.nr_args)
        address = self.expression(args[0])
        addend = self.expression(args[1]) if len(args) > 1 else self.constant(1)
        unless = self.expression(args[2]) if len(args) > 1 else self.constant(0)
        old = self.load("relaxed", address)
        loop = self.here() - 1
        differs = self.alu("!=", old, Value(unless.slot, 0))
        give_up = self.emit("jump_zero", a=differs.slot)
        found = self._compare("full", address, Value(old.slot, unless.deps), self.alu("+", Value(old.slot, 0), addend))
        same = self.alu("==", found, old)
        again = self.emit("jump_zero", a=same.slot)
        done = self.emit("jump")
        again.target = self.here()
        self.emit("relax")
        self.emit("jump", target=loop)
        give_up.target = done.target = self.here()
        return old if add.result == "old" else Value(differs.slot, old.deps)

    # ---- locks and RCU

    def _lock(self, kind: str, node: Call) -> Value:
        address = self.expression(self._args(node, 1)[0])
        if kind == "is_locked":
            return self.alu("!=", self.load("relaxed", address), self.constant(0))
        if kind == "trylock":
            return self.answer("trylock", a=address.slot, addr_deps=address.deps)
        self.emit(kind, a=address.slot, addr_deps=address.deps)
        return self.constant(0)

    def _rcu(self, rcu: prims.Rcu, node: Call) -> Value:
        op = "synchronize_rcu" if rcu.kind == "synchronize" else f"rcu_{rcu.kind}"
        if not rcu.sleepable:
            self._args(node, 0)
            self.emit(op)
            return self.constant(0)
        args = self._args(node, 2 if rcu.kind == "unlock" else 1)
        domain = args[0].place if isinstance(args[0], AddressOf) else args[0]
        if not isinstance(domain, Name) or self.has_local(domain.name):
            raise Unsupported("srcu_struct behind a pointer")
        index = args[-1].name if rcu.kind == "unlock" and isinstance(args[-1], Name) else ""
        self.emit(op, domain=domain.name, index=index)
        return self.constant(0)
