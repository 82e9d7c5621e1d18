"""A ZsPool beside a dict of bytes: whatever is done in whatever order, both say the same."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from mempools import Arena, Busy, StaleHandle

SIZES = st.one_of(st.integers(1, 100), st.sampled_from([500, 2000, 3000, 3625, 4096, 5000, 9000, 65536]))


class Machine(RuleBasedStateMachine):
    handles = Bundle("handles")
    views = Bundle("views")

    @initialize(chain=st.integers(4, 16))
    def begin(self, chain):
        self.arena = Arena("4M")
        self.pool = self.arena.zspool("objs", chain=chain)
        self.model = {}
        self.pinned = []
        self.freed = []

    @rule(target=handles, nbytes=SIZES, seed=st.integers(0, 255), nr=st.integers(1, 20))
    def put(self, nbytes, seed, nr):
        nr = min(nr, 65536 // nbytes)
        for i in range(nr):
            data = bytes([(seed + i) & 255]) * nbytes
            handle = self.pool.put(data)
            assert handle not in self.model
            self.model[handle] = data
        return handle

    @rule(handle=handles, seed=st.integers(0, 255), offset=st.integers(0, 65535))
    def write(self, handle, seed, offset):
        if handle in self.model:
            data = self.model[handle]
            offset %= len(data)
            new = bytes([seed]) * (len(data) - offset)
            self.pool.write(handle, new, offset)
            self.model[handle] = data[:offset] + new

    @rule(handle=handles)
    def free(self, handle):
        if handle not in self.model:
            with pytest.raises(StaleHandle):
                self.pool.free(handle)
        elif any(handle == pinned for pinned, _ in self.pinned):
            with pytest.raises(Busy):
                self.pool.free(handle)
        else:
            self.pool.free(handle)
            del self.model[handle]

    @rule(step=st.integers(2, 5))
    def free_many(self, step):
        pinned = {handle for handle, _ in self.pinned}
        for handle in [handle for handle in list(self.model)[::step] if handle not in pinned]:
            self.pool.free(handle)
            del self.model[handle]

    @rule(target=views, handle=handles)
    def read(self, handle):
        if handle not in self.model:
            with pytest.raises(StaleHandle):
                self.pool.read(handle)
            return None
        self.pinned.append((handle, self.pool.read(handle)))
        return self.pinned[-1]

    @rule(pinned=consumes(views))
    def close(self, pinned):
        if pinned is not None:
            pinned[1].close()
            self.pinned = [other for other in self.pinned if other is not pinned]

    @rule(most=st.one_of(st.none(), st.integers(0, 3)))
    def compact(self, most):
        estimate = self.pool.can_compact()
        freed = self.pool.compact(most)
        if most is None:
            assert freed <= estimate
            if not self.pinned:
                assert freed == estimate
                assert self.pool.can_compact() == 0

    @invariant()
    def same(self):
        if hasattr(self, "pool"):
            assert self.pool.stats().objects == len(self.model)
            for handle, view in self.pinned:
                assert memoryview(view) == self.model[handle]

    def teardown(self):
        if hasattr(self, "pool"):
            for _, view in self.pinned:
                view.close()
            for handle, data in self.model.items():
                assert self.pool.read_bytes(handle) == data
            self.pool.check()
            self.arena.check()
            self.arena.close()


TestZsPool = Machine.TestCase
TestZsPool.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
