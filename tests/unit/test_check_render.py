import dataclasses
import io
import re

import failures
import pytest

from mempools.check import report
from mempools.check.render import draw
from mempools.check.terminal import Terminal
from mempools.check.trace import CHANGED, Bound, Fn, Kind, Order, Outcome, Result, Step, Trace

WIDE = Terminal(100)
GOLDEN = {
    "message-passing": """
FAIL  handoff.block
with the mutation R:handoff.publish=write_once
CPUs: 0 producer, 1 consumer
initially: data = 0, flag = 0

     0 1
  1  ●    handoff.fill       write_once(data, 42)
  4  ● │  R:handoff.publish  write_once(flag, 1)  weakened from store_release
  6    ●  handoff.poll       read_once(flag) = 1  from #4
  7    ●  handoff.use        read_once(data) = 0
       │                       from initial (stale: newest is #1)

violated:
  the consumer saw the flag without the data: 0, not 42
  found at #7, on CPU 1 consumer
why #7 may read the initial value although #1 is newer:
  CPU 0: nothing keeps #1 before #4 (no release at #4, no smp_wmb or smp_mb
    between them; #4 was store_release)
  CPU 1: nothing keeps #6 before #7 (no acquire at #6, no smp_rmb or smp_mb
    between them)
what would forbid it:
  store_release at #4 [R:handoff.publish] together with load_acquire at #6
    [handoff.poll]: then #7 cannot happen
left out:
  reads of what nobody writes (1)
to see it again:
  mempools check handoff.block --mutation R:handoff.publish=write_once --replay 0.1.0.1
""",
    "store-buffering": """
FAIL  litmus.SB
CPUs: 0, 1
initially: x = 0, y = 0

     CPU 0                                CPU 1
  1  ● write_once(x, 1)
  2  ● read_once(y) = 0  from initial
  3                                       ● write_once(y, 1)
  4                                       ● read_once(x) = 0  from initial
                                              (stale: newest is #1)

violated:
  exists (0:r0=0 /\\ 1:r0=0)
why #4 may read the initial value although #1 is newer:
  CPU 1: nothing keeps #3 before #4 (no smp_mb between them)
  CPU 0: nothing keeps #1 before #2 (no smp_mb between them)
what would forbid it:
  smp_mb before #2 together with smp_mb before #4: then #4 cannot happen
to see it again:
  mempools check litmus.SB --replay 02
""",
    "deadlock": """
FAIL  pair.abba
CPUs: 0 a then b, 1 b then a
initially: a = 0, b = 0

     0 1
  1  ●    A:pair.a  spin_lock(a)  from initial
  2  │ ●  A:pair.b  spin_lock(b)  from initial
  3  ○ │  A:pair.b  spin_lock(b)  waits for ever
  4  ┊ ○  A:pair.a  spin_lock(a)  waits for ever

violated:
  deadlock: 2 of 2 CPUs can never go on
who waits for whom:
  CPU 0 waits at #3 for b, held by CPU 1 since #2
  CPU 1 waits at #4 for a, held by CPU 0 since #1
  a deadlock: CPU 0 → CPU 1 → CPU 0
to see it again:
  mempools check pair.abba --replay 01
""",
    "crash": """
FAIL  genpool.recover
CPUs: 0 alloc, 1 recovery, 2 alloc
initially: map[0] = 0

     0 1 2
  1  ●      A:ownermap.claim  cmpxchg_acquire(map[0]): 0 → 257  from initial
  2  ●      D:ownermap.claim  window
  3  ✗                        dies here: one word claimed of two
  4      ●  A:ownermap.claim  cmpxchg_acquire(map[0], 0 → 771)  fails: 257
         │                      from #1
  5    ● │                    await_end(CPU 0)
  6    ● │  recovery.look     read_once(map[0]) = 257  from #1
  8    ● │  R:recovery.free   store_release(map[0], 0)
  9    │ ●  A:ownermap.claim  cmpxchg_acquire(map[0]): 0 → 771  from #8
 10    ●                      recovery ends

violated:
  granule 2 has no owner, and is not free
  found at #10, on CPU 1 recovery
left out:
  crash windows (1)
to see it again:
  mempools check genpool.recover --replay 0k1
""",
    "lost-wakeup": """
FAIL  mempool.sleep
CPUs: 0 alloc, 1 free
initially: curr_nr = 0, waiters = 0

     0 1
  1  ●    mempool.look     read_once(curr_nr) = 0  from initial
  2  │ ●  F:mempool.put    fetch_add(curr_nr): 0 → 1  from initial
  3  │ ●  mempool.waiters  read_once(waiters) = 0  from initial
  4  │ ●  mempool.wake     futex_wake(seq)  wakes nobody
  6  ●    mempool.queue    write_once(waiters, 1)
  7  ○    mempool.sleep    futex_wait(seq, 0)  waits for ever

violated:
  deadlock: CPU 0 can never go on
who waits for whom:
  CPU 0 sleeps at #7 on seq; the last wake-up is #4, before it slept
to see it again:
  mempools check mempool.sleep --replay 0110
""",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_drawing_in_80_columns(name):
    assert draw(failures.ALL[name]) == GOLDEN[name].strip("\n")


def test_every_trace_has_a_golden_drawing():
    assert set(GOLDEN) == set(failures.ALL)


@pytest.mark.parametrize("layout", ["columns", "compact"])
@pytest.mark.parametrize("width", [40, 60, 80, 133])
@pytest.mark.parametrize("name", failures.ALL)
def test_a_drawing_keeps_to_its_width_and_shows_every_step(name, width, layout):
    trace = failures.ALL[name]
    terminal = Terminal(width)
    fits = layout == "compact" or width // len(trace.cpus) >= 30
    lines = draw(trace, terminal, layout=layout, fold=False).splitlines() if fits else []
    assert all(len(line) <= width for line in lines if "--replay" not in line)
    if fits:
        numbers = [int(found[1]) for line in lines if (found := re.match(r" *(\d+)  ", line))]
        assert numbers == [step.index for step in trace.steps]


def test_lanes_have_a_column_each_where_there_is_room():
    lines = draw(failures.MESSAGE_PASSING, WIDE, layout="columns").splitlines()
    assert "     CPU 0 producer                                 CPU 1 consumer" in lines
    assert "  6                                                 ● read_once(flag) = 1  from #4  [handoff.poll]" in lines
    auto = draw(failures.STORE_BUFFERING, WIDE)
    assert auto == draw(failures.STORE_BUFFERING, WIDE, layout="columns")
    assert draw(failures.CRASH) == draw(failures.CRASH, layout="compact")


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="no layout 'wide': take one of auto, columns, compact"):
        draw(failures.CRASH, layout="wide")


