"""Bodies in Python: what check says of them, whatever they do."""

import gc
import random
import signal
import sys
import threading

import pytest

greenlet = pytest.importorskip("greenlet", exc_type=ImportError, reason="bodies in Python need greenlet")

from mempools import Arena, AtomicU64  # noqa: E402
from mempools.check import (  # noqa: E402  # noqa: E402
    Lock,
    Outcome,
    Word,
    assert_passes,
    await_end,
    check,
    choose,
    cpu_relax,
    draw,
    fibers,
    places,
    smp_mb,
    smp_rmb,
    smp_wmb,
    spin_until,
    steps,
)
from mempools.check.fibers import FiberExplorer  # noqa: E402
from mempools.check.run import Bounds  # noqa: E402
from mempools.check.trace import Kind  # noqa: E402


class Two:
    """Two words, and bodies over them."""

    def __init__(self):
        self.x, self.y = Word(), Word()

    def writer(self):
        self.x.write_once(1)
        self.y.store_release(1)

    def reader(self):
        if self.y.load_acquire():
            assert self.x.read_once() == 1

    def hasty_reader(self):
        if self.y.read_once():
            assert self.x.read_once() == 1, "old data"

    def nothing(self):
        pass


def body(function):
    """A scenario of two words whose CPU `extra` runs a function of the test's own."""
    return type("Own", (Two,), {"extra": function})


def still_works():
    """After whatever has happened: the next exploration is as the first."""
    assert gc.isenabled()
    result = check(Two, ["writer", "reader"])
    assert (result.outcome, result.executions, result.graphs) == (Outcome.PASS, 2, 2)
    word = AtomicU64(bytearray(8))
    word.store(3)
    assert word.load() == 3


@pytest.fixture(autouse=True)
def leaves_nothing_behind():
    yield
    still_works()


# ---- results


def test_initial_values_are_those_before_the_execution():
    class Seven(Two):
        def __init__(self):
            self.x, self.y = Word(7), Word(9)

        def spoiler(self):
            self.x.write_once(8)
            self.y.write_once(10)
            raise AssertionError("spoilt")

    trace = check(Seven, ["spoiler"]).trace
    assert trace.initial == {"x": 7, "y": 9}
    assert "initially: x = 7, y = 9" in draw(check(Seven, ["spoiler"]))


def test_pass():
    result = check(Two, ["writer", "reader"])
    assert result.outcome is Outcome.PASS
    assert (result.scenario, result.cpus, result.executions, result.graphs, result.blocked) == ("Two", 2, 2, 2, 0)
    assert result.trace is None and result.error is None and result.hit == ()
    assert result.bounds["executions"].variable == "MEMPOOLS_CHECK_EXECUTIONS"
    assert "PASS" in draw(result)


def test_failure_has_a_trace_with_the_lines_of_the_source():
    result = check(Two, ["writer", "hasty_reader"])
    assert result.outcome is Outcome.FAIL
    trace = result.trace
    line = Two.hasty_reader.__code__.co_firstlineno + 2
    assert trace.violation == f"old data (test_check_bodies.py:{line})"
    assert trace.cpus == ("writer", "hasty_reader")
    assert [(step.location, step.site) for step in trace.steps if step.cpu == 1] == [
        ("y", f"test_check_bodies.py:{line - 1}"),
        ("x", f"test_check_bodies.py:{line}"),
    ]
    assert trace.steps[-1].stale and trace.culprit == trace.steps[-1].index
    assert [remedy.barriers[0].change for remedy in trace.remedies] == ["load_acquire"]
    assert isinstance(result.error, AssertionError)
    assert trace.replay in draw(result)


def test_replay():
    trace = check(Two, ["writer", "hasty_reader"]).trace
    again = check(Two, ["writer", "hasty_reader"], replay=trace.replay)
    assert again.outcome is Outcome.FAIL and again.executions == 1
    assert again.trace.steps == trace.steps and again.trace.violation == trace.violation
    right = check(Two, ["writer", "reader"], replay="00001111")
    assert right.outcome is Outcome.UNKNOWN and right.trace.violation == ""


