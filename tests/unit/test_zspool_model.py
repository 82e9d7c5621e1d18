"""A ZsPool beside a dict of bytes: whatever is done in whatever order, both say the same."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mempools import Arena, Busy, StaleHandle

SIZES = st.one_of(st.integers(1, 100), st.sampled_from([500, 1450, 2000, 3000, 3625, 4096, 5000, 9000, 65536]))
WHICH = st.integers(0, 1 << 20)


class Machine(RuleBasedStateMachine):
    @initialize(chain=st.integers(4, 16))
    def begin(self, chain):
        self.arena = Arena("16M")
        self.pool = self.arena.zspool("objs", chain=chain)
        self.model = {}
        self.freed = []
        self.ended = {}  # what is read although it has been deferred
        self.views = []  # pairs of handle and view

    def pick(self, which):
        return list(self.model)[which % len(self.model)]

    @rule(nbytes=SIZES, seed=st.integers(0, 255), nr=st.integers(1, 100))
    def put(self, nbytes, seed, nr):
        for i in range(min(nr, 200_000 // nbytes)):
            data = bytes([(seed + i) & 255]) * nbytes
            handle = self.pool.put(data)
            assert handle not in self.model
            self.model[handle] = data

    @precondition(lambda self: self.model)
    @rule(which=WHICH, seed=st.integers(0, 255), offset=WHICH)
    def write(self, which, seed, offset):
        handle = self.pick(which)
        data = self.model[handle]
        offset %= len(data)
        new = bytes([seed]) * (len(data) - offset)
        self.pool.write(handle, new, offset)
        self.model[handle] = data[:offset] + new

    @precondition(lambda self: self.model)
    @rule(which=WHICH)
    def free(self, which):
        handle = self.pick(which)
        if any(handle == pinned for pinned, _ in self.views):
            with pytest.raises(Busy):
                self.pool.free(handle)
        else:
            self.pool.free(handle)
            del self.model[handle]
            self.freed.append(handle)

    @precondition(lambda self: self.model)
    @rule(which=WHICH)
    def free_deferred(self, which):
        handle = self.pick(which)
        self.pool.free_deferred(handle)
        self.ended[handle] = self.model.pop(handle)
        self.freed.append(handle)

    @rule()
    def drain(self):
        pinned = {handle for handle, _ in self.views} & set(self.ended)
        assert self.pool.drain() <= len(self.ended)
        assert self.pool.stats().deferred == len(pinned)

    @precondition(lambda self: self.model)
    @rule(keep=st.integers(2, 7), first=st.integers(0, 6))
    def free_many(self, keep, first):
        pinned = {handle for handle, _ in self.views}
        for i, handle in enumerate(list(self.model)):
            if (i + first) % keep and handle not in pinned:
                self.pool.free(handle)
                del self.model[handle]
                self.freed.append(handle)

    @precondition(lambda self: self.freed)
    @rule(which=WHICH)
    def free_again(self, which):
        handle = self.freed[which % len(self.freed)]
        for use in (self.pool.free, self.pool.free_deferred, self.pool.read, self.pool.nbytes):
            with pytest.raises(StaleHandle):
                use(handle)

    @precondition(lambda self: self.model)
    @rule(which=WHICH)
    def read(self, which):
        handle = self.pick(which)
        self.views.append((handle, self.pool.read(handle)))

    @precondition(lambda self: self.views)
    @rule(which=WHICH)
    def close(self, which):
        self.views.pop(which % len(self.views))[1].close()

    @rule(most=st.one_of(st.none(), st.integers(0, 3)))
    def compact(self, most):
        self.pool.drain()
        estimate = self.pool.can_compact()
        freed = self.pool.compact(most)
        if most is None:
            assert freed == estimate or (self.views and freed < estimate)
            assert self.views or self.pool.can_compact() == 0

    @rule()
    def rehome(self):
        size = self.pool.size
        assert self.pool.rehome() * 4096 == size - self.pool.size

    @invariant()
    def same(self):
        stats = self.pool.stats()
        assert stats.objects - stats.deferred == len(self.model)
        for handle, view in self.views:
            assert memoryview(view) == (self.model[handle] if handle in self.model else self.ended[handle])

    def teardown(self):
        if not hasattr(self, "pool"):
            return
        for _, view in self.views:
            view.close()
        for handle, data in self.model.items():
            assert self.pool.read_bytes(handle) == data
        self.pool.check()
        self.arena.check()
        self.arena.close()


TestZsPool = Machine.TestCase
TestZsPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