@pytest.mark.parametrize("name", failures.ALL)
def test_ascii_is_enough(name):
    text = draw(failures.ALL[name], Terminal(80, unicode=False))
    assert text.isascii() and "?" not in text
    assert "deadlock: CPU 0 -> CPU 1 -> CPU 0" in draw(failures.DEADLOCK, Terminal(80, unicode=False))


def test_colours_change_no_character():
    plain = draw(failures.MESSAGE_PASSING)
    colored = draw(failures.MESSAGE_PASSING, Terminal(80, color=True))
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain
    assert "\x1b[1;31mread_once(data) = 0\x1b[0m" in colored


class Stream(io.StringIO):
    def __init__(self, tty, encoding="utf-8"):
        super().__init__()
        self._tty, self._encoding = tty, encoding

    def isatty(self):
        return self._tty

    @property
    def encoding(self):
        return self._encoding


def test_a_terminal_is_what_its_stream_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "123")
    assert Terminal.of(Stream(True), {}) == Terminal(123, color=True)
    assert Terminal.of(Stream(True), {"NO_COLOR": "1"}) == Terminal(123)
    assert Terminal.of(Stream(True), {"NO_COLOR": ""}) == Terminal(123, color=True)
    assert Terminal.of(Stream(True), {"TERM": "dumb"}) == Terminal(123)
    assert Terminal.of(Stream(False), {}) == Terminal(80)
    assert Terminal.of(Stream(False, "ascii"), {}) == Terminal(80, unicode=False)
    assert Terminal.of(Stream(False, None), {}) == Terminal(80, unicode=False)