@pytest.mark.parametrize("path", ["0", "zz", "00000099", "90", "00000000000000"])
def test_what_is_no_replay_string(path):
    with pytest.raises(ValueError):
        check(Two, ["writer", "reader"], replay=path)


def test_assert_passes():
    assert assert_passes(Two, ["writer", "reader"]).outcome is Outcome.PASS
    with pytest.raises(AssertionError, match="old data") as caught:
        assert_passes(Two, ["writer", "hasty_reader"])
    assert "stale" in str(caught.value) and str(caught.value.__cause__).startswith("old data")
    with pytest.raises(AssertionError, match="MEMPOOLS_CHECK_EXECUTIONS"):
        assert_passes(Two, ["writer", "reader"], executions=1)


def test_reduction_loses_no_graph():
    def count(scenario, cpus, **options):
        explorer = FiberExplorer(
            "s", scenario, cpus, [getattr(scenario, cpu) for cpu in cpus], [None] * len(cpus), greenlet, **options
        )
        assert explorer.run(100_000) == "done"
        return explorer.counts["graphs"]

    for cpus in (["writer", "reader"], ["writer", "writer", "reader"], ["writer", "reader", "reader"]):
        assert count(Two, cpus) == count(Two, cpus, reduction=False) > 1


# ---- bounds


def test_bounds_end_in_unknown(monkeypatch):
    result = check(Two, ["writer", "reader"], executions=1)
    assert (result.outcome, result.hit) == (Outcome.UNKNOWN, ("executions",))
    monkeypatch.setenv("MEMPOOLS_CHECK_EXECUTIONS", "1")
    assert check(Two, ["writer", "reader"]).hit == ("executions",)
    monkeypatch.delenv("MEMPOOLS_CHECK_EXECUTIONS")
    assert check(Two, ["writer", "reader"], steps=3).hit == ("steps",)
    result = check(body(lambda self: (self.x.fetch_add(1), self.x.fetch_add(1))), ["extra", "extra"], preemptions=0)
    assert result.hit == ("preemptions",) and result.bounds["preemptions"].value == 0


def test_a_loop_that_waits_without_saying_so_hits_a_bound():
    def waits(self):
        while not self.y.read_once():
            pass

    result = check(body(waits), ["writer", "extra"], steps=50, executions=200)
    assert result.outcome is Outcome.UNKNOWN and "steps" in result.hit


def test_too_many_words_for_one_execution_is_unknown():
    class Many:
        def __init__(self):
            self.words = [Word() for _ in range(250)]

        def all(self):
            for word in self.words:
                word.write_once(1)
                word.write_once(2)

    result = check(Many, ["all"])
    assert result.outcome is Outcome.UNKNOWN and result.hit == ("messages",)
    assert "a fixed one" in draw(result)

    class More:
        def __init__(self):
            self.arena = Arena.anonymous("256K")
            self.block = self.arena.genpool("words").alloc(8 * 2100)

        def all(self):
            for i in range(2100):
                AtomicU64(self.block, 8 * i).load()

    result = check(More, ["all"], steps=3999)
    assert result.outcome is Outcome.UNKNOWN and result.hit == ("messages",)


# ---- the operations


def test_store_buffering():
    class Sb(Two):
        barrier = staticmethod(smp_mb)

        def __init__(self):
            super().__init__()
            self.seen = {}

        def left(self):
            self.x.write_once(1)
            self.barrier()
            self.seen["left"] = self.y.read_once()

        def right(self):
            self.y.write_once(1)
            self.barrier()
            self.seen["right"] = self.x.read_once()

        def one_was_seen(self):
            assert sum(self.seen.values()) > 0

    assert_passes(Sb, ["left", "right"], at_end="one_was_seen")
    for weak in (smp_rmb, smp_wmb, lambda: None):
        Sb.barrier = staticmethod(weak)
        result = check(Sb, ["left", "right"], at_end="one_was_seen")
        assert result.outcome is Outcome.FAIL and result.trace.culprit is None


