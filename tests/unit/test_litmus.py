"""Litmus tests on the checker's engine: verdicts and final states of our own set, and of others where there are some."""

import csv
import os
from pathlib import Path

import pytest

from mempools.check import litmus
from mempools.check.litmuslex import Unsupported

OWN = Path(__file__).parents[1] / "litmus"
OTHERS = os.environ.get("MEMPOOLS_LITMUS")  # a directory with verdicts.csv: columns file, verdict, final_states


def verdicts(folder):
    with open(folder / "verdicts.csv", newline="") as file:
        return list(csv.DictReader(file))


def explore(*bodies, condition, params="int *x, int *y", init="", **options):
    """A test of these processes' bodies."""
    processes = "\n".join(f"P{number}({params}) {{ {body} }}" for number, body in enumerate(bodies))
    return litmus.explore(f"C test\n{{ {init} }}\n{processes}\n{condition}\n", **options)


def value(expression, init="", params="int *x, int *y"):
    """Of an expression, in a process alone."""
    for number in (None, *range(-2, 20)):
        condition = "forall (true)" if number is None else f"forall (0:r0={number})"
        result = explore(f"int r0 = {expression};", condition=condition, init=init, params=params)
        assert result.states == 1 or number is None
        if number is not None and result.verdict == "Always":
            return number
    raise AssertionError(f"{expression} is none of the values that were tried")


# ---- verdicts


@pytest.mark.parametrize("row", verdicts(OWN), ids=lambda row: row["file"].removesuffix(".litmus"))
def test_verdict_and_states(row):
    result = litmus.run(str(OWN / row["file"]))
    assert (result.verdict, result.states, result.note) == (row["verdict"], int(row["final_states"]), "")
    assert result.executions >= result.states


def test_every_file_has_a_verdict():
    assert sorted(path.name for path in OWN.glob("*.litmus")) == sorted(row["file"] for row in verdicts(OWN))


@pytest.mark.skipif(not OTHERS, reason="MEMPOOLS_LITMUS names no directory with litmus tests and verdicts.csv")
def test_other_litmus_tests():
    wrong = []
    for row in verdicts(Path(OTHERS)):
        result = litmus.run(os.path.join(OTHERS, row["file"]), timeout=60)
        if (result.verdict, str(result.states)) != (row["verdict"], row["final_states"]):
            wrong.append(f"{row['file']}: {result.verdict} {result.states} {result.note}, expected {row}")
    assert not wrong, "\n".join(wrong)


def test_without_promises_there_is_no_load_buffering():
    assert litmus.run(str(OWN / "LB.litmus"), promises=False).verdict == "Never"
    assert litmus.run(str(OWN / "MP.litmus"), promises=False).verdict == "Sometimes"


def test_time_is_up():
    writers = ["WRITE_ONCE(*x, 1); WRITE_ONCE(*x, 2); r0 = READ_ONCE(*x); r1 = READ_ONCE(*y);"] * 6
    result = explore(*writers, condition="exists (x=1)", timeout=0.01)
    assert (result.verdict, result.note) == ("unknown", "more than 0.01 s")


def test_waiting_for_ever_is_no_execution():
    """A lock that is never given back: the model has no execution in which both take it."""
    taken = "spin_lock(l); WRITE_ONCE(*x, 1);"
    result = explore(taken, taken, condition="exists (x=1)", params="int *x, spinlock_t *l")
    assert (result.verdict, result.states) == ("Never", 0)
    tried = "r0 = spin_trylock(l);"
    result = explore(tried, tried, condition="forall (0:r0=1 /\\ 1:r0=0 \\/ 0:r0=0 /\\ 1:r0=1)", params="spinlock_t *l")
    assert (result.verdict, result.states) == ("Always", 2)


# ---- what C means


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 - 2 - 1", 4),
        ("12 / 4 / 3", 1),
        ("-7 / 4", -1),
        ("7 % 4 << 1", 6),
        ("1 << 2 + 1", 8),
        ("16 >> 2", 4),
        ("1 | 2 ^ 3 & 1", 3),
        ("1 == 1 & 2", 0),
        ("(6 & 3) == 2", 1),
        ("3 > 2 > 1", 0),
        ("-1 < 0", 1),
        ("!5 + !0", 1),
        ("~0", -1),
        ("- -3", 3),
        ("+4", 4),
        ("0x10", 16),
        ("010", 8),
        ("7UL", 7),
        ("NULL", 0),
        ("0 && 1 || 1", 1),
        ("2 && 3", 1),
        ("0 ? 1 : 0 ? 2 : 3", 3),
        ("(int)(long)5", 5),
        ("(struct foo *)6", 6),
        ("x == x && x != y", 1),
        ("x - x", 0),
        ("y == &y", 1),
    ],
)
def test_expressions(expression, expected):
    assert value(expression) == expected


