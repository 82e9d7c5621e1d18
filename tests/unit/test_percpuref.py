"""PerCpuRef: lives, modes, the release that happens once; against a plain number."""

import gc
import pickle
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mempools import Arena, Busy, NotOwned, PerCpuRef


@pytest.fixture
def pool(arena):
    return arena.percpu("counts", nr_units=3, unit_nbytes=4096, shares=4, balance=False)


def test_a_life(pool):
    released = []
    ref = pool.refcount(lambda: released.append(ref.is_zero))
    assert (ref.count(), ref.is_zero, ref.is_dying, ref.is_atomic) == (1, False, False, False)
    ref.get()
    ref.get_many(5)
    assert ref.tryget() and ref.tryget_many(2) and ref.tryget_live()
    assert ref.count() == 11
    ref.put_many(9)
    ref.kill()
    assert (ref.count(), ref.is_zero, ref.is_dying, ref.is_atomic) == (1, False, True, True)
    assert not ref.tryget_live() and ref.tryget()
    ref.put()
    assert not released
    ref.put()
    assert released == [True]
    assert ref.is_zero and not ref.tryget() and not ref.tryget_live()
    for wrong in (ref.get, ref.put, ref.kill, lambda: ref.get_many(3), ref.__enter__):
        with pytest.raises(NotOwned):
            wrong()
    assert released == [True] and ref.count() == 0


def test_with_holds_a_reference(pool):
    released = []
    ref = pool.refcount(lambda: released.append(1))
    with ref as same:
        assert same is ref and ref.count() == 2
        ref.kill()
        assert not released
    assert released == [1]


@pytest.mark.parametrize("atomic", [False, True])
def test_confirm_comes_between_the_last_live_reference_and_the_release(pool, atomic):
    order = []
    ref = pool.refcount(lambda: order.append("release"), atomic=atomic)

    def confirm():
        order.append(("confirm", ref.tryget_live(), ref.is_zero))

    ref.kill_and_confirm(confirm)
    assert order == [("confirm", False, False), "release"]
    with pytest.raises(NotOwned, match="killed already"):
        ref.kill_and_confirm(confirm)
    assert len(order) == 2


def test_what_callbacks_raise(pool):
    ref = pool.refcount(lambda: 1 / 0, allow_reinit=True)
    with pytest.raises(ZeroDivisionError):
        ref.kill()
    assert ref.is_zero
    ref.reinit()  # the release is over all the same
    ref.release = None
    with pytest.raises(KeyError):
        ref.kill_and_confirm(lambda: {}[0])
    assert ref.is_zero


def test_modes(pool):
    ref = pool.refcount()
    ref.get_many(4)
    seen = []
    ref.switch_to_atomic(lambda: seen.append(ref.count()))
    assert seen == [5] and ref.is_atomic
    ref.put_many(2)
    with pytest.raises(NotOwned, match="3 references put, and there are 3"):
        ref.put_many(3)  # the initial one is kill()'s
    ref.switch_to_percpu()
    assert not ref.is_atomic and ref.count() == 3
    ref.switch_to_percpu()
    ref.get()
    assert ref.count() == 4
    ref.kill()
    with pytest.raises(Busy, match="reinit"):
        ref.switch_to_percpu()
    ref.put_many(3)
    assert ref.is_zero


def test_more_puts_than_gets_are_found_when_the_parts_are_counted(pool):
    ref = pool.refcount(lambda: pytest.fail("released"))
    ref.put_many(2)
    with pytest.raises(NotOwned, match="more references are put"):
        ref.switch_to_atomic()
    other = pool.refcount(lambda: pytest.fail("released"))
    other.put()
    with pytest.raises(NotOwned, match="more references are put"):
        other.kill()
    assert not other.is_zero


def test_lives_after_each_other(pool):
    released = []
    ref = pool.refcount(lambda: released.append(1), allow_reinit=True)
    for life in range(5):
        ref.get()
        ref.kill()
        with pytest.raises(Busy):
            ref.reinit()
        ref.put()
        assert len(released) == life + 1
        with pytest.raises(Busy):
            ref.resurrect()
        ref.reinit()
        assert ref.count() == 1 and not ref.is_dying and not ref.is_atomic
    once = pool.refcount()
    once.kill()
    with pytest.raises(Busy, match="allow_reinit"):
        once.reinit()


def test_resurrection(pool):
    released = []
    ref = pool.refcount(lambda: released.append(1))
    with pytest.raises(Busy):
        ref.resurrect()
    ref.get()
    ref.kill()
    ref.resurrect()
    assert ref.count() == 2 and ref.tryget_live()
    ref.put_many(2)
    assert not released
    ref.kill()
    assert released == [1]


def test_born_atomic_or_dead(pool):
    atomic = pool.refcount(atomic=True, allow_reinit=True)
    assert atomic.is_atomic and atomic.count() == 1
    atomic.kill()
    atomic.reinit()
    assert atomic.is_atomic and atomic.count() == 1, "it stays so"
    atomic.switch_to_percpu()
    assert not atomic.is_atomic and atomic.count() == 1
    dead = pool.refcount(lambda: released.append(1), dead=True)
    released = []
    assert dead.is_zero and dead.is_dying and not dead.tryget() and not dead.reap()
    dead.reinit()
    assert dead.count() == 1 and not dead.is_atomic
    dead.kill()
    assert released == [1]