def test_load_buffering_is_explored_on_demand():
    class Lb(Two):
        def __init__(self):
            super().__init__()
            self.seen = []

        def left(self):
            self.seen.append(self.x.read_once())
            self.y.write_once(1)

        def right(self):
            self.seen.append(self.y.read_once())
            self.x.write_once(1)

        def not_both(self):
            assert self.seen != [1, 1]

    assert_passes(Lb, ["left", "right"], at_end="not_both")
    result = check(Lb, ["left", "right"], at_end="not_both", load_buffering=True)
    assert result.outcome is Outcome.FAIL and result.trace.load_buffering


def test_every_operation_does_what_it_says():
    def all_of_them(self):
        word, top = self.x, 2**64 - 1
        for order in ("_relaxed", "_acquire", "_release", ""):
            word.write_once(5)
            assert getattr(word, f"fetch_add{order}")(3) == 5
            assert getattr(word, f"fetch_add{order}")(-2) == 8
            assert getattr(word, f"fetch_or{order}")(9) == 6
            assert getattr(word, f"fetch_and{order}")(12) == 15
            assert getattr(word, f"xchg{order}")(top) == 12
            assert getattr(word, f"cmpxchg{order}")(1, 2) == top
            assert getattr(word, f"cmpxchg{order}")(top, 7) == top
            assert word.load_acquire() == word.read_once() == word.plain_read() == 7
            word.plain_write(4)
            word.store_release(word.read_once() + 1)
            assert word.read_once() == 5
        for barrier in (smp_mb, smp_rmb, smp_wmb):
            barrier()
        for wrong in (-1, 2**64):
            with pytest.raises(OverflowError):
                word.write_once(wrong)
        with pytest.raises(TypeError):
            word.write_once(1.5)

    all_of_them(body(all_of_them)())  # natively
    assert_passes(body(all_of_them), ["extra"])


def test_plain_accesses_race():
    class Race(Two):
        def plain(self):
            self.x.plain_write(self.x.plain_read() + 1)

        def publisher(self):
            self.x.plain_write(1)
            self.y.store_release(1)

        def subscriber(self):
            if self.y.load_acquire():
                assert self.x.plain_read() == 1

    result = check(Race, ["plain", "plain"])
    assert result.outcome is Outcome.FAIL and "data race" in result.trace.violation
    assert check(Race, ["plain", "plain"], races=False).outcome is Outcome.PASS
    assert_passes(Race, ["publisher", "subscriber"])


def test_choose_explores_every_way():
    ways = set()

    def chooser(self):
        ways.add((choose(3), choose(2)))

    result = assert_passes(body(chooser), ["extra"])
    assert result.executions == 6 and len(ways) == 6
    with pytest.raises(ValueError):
        choose(0)
    with pytest.raises(ValueError):
        choose(33)
    with pytest.raises(RuntimeError, match="only a body"):
        choose(2)


def test_spin_until_returns_what_it_waited_for():
    class Waiting(Two):
        def setter(self):
            self.x.store_release(7)

        def waiter(self):
            assert spin_until(self.x.load_acquire) == 7

    assert_passes(Waiting, ["setter", "waiter"])
    result = check(Waiting, ["waiter", "nothing"])
    assert result.outcome is Outcome.FAIL and result.trace.violation == "nobody can go on"


def test_lock():
    class Locked:
        def __init__(self):
            self.lock = Lock()
            self.count = Word()

        def add(self):
            with self.lock:
                self.count.plain_write(self.count.plain_read() + 1)

        def try_to_add(self):
            if self.lock.trylock():
                self.count.plain_write(self.count.plain_read() + 1)
                self.lock.unlock()

        def counted(self):
            assert 2 <= self.count.read_once() <= 3

    assert_passes(Locked, ["add", "add", "try_to_add"], at_end="counted")
    lock = Lock()
    for method in (lock.lock, lock.trylock, lock.unlock):
        with pytest.raises(RuntimeError, match="only a body"):
            method()
    with pytest.raises(RuntimeError, match="only a body"):
        Word().futex_wait(0)
    assert "only a body" in check(Locked, ["add"], at_end=lambda state: state.lock.lock()).trace.violation


