"""GenPool against a model: a list that says for each granule which block has it."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from mempools import Exhausted, GenPool, NotOwned

GRANULE = 16
STARTS = (0x1000, 0x4000 + GRANULE)  # the second one is not aligned to more than the granule
NR = (70, 29)


class GenPoolMachine(RuleBasedStateMachine):
    blocks = Bundle("blocks")

    @initialize()
    def make(self):
        self.pool = GenPool((STARTS[0], NR[0] * GRANULE), GRANULE)
        self.pool.add((STARTS[1], NR[1] * GRANULE))
        self.taken = {start + i * GRANULE: False for start, nr in zip(STARTS, NR, strict=True) for i in range(nr)}

    def granules(self, offset, nbytes):
        return [offset + i * GRANULE for i in range(-(-nbytes // GRANULE))]

    def fits(self, offset, nbytes):
        """Is there a free run at offset?"""
        return all(not self.taken.get(granule, True) for granule in self.granules(offset, nbytes))

    def places(self, nbytes, align=1):
        """Where a block could be, in the order in which the chunks are searched."""
        for start, nr in reversed(list(zip(STARTS, NR, strict=True))):
            for i in range(nr):
                offset = start + i * GRANULE
                if offset % align == 0 and self.fits(offset, nbytes):
                    yield offset

    def took(self, offset, nbytes):
        for granule in self.granules(offset, nbytes):
            assert self.taken[granule] is False, "handed out twice"
            self.taken[granule] = True
        return offset, nbytes

    @rule(target=blocks, nbytes=st.integers(1, 30 * GRANULE))
    def alloc(self, nbytes):
        try:
            offset = self.pool.alloc_offset(nbytes)
        except Exhausted:
            assert not list(self.places(nbytes)), "room was not found"
            return multiple()
        return self.took(offset, nbytes)

    @rule(target=blocks, nbytes=st.integers(1, 12 * GRANULE), align=st.sampled_from([1, 16, 32, 128]))
    def first_fit(self, nbytes, align):
        places = list(self.places(nbytes, align))
        block = None
        try:
            block = self.pool.alloc(nbytes, align=align)
        except Exhausted:
            assert not places
            return multiple()
        assert block.offset == places[0]
        self.keep(block)
        return self.took(block.offset, nbytes)

    def keep(self, block):
        """The machine frees by offset: the object must not."""
        self.pool.free_offset(block.offset, block.nbytes)
        with pytest.raises(NotOwned):
            block.free()
        again = self.pool.alloc(block.nbytes, algo="fixed", data=block.offset)
        self.held = [*getattr(self, "held", []), again]

    @rule(target=blocks, nbytes=st.integers(1, 12 * GRANULE))
    def best_fit(self, nbytes):
        places = list(self.places(nbytes))
        try:
            block = self.pool.alloc(nbytes, algo="best_fit")
        except Exhausted:
            assert not places
            return multiple()
        assert block.offset in places
        self.keep(block)
        return self.took(block.offset, nbytes)

    @rule(target=blocks, at=st.integers(-2, max(NR) + 2), chunk=st.integers(0, 1), nbytes=st.integers(1, 9 * GRANULE))
    def fixed(self, at, chunk, nbytes):
        offset = STARTS[chunk] + at * GRANULE
        try:
            block = self.pool.alloc(nbytes, algo="fixed", data=offset)
        except Exhausted:
            assert not self.fits(offset, nbytes)
            return multiple()
        assert block.offset == offset
        self.keep(block)
        return self.took(offset, nbytes)

    @rule(target=blocks, nr=st.integers(0, 30), nbytes=st.sampled_from([1, GRANULE, 3 * GRANULE]))
    def bulk(self, nr, nbytes):
        try:
            offsets = self.pool.alloc_bulk(nr, nbytes)
        except Exhausted:
            return multiple()
        return multiple(*(self.took(offset, nbytes) for offset in offsets))

    @rule(block=consumes(blocks))
    def free(self, block):
        self.pool.free_offset(*block)
        for granule in self.granules(*block):
            self.taken[granule] = False

    @rule(some=st.lists(consumes(blocks), max_size=9))
    def free_bulk(self, some):
        for nbytes in {nbytes for _, nbytes in some}:
            self.pool.free_bulk([offset for offset, size in some if size == nbytes], nbytes)
        for block in some:
            for granule in self.granules(*block):
                self.taken[granule] = False

    @rule(block=blocks, by=st.integers(-3, 3), more=st.integers(-2, 2))
    def free_wrong(self, block, by, more):
        offset, _ = block
        wrong = len(self.granules(*block)) + more
        if wrong < 1 or (by == 0 and more == 0):
            return
        if self.taken.get(offset + by * GRANULE) and by:
            return  # may be another block's start, where the free would be right
        with pytest.raises(NotOwned):
            self.pool.free_offset(offset + by * GRANULE, wrong * GRANULE)

    @invariant()
    def the_same_is_free(self):
        if hasattr(self, "pool"):
            assert self.pool.avail == sum(not taken for taken in self.taken.values()) * GRANULE

    def teardown(self):
        if hasattr(self, "pool"):
            free = []
            with pytest.raises(Exhausted):
                self.pool.alloc(GRANULE, algo=lambda view, nr, data: self.look(view, free))
            assert sorted(free) == [granule for granule, taken in sorted(self.taken.items()) if not taken]

    def look(self, view, free):
        at = view.find(1)
        while at is not None:
            free.append(view.address + at * view.granule)
            at = view.find(1, at + 1)


TestGenPool = GenPoolMachine.TestCase
TestGenPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