def test_wrong_use(pool):
    with pytest.raises(TypeError):
        PerCpuRef()
    with pytest.raises(TypeError):
        PerCpuRef.__new__(PerCpuRef).get()
    with pytest.raises(TypeError, match="it is called"):
        pool.refcount("release")
    ref = pool.refcount()
    for call in (ref.kill_and_confirm, ref.switch_to_atomic):
        with pytest.raises(TypeError, match="it is called"):
            call(3)
    for nr in (0, -1, (1 << 30) + 1):
        with pytest.raises(ValueError, match="2\\*\\*30"):
            ref.get_many(nr)
    for nr in ("1", None):
        with pytest.raises(TypeError):
            ref.put_many(nr)
    assert ref.count() == 1
    ref.exit()
    assert repr(ref) == "<mempools.PerCpuRef, freed>"
    for use in (ref.get, ref.put, ref.kill, ref.count, lambda: pickle.dumps(ref)):
        with pytest.raises(TypeError):
            use()
    gc.collect()
    assert pool.stats().nr_cur_alloc == 0


def test_a_closed_arena():
    arena = Arena.anonymous("1M")
    ref = arena.percpu("counts", balance=False).refcount()
    with pytest.raises(Busy):
        arena.close()
    ref.exit()
    arena.close()


def test_a_pickle_is_the_same_count(pool):
    released = []
    ref = pool.refcount(lambda: released.append(1))
    other = pickle.loads(pickle.dumps(ref))
    other.get()
    assert ref.count() == 2
    ref.kill()
    other.put()
    assert ref.is_zero and not released, "whoever puts the last one releases, and this one has nothing to call"
    assert not ref.reap(), "it is over"


def test_a_release_that_destructors_bring_about(pool):
    released = []

    class User:
        def __init__(self, ref):
            self.ref = ref
            ref.get()

        def __del__(self):
            self.ref.put()

    ref = pool.refcount(lambda: released.append(1))
    user = User(ref)
    user.me = user
    ref.kill()
    del user
    gc.collect()
    assert released == [1]


def test_threads_that_come_and_go_while_the_mode_changes(pool):
    released = []
    ref = pool.refcount(lambda: released.append(1))
    got = []

    def user():
        nr = 0
        while ref.tryget_live():
            nr += 1
            assert not released
            ref.put()
        got.append(nr)

    threads = [threading.Thread(target=user) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        ref.switch_to_atomic()
        ref.switch_to_percpu()
    ref.kill()
    for thread in threads:
        thread.join()
    assert released == [1] and len(got) == 3


class CountMachine(RuleBasedStateMachine):
    """Against a number of references, and flags."""

    @initialize(atomic=st.booleans())
    def make(self, atomic):
        self.arena = Arena.anonymous("256K")
        self.pool = self.arena.percpu("model", nr_units=2, unit_nbytes=4096, shares=0, balance=False)
        self.releases = self.lives = 0
        self.ref = self.pool.refcount(self.release, atomic=atomic, allow_reinit=True)
        self.sticky = atomic
        self.held, self.dead = 0, False

    def release(self):
        self.releases += 1

    @property
    def zero(self):
        return self.dead and self.held == 0

    @rule(nr=st.integers(1, 5), live=st.booleans())
    def get(self, nr, live):
        if live:
            assert self.ref.tryget_live() == (not self.dead)
            self.held += not self.dead
        else:
            assert self.ref.tryget_many(nr) == (not self.zero)
            self.held += 0 if self.zero else nr

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def put(self, data):
        nr = data.draw(st.integers(1, self.held))
        self.ref.put_many(nr)
        self.held -= nr

    @precondition(lambda self: not self.dead)
    @rule()
    def kill(self):
        self.dead = True
        self.ref.kill()

    @rule(atomic=st.booleans())
    def switch(self, atomic):
        if atomic:
            self.ref.switch_to_atomic()
            self.sticky = True
        elif self.dead:
            with pytest.raises(Busy):
                self.ref.switch_to_percpu()
        else:
            self.ref.switch_to_percpu()
            self.sticky = False

    @rule()
    def live_again(self):
        if self.zero:
            self.ref.reinit()
            self.lives += 1
        elif self.dead:
            self.ref.resurrect()
        else:
            with pytest.raises(Busy):
                self.ref.reinit()
            return
        self.dead = False

    @rule()
    def reap(self):
        assert not self.ref.reap()

    @invariant()
    def the_number_is_right(self):
        assert self.ref.count() == self.held + (not self.dead)
        assert (self.ref.is_zero, self.ref.is_dying) == (self.zero, self.dead)
        assert self.ref.is_atomic == (self.dead or self.sticky)
        assert self.releases == self.lives + self.zero

    def teardown(self):
        self.ref.release = None
        self.ref.exit()
        del self.ref, self.pool
        gc.collect()


CountMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestCountAgainstANumber = CountMachine.TestCase