# ---- the core's own objects


def test_atomic_words_of_the_library():
    class Handoff:
        def __init__(self):
            memory = bytearray(16)
            self.words = {"data": AtomicU64(memory), "flag": AtomicU64(memory, 8)}
            self.nr = AtomicU64(bytearray(8))

        def writer(self):
            self.words["data"].store(1)
            self.words["flag"].store(1)

        def reader(self):
            if self.words["flag"].load():
                assert self.words["data"].load() == 1

        def lossy_counter(self):
            self.nr.store(self.nr.load() + 1)

        def counter(self):
            self.nr.add(1)

        def two(self):
            assert self.nr.load() == 2

    assert_passes(Handoff, ["writer", "reader"])
    assert_passes(Handoff, ["counter", "counter"], at_end="two")
    trace = check(Handoff, ["lossy_counter", "lossy_counter"], at_end="two").trace
    assert {step.location for step in trace.steps} == {"nr"}
    assert trace.cpus == ("lossy_counter 0", "lossy_counter 1")
    assert {step.site.rpartition(":")[0] for step in trace.steps} == {"test_check_bodies.py"}


class Pool:
    def __init__(self):
        self.pool = Arena("1M").genpool("p", size=4096)
        self.blocks = []

    def alloc_and_drop(self):
        self.pool.alloc(64)

    def alloc_and_keep(self):
        self.blocks.append(self.pool.alloc(64))

    def alloc_and_free(self):
        block = self.pool.alloc(64)
        block.free()

    def distinct(self):
        assert len({block.offset for block in self.blocks}) == len(self.blocks)


def test_pools():
    result = assert_passes(Pool, ["alloc_and_drop", "alloc_and_free"])
    assert result.graphs > 20
    assert_passes(Pool, ["alloc_and_keep", "alloc_and_keep"], at_end="distinct")
    trace = check(Pool, ["alloc_and_keep"], at_end=lambda state: 1 / 0).trace
    assert "ZeroDivisionError" in trace.violation
    assert any(step.site == "A:genpool.take_here" and step.location.startswith("pool+") for step in trace.steps)


def test_a_block_that_outlives_its_execution_is_told():
    kept = []
    scenario = type("Keeps", (Pool,), {"keep": lambda self: kept.append(self.pool.alloc(64))})
    with pytest.raises(RuntimeError, match="outlives the execution"):
        check(scenario, ["keep", "alloc_and_free"])


def test_an_arena_from_outside_is_told():
    arena = Arena("1M")
    arena.genpool("p", size=4096)
    with pytest.raises(RuntimeError, match="make it in the constructor"):
        check(lambda: {"arena": arena}, [lambda state: state["arena"].genpool("p").alloc(64)])
    arena.genpool("p").alloc(64).free()
    arena.check()


# ---- death, interrupts


def test_a_process_may_die_at_any_step():
    class Dying(Two):
        def waits(self):
            if await_end("writer"):
                assert self.y.read_once() == 0, "it died when all was done"

        def dead_or_done(self):
            assert await_end("writer") == (self.y.read_once() == 0)

    assert_passes(Dying, ["writer", "nothing"], dies=["writer"], at_end="dead_or_done")
    result = assert_passes(Dying, ["writer", "waits"], dies=["writer"])
    assert result.executions >= 3
    result = check(Dying, ["writer", "waits"], dies="writer", at_end=lambda state: 1 / state.x.read_once())
    assert any(step.kind is Kind.CRASH for step in result.trace.steps)
    assert check(Dying, ["writer", "waits"], dies=["writer"], deaths=0).executions == 1