def test_what_is_not_needed_is_not_evaluated():
    condition = "exists (x=0 /\\ 0:r0=0 /\\ 0:r1=1 /\\ 0:r2=7)"
    body = "r0 = 0 && xchg(x, 1); r1 = 1 || xchg(x, 1); r2 = 1 ? 7 : xchg(x, 1);"
    assert explore(body, condition=condition).verdict == "Always"


@pytest.mark.parametrize(
    ("call", "returned", "left"),
    [
        ("xchg(x, 9)", 5, 9),
        ("cmpxchg(x, 5, 9)", 5, 9),
        ("cmpxchg(x, 4, 9)", 5, 5),
        ("atomic_cmpxchg_acquire(x, 5, 9)", 5, 9),
        ("atomic_add_return(3, x)", 8, 8),
        ("atomic_sub_return_relaxed(3, x)", 2, 2),
        ("atomic_inc_return_acquire(x)", 6, 6),
        ("atomic_dec_return_release(x)", 4, 4),
        ("atomic_fetch_add(3, x)", 5, 8),
        ("atomic_fetch_sub_release(3, x)", 5, 2),
        ("atomic_fetch_inc(x)", 5, 6),
        ("atomic_fetch_dec_relaxed(x)", 5, 4),
        ("atomic_fetch_and(4, x)", 5, 4),
        ("atomic_fetch_or(2, x)", 5, 7),
        ("atomic_fetch_xor(1, x)", 5, 4),
        ("atomic_fetch_andnot(1, x)", 5, 4),
        ("atomic_sub_and_test(5, x)", 1, 0),
        ("atomic_dec_and_test(x)", 0, 4),
        ("atomic_inc_and_test(x)", 0, 6),
        ("atomic_add_negative(-6, x)", 1, -1),
        ("atomic_add_unless(x, 2, 5)", 0, 5),
        ("atomic_add_unless(x, 2, 4)", 1, 7),
        ("atomic_fetch_add_unless(x, 2, 4)", 5, 7),
        ("atomic_inc_not_zero(x)", 1, 6),
        ("atomic64_fetch_inc(x)", 5, 6),
        ("atomic_long_inc_return(x)", 6, 6),
        ("atomic_read(x)", 5, 5),
        ("*x", 5, 5),
        ("x[0]", 5, 5),
        ("READ_ONCE(*x)", 5, 5),
        ("__load{acquire}(*x)", 5, 5),
        ("__xchg{mb}(x, 9)", 5, 9),
        ("__cmpxchg{once}(x, 5, 9)", 5, 9),
        ("__atomic_op_return{mb}(x, +, 1)", 6, 6),
        ("__atomic_fetch_op{release}(x, -, 1)", 5, 4),
    ],
)
def test_values_of_primitives(call, returned, left):
    result = explore(f"int r0 = {call};", condition=f"forall (0:r0={returned} /\\ x={left})", init="int x = 5;")
    assert (result.verdict, result.states) == ("Always", 1)


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("WRITE_ONCE(*x, 7);", 7),
        ("smp_store_release(x, 7);", 7),
        ("smp_store_mb(*x, 7);", 7),
        ("rcu_assign_pointer(*x, 7);", 7),
        ("atomic_set(x, 7);", 7),
        ("atomic_set_release(x, 7);", 7),
        ("ACCESS_ONCE(*x) = 7;", 7),
        ("*x = 7;", 7),
        ("*x += 2;", 7),
        ("(*x)++;", 6),
        ("--*x;", 4),
        ("atomic_inc(x);", 6),
        ("atomic_sub(2, x);", 3),
        ("atomic_or(2, x);", 7),
        ("atomic_andnot(1, x);", 4),
        ("__store{release}(*x, 7);", 7),
        ("__atomic_op(x, +, 2);", 7),
        ("xchg(x, 7);", 7),
        ("int r1 = 5; int r2 = atomic_try_cmpxchg(x, &r1, 7); WRITE_ONCE(*x, r2 * 10 + r1);", 15),
        ("int r1 = 4; int r2 = atomic_try_cmpxchg(x, &r1, 7); WRITE_ONCE(*x, r2 * 10 + r1);", 5),
        ("if (*x == 5) *x = 1; else *x = 2;", 1),
        ("if (*x == 4) { *x = 1; } else if (*x == 5) { *x = 2; } else { *x = 3; }", 2),
        ("if (*x) ; else *x = 1;", 5),
        ("{ int r1 = 3; { *x = r1; } }", 3),
    ],
)
def test_statements(statement, left):
    assert explore(statement, condition=f"forall (x={left})", init="int x = 5;").verdict == "Always"


def test_arrays_and_pointers():
    init = "int a[3] = {1, 2}; int *p = &a[1]; q = p; 0:r9 = a;"
    body = "int *r0 = READ_ONCE(*p); r1 = r0[1]; r2 = *(a + 1); r3 = **q; a[2] = 9; r4 = *r9;"
    condition = "forall (0:r0=&a[1] /\\ 0:r1=0 /\\ 0:r2=2 /\\ 0:r3=&a[1] /\\ a[2]=9 /\\ a[0]=1 /\\ 0:r4=1 /\\ [p]=0:r0)"
    assert explore(body, condition=condition, init=init, params="int *a, int **p, int ***q").verdict == "Always"