def test_every_kind_of_step_has_words():
    def step(kind, **more):
        return Step(index=len(steps), cpu=0, kind=kind, **more)

    steps: list[Step] = []
    for make in (
        lambda: step(Kind.WRITE, location="x", wrote=7, order=Order.PLAIN),
        lambda: step(Kind.WRITE, location="x", wrote=2**64 - 1, inserted_before=0),
        lambda: step(Kind.RMW, location="y", fn=Fn.ADD, read=0, wrote=1, was="fetch_add"),
        lambda: step(Kind.WRITE, location="y", wrote=1, was=CHANGED),
        lambda: step(Kind.READ, location="x", read=7, order=Order.PLAIN, reads_from=0, newest=0, op="copy"),
        lambda: step(Kind.FENCE, order=Order.RELEASE, skipped=True),
        lambda: step(Kind.TRYLOCK, location="l", read=0, wrote=1),
        lambda: step(Kind.TRYLOCK, location="l", read=1, reads_from=6, newest=6),
        lambda: step(Kind.FUTEX_WAIT, location="f", expected=1, result=-11),
        lambda: step(Kind.FUTEX_WAIT, location="f", expected=1, result=0),
        lambda: step(Kind.FUTEX_WAIT, location="f", expected=1, read=2),
        lambda: step(Kind.FUTEX_WAIT, location="f", expected=1, read=1),
        lambda: step(Kind.FUTEX_WAIT, location="f", blocked=True),
        lambda: step(Kind.FUTEX_WAKE, location="f", woken=(1, 2)),
        lambda: step(Kind.INTERRUPT, text="timer"),
        lambda: step(Kind.RMW, fn=Fn.OR, location="x", read=7, wrote=0x70007, reads_from=0, newest=0, interrupt=True),
        lambda: step(Kind.RCU_LOCK),
        lambda: step(Kind.NOTE, text="hello"),
        lambda: step(Kind.END, text="returned 3"),
        lambda: step(Kind.RELAX, blocked=True),
    ):
        steps.append(make())
    trace = Trace(scenario="s", cpus=("",) * 3, steps=tuple(steps), violation="v", replay="0")
    lines = draw(trace, Terminal(120), layout="compact", fold=False).splitlines()[5:25]
    assert [re.split("[●○]", line)[1].strip() for line in lines] == [
        "plain write(x, 7)",
        "write_once(x, -1)  goes in before #0",
        "fetch_add_relaxed(y): 0 → 1  weakened from fetch_add",
        "write_once(y, 1)  changed by the mutation",
        "copy(x) = 7  from #0",
        "smp_wmb  skipped by the mutation",
        "spin_trylock(l)",
        "spin_trylock(l)  fails  from #6",
        "futex_wait(f, 1)  = -EAGAIN",
        "futex_wait(f, 1)",
        "futex_wait(f, 1)  = -EAGAIN",
        "futex_wait(f, 1)  sleeps",
        "futex_wait(f)  waits for ever",
        "futex_wake(f)  wakes CPU 1, CPU 2",
        "interrupt timer",
        ": fetch_or_relaxed(x): 7 → 0x70007  from #0",
        "rcu_read_lock",
        "hello",
        "ends: returned 3",
        "cpu_relax, in a spin loop  waits for ever",
    ]


def test_a_race_without_a_message_between_the_two():
    steps = (
        Step(index=1, cpu=0, kind=Kind.WRITE, order=Order.PLAIN, location="x", wrote=1),
        Step(index=2, cpu=1, kind=Kind.WRITE, order=Order.PLAIN, location="x", wrote=2),
    )
    text = draw(Trace(scenario="s", cpus=("", ""), steps=steps, violation="data race: of two stores", replay="0"))
    assert "  found at #2, on CPU 1\nwhy #2 races with #1:\n  no message from CPU 0 to CPU 1 orders them\n" in text


def test_values_are_not_torn_from_their_arrow():
    steps = (Step(index=1, cpu=0, kind=Kind.RMW, fn=Fn.CMPXCHG, location="a_word", read=2**40, wrote=2**41),)
    text = draw(Trace(scenario="s", cpus=("",), steps=steps, violation="v", replay="0"), Terminal(45))
    assert "cmpxchg_relaxed(a_word):\n" in text and "0x10000000000 → 0x20000000000\n" in text


def test_an_execution_that_is_right_does_not_fail():
    lines = draw(dataclasses.replace(failures.STORE_BUFFERING, violation="", remedies=())).splitlines()
    assert lines[0] == "litmus.SB" and "nothing is violated" in lines and not any("FAIL" in line for line in lines)


def test_a_cpu_without_a_name_has_its_number_alone():
    for names in (("", ""), ("CPU 0", "CPU 1")):
        text = draw(dataclasses.replace(failures.STORE_BUFFERING, cpus=names))
        assert "CPUs: 0, 1\n" in text and "CPU 0 CPU 0" not in text


def test_a_store_that_runs_ahead_is_marked():
    steps = (
        Step(index=1, cpu=0, kind=Kind.READ, location="x", read=1, reads_from=4, newest=4),
        Step(index=4, cpu=1, kind=Kind.WRITE, location="x", wrote=1),
    )
    trace = Trace(scenario="s", cpus=("", ""), steps=steps, violation="v", replay="0", load_buffering=True)
    assert "read_once(x) = 1  from #4, which runs ahead" in draw(trace, Terminal(120))