def test_await_end_knows_its_names():
    def awaits(self):
        await_end("nobody")

    assert "there is no CPU 'nobody'" in check(body(awaits), ["writer", "extra"]).trace.violation
    assert "its own end" in check(body(lambda self: await_end("extra")), ["writer", "extra"]).trace.violation
    with pytest.raises(RuntimeError, match="only a body"):
        await_end("writer")


def test_an_interrupt_runs_between_any_two_steps():
    class Interrupted(Two):
        def __init__(self):
            super().__init__()
            self.seen = []

        def handler(self):
            self.seen.append((self.x.read_once(), self.y.read_once()))

    met = set()
    assert_passes(
        Interrupted,
        ["writer"],
        interrupts={"writer": "handler"},
        at_end=lambda state: met.update(state.seen or [None]),
    )
    assert met == {None, (0, 0), (1, 0)}
    trace = check(Interrupted, ["writer"], interrupts={"writer": lambda state: 1 / state.y.read_once()}).trace
    assert any(step.kind is Kind.INTERRUPT for step in trace.steps)


# ---- what a scenario may do wrong


@pytest.mark.parametrize("cpus", [[], ["writer"] * 9, "writer"])
def test_number_of_cpus(cpus):
    with pytest.raises(ValueError, match="1 to 8 bodies"):
        check(Two, cpus)
    assert check(Two, ["nothing"] * 8).executions == 1


@pytest.mark.parametrize("wrong", ["nowhere", "x", ("nowhere", 1), (), (1, 2), 3, None])
def test_what_is_no_body(wrong):
    with pytest.raises((TypeError, AttributeError)):
        check(Two, ["writer", wrong])


def test_coroutines_and_generators_are_no_bodies():
    async def coroutine(self):
        pass

    def generator(self):
        yield

    for wrong in (coroutine, generator):
        with pytest.raises(TypeError, match="calling a coroutine or a generator"):
            check(body(wrong), ["extra"])


def test_names_that_nobody_has():
    with pytest.raises(ValueError, match="there is no CPU 'somebody'"):
        check(Two, ["writer"], dies=["somebody"])
    with pytest.raises(ValueError, match="there is no CPU 'somebody'"):
        check(Two, ["writer"], interrupts={"somebody": "nothing"})
    with pytest.raises(TypeError, match="cannot be called"):
        check(Two(), ["writer"])


def test_what_the_constructor_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        check(lambda: 1 / 0, ["writer"])
    made = []

    def second_time():
        made.append(1)
        if len(made) > 2:
            raise KeyboardInterrupt
        return Two()

    with pytest.raises(KeyboardInterrupt):
        check(second_time, ["writer", "reader"])


@pytest.mark.parametrize(
    "error", [ValueError("why"), RecursionError(), MemoryError(), StopIteration(), BufferError("x\ny")]
)
def test_what_a_body_raises_is_a_failure(error):
    def raises(self):
        self.y.read_once()
        raise error

    result = check(body(raises), ["writer", "extra"])
    assert result.outcome is Outcome.FAIL and result.error is error
    assert result.trace.violation.startswith(type(error).__name__)
    assert "\n" not in result.trace.violation
    result = check(Two, ["writer"], at_end=lambda state: raises(state))
    assert result.outcome is Outcome.FAIL and result.error is error


def test_an_error_that_cannot_be_told():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    def raises(self):
        raise Mute

    assert check(body(raises), ["extra"]).trace.violation.startswith("Mute")


def test_endless_recursion_is_a_failure():
    def recurses(self):
        self.x.read_once()
        recurses(self)

    result = check(body(recurses), ["writer", "extra"])
    assert result.outcome is Outcome.FAIL and "RecursionError" in result.trace.violation


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("when", [0, 1, 2])
def test_an_interrupt_from_the_keyboard_ends_the_exploration(error, when):
    seen = []

    def interrupted(self):
        for _ in range(3):
            self.x.read_once()
        seen.append(1)
        if len(seen) > when:
            raise error

    with pytest.raises(error):
        check(body(interrupted), ["writer", "extra"])
    with pytest.raises(error):
        check(Two, ["writer"], at_end=lambda state: (_ for _ in ()).throw(error))