@pytest.mark.parametrize(
    ("body", "construct"),
    [
        ("r1 = 1; r0 = READ_ONCE(*r1);", "dereference of a value that is no address"),
        ("r0 = READ_ONCE(*x); WRITE_ONCE(*r0, 1);", "dereference of a value that is no address"),
        ("r0 = *(x + 1);", "dereference of a value that is no address"),
        ("r0 = READ_ONCE(*y); r1 = 1 / r0;", "division by zero"),
        ("synchronize_rcu(); rcu_read_lock();", "rcu_read_lock and rcu_read_unlock that do not match"),
        (
            "synchronize_rcu(); rcu_read_lock(); rcu_read_unlock(); rcu_read_unlock();",
            "rcu_read_lock and rcu_read_unlock that do not match",
        ),
    ],
)
def test_what_only_running_shows(body, construct):
    with pytest.raises(Unsupported, match=construct):
        explore(body, condition="exists (x=1)")


# ---- dependencies


@pytest.mark.parametrize(
    ("after_read", "verdict"),
    [
        ("WRITE_ONCE(*y, 1);", "Sometimes"),
        ("WRITE_ONCE(*y, r0);", "Never"),
        ("WRITE_ONCE(*y, (r0 & 0) + 1);", "Never"),
        ("r1 = r0; r0 = 3; WRITE_ONCE(*y, r1);", "Never"),
        ("r1 = r0; r1 = 1; WRITE_ONCE(*y, r1);", "Sometimes"),
        ("r2 = y + (r0 ^ r0); WRITE_ONCE(*r2, 1);", "Never"),
        ("if (r0) { WRITE_ONCE(*y, 1); } else { WRITE_ONCE(*y, 1); }", "Never"),
        ("if (r0) { r1 = 1; } else { r1 = 1; } WRITE_ONCE(*y, r1);", "Sometimes"),
        ("r1 = r0 ? 1 : 1; WRITE_ONCE(*y, r1);", "Never"),
        ("r1 = 1 || r0; WRITE_ONCE(*y, r1);", "Never"),
        ("if (r0 == 1) { r0 = 5; r0 = 6; WRITE_ONCE(*y, 1); }", "Never"),
        ("xchg_relaxed(y, 1);", "Sometimes"),
        ("xchg_acquire(y, 1);", "Sometimes"),
        ("xchg_release(y, 1);", "Never"),
        ("xchg_relaxed(y, r0);", "Never"),
        ("WRITE_ONCE(*z, r0); r1 = READ_ONCE(*z); WRITE_ONCE(*y, r1);", "Never"),
    ],
)
def test_dependencies(after_read, verdict):
    """Load buffering against a full barrier: is the read before the write?"""
    other = "int r0 = READ_ONCE(*y); smp_mb(); WRITE_ONCE(*x, 1);"
    result = explore(
        f"int r0 = READ_ONCE(*x); int r9 = r0; {after_read}",
        other,
        condition="exists (0:r9=1 /\\ 1:r0=1)",
        params="int *x, int *y, int *z",
    )
    assert result.verdict == verdict


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        ("smp_mb__before_atomic(); atomic_inc(z);", "smp_mb();", "Never"),
        ("atomic_inc(z); smp_mb__after_atomic();", "smp_mb();", "Never"),
        ("smp_mb__after_atomic();", "smp_mb();", "Sometimes"),
        ("smp_mb__before_atomic();", "smp_mb();", "Sometimes"),
        ("r9 = cmpxchg_relaxed(z, 1, 2); smp_mb__after_atomic();", "smp_mb();", "Sometimes"),
        ("r9 = cmpxchg_relaxed(z, 0, 2); smp_mb__after_atomic();", "smp_mb();", "Never"),
        ("spin_lock(l); smp_mb__after_spinlock(); spin_unlock(l);", "smp_mb();", "Never"),
        ("smp_mb__after_spinlock();", "smp_mb();", "Sometimes"),
        ("barrier();", "smp_mb();", "Sometimes"),
        ("__fence{mb};", "smp_mb();", "Never"),
        ("synchronize_rcu();", "smp_mb();", "Never"),
    ],
)
def test_barriers_that_depend_on_what_is_around(left, right, verdict):
    result = explore(
        f"WRITE_ONCE(*x, 1); {left} r0 = READ_ONCE(*y);",
        f"WRITE_ONCE(*y, 1); {right} r0 = READ_ONCE(*x);",
        condition="exists (0:r0=0 /\\ 1:r0=0)",
        params="int *x, int *y, atomic_t *z, spinlock_t *l",
    )
    assert result.verdict == verdict
