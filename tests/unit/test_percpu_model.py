"""PerCpu against a model: granules that are taken, pages that exist."""

import gc

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from mempools import Arena, Exhausted, WouldBlock

GRANULE = 4
PAGE = 4096
UNIT = 2 * PAGE
NR_UNITS = 2


class PerCpuMachine(RuleBasedStateMachine):
    areas = Bundle("areas")

    @initialize()
    def make(self):
        self.arena = Arena.anonymous("192K")  # room for a few chunks
        self.pool = self.arena.percpu("model", nr_units=NR_UNITS, unit_nbytes=UNIT, shares=0, balance=False)
        self.taken = {}  # chunk: its granules that are taken
        self.learn()

    def learn(self):
        for chunk in self.pool.chunks():
            self.taken.setdefault(chunk.address, set())

    def fits(self, nbytes, align):
        nr, step = -(-nbytes // GRANULE), max(align // GRANULE, 1)
        return any(
            not taken.intersection(range(at, at + nr))
            for taken in self.taken.values()
            for at in range(0, UNIT // GRANULE - nr + 1, step)
        )

    def where(self, area):
        for base in self.taken:
            if base <= area.offset < base + UNIT:
                at = (area.offset - base) // GRANULE
                return base, range(at, at + -(-area.nbytes // GRANULE))
        raise AssertionError("an area outside the chunks")

    @rule(
        target=areas,
        nbytes=st.one_of(st.integers(1, 64), st.integers(1, UNIT), st.just(PAGE)),
        align=st.sampled_from([4, 8, 64, 4096]),
        wait=st.booleans(),
    )
    def alloc(self, nbytes, align, wait):
        fits = self.fits(nbytes, align)
        before = len(self.taken)
        try:
            area = self.pool.alloc(nbytes, align=align, wait=wait)
        except WouldBlock:
            assert not fits or any(chunk.populated_pages < UNIT // PAGE for chunk in self.pool.stats().chunks), (
                "room was not found"
            )
            return multiple()
        except Exhausted:
            assert not fits, "room was not found"
            return multiple()
        self.learn()
        assert fits == (len(self.taken) == before), "a chunk is added when nothing fits"
        base, granules = self.where(area)
        assert (area.offset - base) % align == 0
        assert not self.taken[base].intersection(granules), "handed out twice"
        self.taken[base].update(granules)
        for unit in range(NR_UNITS):
            assert area.read(unit) == bytes(nbytes)
        with memoryview(area) as view:
            view[NR_UNITS - 1, nbytes - 1] = 1
        return area

    @rule(area=consumes(areas))
    def free(self, area):
        base, granules = self.where(area)
        self.taken[base].difference_update(granules)
        area.free()

    @rule()
    def maintain(self):
        self.pool.maintain()
        self.learn()

    @invariant()
    def the_index_is_right(self):
        self.pool.check()
        stats = self.pool.stats()
        nr_taken = sum(len(taken) for taken in self.taken.values())
        assert sum(chunk.free_bytes for chunk in stats.chunks) == len(self.taken) * UNIT - nr_taken * GRANULE
        assert self.pool.avail == len(self.taken) * UNIT - nr_taken * GRANULE

    def teardown(self):
        self.arena.check()
        del self.pool
        gc.collect()


PerCpuMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestPerCpuAgainstItsModel = PerCpuMachine.TestCase