def test_a_real_signal():
    def signalled(self):
        self.x.read_once()
        signal.raise_signal(signal.SIGINT)
        self.x.read_once()

    with pytest.raises(KeyboardInterrupt):
        check(body(signalled), ["writer", "extra"])


def test_bodies_that_are_not_deterministic_are_told():
    turns = []

    def other_word(self):
        turns.append(1)
        (self.x if len(turns) % 3 else self.y).write_once(1)
        self.x.write_once(2)

    def other_value(self):
        turns.append(1)
        self.x.write_once(len(turns))

    def ends_early(self):
        turns.append(1)
        for _ in range(1 + 2 * (len(turns) % 3)):
            self.x.write_once(1)

    chance = random.Random(1)

    def by_chance(self):
        for _ in range(chance.randrange(1, 5)):
            chance.choice([self.x, self.y]).fetch_add(1)

    for wrong in (other_word, other_value, ends_early, by_chance):
        told = r"not deterministic: .* step \d+, by \w+ \d, was .* and is |done again, has \d+ steps, not \d+|in another way"
        with pytest.raises(RuntimeError, match=told):
            check(body(wrong), ["extra", "extra", "reader"])


def test_scenario_objects_that_differ_are_told():
    made = []

    class Differs(Two):
        def __init__(self):
            super().__init__()
            made.append(1)
            self.prepare(len(made))

        def prepare(self, nr):
            self.x.write_once(nr)

    class Grows(Differs):
        def prepare(self, nr):
            self.more = [Word() for _ in range(nr)]

    with pytest.raises(RuntimeError, match=r"x is \d+ in one scenario object and \d+ in the next"):
        check(Differs, ["writer", "reader"])
    with pytest.raises(RuntimeError, match=r"same words and arenas each time.*more\[\d\]"):
        check(Grows, ["writer", "reader"])


def test_a_word_that_does_not_hang_on_the_object():
    elsewhere = Word()
    atomic = AtomicU64(bytearray(8))
    lock = Lock()
    for wrong in (elsewhere.read_once, atomic.load, lock.lock, lambda: Word().read_once()):
        trace = check(body(lambda self, wrong=wrong: wrong()), ["writer", "extra"]).trace
        assert "a word that the scenario object did not have" in trace.violation


def test_a_body_that_does_not_end_is_told():
    def stubborn(self):
        while True:
            try:
                spin_until(lambda: False)
            except BaseException:
                pass

    with pytest.raises(RuntimeError, match="extra did not end when an execution was given up"):
        check(body(stubborn), ["writer", "extra"])


def test_a_body_that_catches_everything_once():
    def catches(self):
        try:
            spin_until(self.y.load_acquire)
        except BaseException:
            self.x.write_once(3)
        finally:
            self.x.write_once(4)

    assert check(body(catches), ["writer", "extra", "nothing"]).blocked > 0


def test_explorations_do_not_nest():
    def nests(self):
        check(Two, ["writer"])

    assert "another exploration is under way" in check(body(nests), ["extra"]).trace.violation
    explorers = []

    def again(self):
        explorers.append(None)
        self.x.read_once()
        for what in (lambda e: e.run(1), lambda e: e.replay("00"), lambda e: e._make("again", 1)):
            with pytest.raises((RuntimeError, TypeError)):
                what(explorers[0])
        assert explorers[0].counts["executions"] >= 0 and explorers[0].path is not None

    explorer = FiberExplorer("again", body(again), ["extra"], [lambda state: state.extra()], [None], greenlet)
    explorers.append(explorer)
    assert explorer.run(10) == "done"
    with pytest.raises(RuntimeError, match="another exploration is under way"):
        check(lambda: check(Two, ["writer"]) if made else (made.append(1), Two())[1], ["writer"])