def test_the_replay_command_can_be_pasted():
    trace = Trace(scenario="a b", cpus=("",), steps=(), violation="v", replay="0'1", mutation="R:x=relaxed y")
    assert draw(trace).splitlines()[-1] == "  mempools check 'a b' --mutation 'R:x=relaxed y' --replay '0'\"'\"'1'"


# ---- results ----

BOUNDS = {"spins": Bound(3, "MEMPOOLS_CHECK_SPINS"), "steps": Bound(2000, "MEMPOOLS_CHECK_STEPS")}


def result(outcome=Outcome.PASS, **more):
    values = {"cpus": 3, "executions": 1234, "graphs": 1200, "blocked": 0, "steps": 40000, "seconds": 0.84}
    return Result(scenario="genpool.claim", outcome=outcome, **{**values, "bounds": BOUNDS, **more})


def test_a_result_in_a_line():
    assert report.line(result(), Terminal(130)) == (
        "PASS     genpool.claim  3 CPUs  1,234 executions, 1,200 graphs  0.8 s  (bounds: spins 3, steps 2,000)"
    )
    assert report.line(result(cpus=1, executions=1, graphs=0, blocked=7, bounds={}), Terminal(130)) == (
        "PASS     genpool.claim  1 CPU  1 execution, 7 blocked  0.8 s"
    )
    assert report.line(result(Outcome.FAIL, mutation="R:x=relaxed"), Terminal(80)) == (
        "FAIL     genpool.claim  R:x=relaxed  3 CPUs  1,234 executions, 1,200 graphs\n"
        "  0.8 s  (bounds: spins 3, steps 2,000)"
    )


def test_unknown_names_the_bound_and_how_to_raise_it():
    lines = report.line(result(Outcome.UNKNOWN, hit=("spins",)), Terminal(130)).splitlines()
    assert lines[1:] == ["  bound reached: spins 3; MEMPOOLS_CHECK_SPINS=6 raises it"]


def test_results_in_a_table():
    results = [
        result(),
        result(Outcome.UNKNOWN, hit=("steps",), seconds=83.7, executions=1_000_000, graphs=0),
        result(Outcome.FAIL, bounds={"spins": Bound(6, "MEMPOOLS_CHECK_SPINS")}, mutation="R:x=relaxed"),
    ]
    assert report.table(results) == (
        "         scenario       CPUs  executions  graphs  blocked        time  mutation\n"
        "PASS     genpool.claim     3       1,234   1,200        0       0.8 s\n"
        "UNKNOWN  genpool.claim     3   1,000,000                0  1 min 24 s\n"
        "  bound reached: steps 2,000; MEMPOOLS_CHECK_STEPS=4000 raises it\n"
        "FAIL     genpool.claim     3       1,234   1,200        0       0.8 s  R:x=relaxed\n"
        "bounds: spins 3 or 6, steps 2,000\n"
        "1 PASS, 1 FAIL, 1 UNKNOWN in 1 min 25 s"
    )
    assert report.table([]).splitlines()[-1] == "nothing checked in 0.0 s"


@pytest.mark.parametrize(
    "value, text",
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
)
def test_seconds(value, text):
    assert report.seconds(value) == text


def test_progress():
    assert report.explored([]) == 0
    assert report.explored([(1, 2), (0, 3)]) == 0.5
    assert report.explored([(1, 2), (2, 4)]) == 0.75
    line = report.progress("genpool.claim", 12345, 3.0, 0.37)
    assert line == "genpool.claim  12,345 executions  4,115/s  about 37% seen  3.0 s"
    assert "less than 1% seen" in report.progress("s", 1, 0, 0.001)


def test_a_progress_line_is_drawn_on_a_terminal_alone_and_wiped(monkeypatch):
    monkeypatch.setattr(report, "_INTERVAL", 0)
    monkeypatch.setenv("COLUMNS", "60")
    stream = Stream(True)
    line = report.ProgressLine("s", stream)
    line.update(10, 0.5)
    line.clear()
    drawn = stream.getvalue().split("\r")
    assert re.match(r"s  10 executions  [\d,]+/s  about 50% seen", drawn[1])
    assert len(drawn[1]) == 59 and drawn[2:] == [" " * 59, ""]
    silent = Stream(False)
    line = report.ProgressLine("s", silent)
    line.update(10)
    line.clear()
    assert silent.getvalue() == ""