made = []


def test_another_thread_may_not_touch_the_words():
    shared, go, done = [], threading.Event(), threading.Event()

    def meddle():
        go.wait()
        shared[-1].x.fetch_add(1)
        done.set()

    def provokes(self):
        shared.append(self)
        go.set()
        done.wait()
        shared.clear()
        self.x.read_once()

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="another thread used the scenario's memory"):
            check(body(provokes), ["writer", "extra"])
    finally:
        go.set()
        thread.join()


def test_other_threads_may_use_other_memory():
    stop, word = threading.Event(), AtomicU64(bytearray(8))

    def work():
        while not stop.is_set():
            word.add(1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert_passes(Two, ["writer", "reader", "reader"])
    finally:
        stop.set()
        thread.join()
    assert word.load() > 0


def test_from_another_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(check(Two, ["writer", "reader"]).outcome))
    thread.start()
    thread.join()
    assert results == [Outcome.PASS]


def test_nothing_is_left_of_many_executions():
    def count():
        gc.collect()
        return len(gc.get_objects())

    def spins(self):
        spin_until(self.y.load_acquire)

    check(body(spins), ["writer", "extra", "extra"])
    before = count()
    for _ in range(20):
        check(body(spins), ["writer", "extra", "extra"])
    assert count() - before < 200


def test_operations_in_destructors():
    class Leaves(Two):
        def __del__(self):
            self.x.write_once(1)

    assert_passes(Leaves, ["writer", "reader"])


def test_the_object_is_any_object():
    class Slots:
        __slots__ = ("__weakref__", "nested", "word")

        def __init__(self):
            self.word = Word(2)
            self.nested = {"a": [Word(), (Word(),)]}

        def body(self):
            assert self.word.read_once() == 2
            self.nested["a"][1][0].write_once(1)

    result = check(Slots, ["body"], at_end=lambda state: 1 / 0)
    assert {step.location for step in result.trace.steps} == {"word", "nested['a'][1][0]"} or result.trace
    assert check(lambda: [Word(), Word()], [lambda words: words[0].write_once(1)]).outcome is Outcome.PASS


def test_without_greenlet(monkeypatch):
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(ImportError, match=r"pip install mempools\[check\]"):
        check(Two, ["writer"])


def test_watch_is_told_and_may_end_it():
    class Enough(Exception):
        pass

    def watch(explorer, seconds):
        assert explorer.counts["executions"] > 0 and 0 <= explorer.progress <= 1 and seconds >= 0
        raise Enough

    class Counter:
        def __init__(self):
            self.word = Word()

        def count(self):
            for _ in range(4):
                self.word.fetch_add(1)

    with pytest.raises(Enough):
        check(Counter, ["count"] * 3, watch=watch)


def test_another_hook_is_told():
    def traces(self):
        with steps.trace():
            self.x.read_once()

    with pytest.raises(RuntimeError, match="another hook"):
        check(body(traces), ["extra"])


def test_an_interrupt_at_the_end_leaves_no_body_behind():
    def interrupts(state):
        raise KeyboardInterrupt

    ended = []

    def dies(self):
        try:
            self.x.write_once(1)
            self.y.write_once(1)
        finally:
            ended.append(1)

    with pytest.raises(KeyboardInterrupt):
        check(body(dies), ["extra"], dies=["extra"], at_end=interrupts)
    before = len(ended)
    check(body(dies), ["extra"], dies=["extra"])
    assert len(ended) == before + 5  # repeated once; the whole, and a death before each of two steps and at the end


def test_parts_of_an_exploration_made_by_hand():
    with pytest.raises(TypeError):
        FiberExplorer.__new__(FiberExplorer)
    with pytest.raises(TypeError):
        FiberExplorer("s")
    fibers.Worker()()
    places.Places()


def test_relax_natively_does_nothing():
    cpu_relax()
    assert Bounds().steps == 2000
    assert repr(Word(3)) == "<mempools.check.Word>"
