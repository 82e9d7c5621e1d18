"""Litmus files as they are found: what is read, what is refused, and in which words."""

import random
import re
from pathlib import Path

import pytest

from mempools.check.litmus import explore
from mempools.check.litmuscond import Register, Variable
from mempools.check.litmusfile import read
from mempools.check.litmuslex import LitmusError, Unsupported
from mempools.check.litmuslower import lower

OWN = Path(__file__).parents[1] / "litmus"

MP = """\
C MP
{}
P0(int *x, int *y) { WRITE_ONCE(*x, 1); smp_wmb(); WRITE_ONCE(*y, 1); }
P1(int *x, int *y) { int r0 = READ_ONCE(*y); smp_rmb(); int r1 = READ_ONCE(*x); }
exists (1:r0=1 /\\ 1:r1=0)
"""


def edited(pattern, by):
    text, nr = re.subn(re.escape(pattern), lambda match: by, MP)
    assert nr
    return text


@pytest.mark.parametrize(
    "text",
    [
        MP,
        MP.replace("\n", "\r\n"),
        "\n  \n" + MP,
        edited("C MP", "C MP (* a (* nested *) comment *)"),
        edited("C MP", "C"),
        edited("C MP\n", 'C MP\n"PodWW Rfe {} PodRR Fre"\nCycle=Rfe PodRR\nPrefetch=0:x=F,1:y=T\nCom=Rf Fr\n'),
        edited("{}", "(* Result: Never\n * as (*x = 1) shows *)\n{ }"),
        edited("{}", "(* Result: Never\n * because of the (*x *)\n{ ; }"),
        edited("{}", "/* C */ // C++ {\n{\n}"),
        edited("{}", "{ x = 0; int y = 0; (* both *) }"),
        edited("{}", "{ [x] = 0; int *p; 1:r7 = 5; P0:r8 = y }"),
        edited("{}", "{ atomic_t x = ATOMIC_INIT(0); spinlock_t l = SPIN_LOCK_UNLOCKED; struct srcu_struct s; }"),
        edited("int *x, int *y", "volatile int * x , atomic_t*y"),
        edited("int *x, int *y", "int *x, spinlock_t *unused, int y[]"),
        edited("smp_wmb();", "smp_wmb( ) ;;"),
        edited("smp_wmb();", "(* as in OCaml *) smp_wmb(); // here\n"),
        edited("smp_wmb();", "{ smp_wmb(); } /* { */"),
        edited("smp_wmb();", "__fence{wmb};"),
        edited("int r0 = READ_ONCE(*y);", "r0 = READ_ONCE(*y);"),
        edited("int r0 = READ_ONCE(*y);", "int r0, r5;\nlong *r6 = NULL, *r7;\nr0 = READ_ONCE( * y );"),
        edited("int r0 = READ_ONCE(*y);", "unsigned long r0; r0 = (unsigned long)READ_ONCE(*y);"),
        edited("int r0 = READ_ONCE(*y);", "intptr_t r0 = (intptr_t) READ_ONCE(*(int *)y);"),
        edited("int r0 = READ_ONCE(*y);", "foo_ptr *r5 = x; const struct foo *r6; int r0 = READ_ONCE(y[0]);"),
        edited("int r0 = READ_ONCE(*y);", "int r0 = READ_ONCE(*&*y);"),
        edited("WRITE_ONCE(*y, 1);", "if (1) WRITE_ONCE(*y, 1); else { }"),
        edited("exists (", "exists("),
        edited("exists (1:r0=1 /\\ 1:r1=0)", "exists 1:r0 == 1 /\\ ~(1:r1 != 0);"),
        edited("exists (", "locations [x; 1:r0 int; y int*;]\nexists ("),
        edited("exists (", "~exists ("),
        edited("exists (", "filter (true)\nexists ("),
        edited("exists (1:r0=1 /\\ 1:r1=0)", "exists (1:r0=1 /\\ (1:r1=0)) (* Bad outcome. *)"),
        edited("exists (1:r0=1 /\\ 1:r1=0)", "exists not (1:r0=0 \\/ not (1:r1=0))"),
        edited("P0(", "P7("),
    ],
)
def test_spellings(text):
    assert explore(text).verdict == "Never"


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ("exists (true)", "Always"),
        ("exists (false)", "Never"),
        ("", "Always"),
        ("forall (1:r0=0 \\/ 1:r0=1)", "Always"),
        ("forall (1:r0=0)", "Sometimes"),
        ("exists (1:r0=0 => 1:r1=5)", "Sometimes"),
        ("exists (1:r0=0 \\/ 1:r0=1 /\\ false)", "Sometimes"),
        ("exists (1:r0=1:r1)", "Sometimes"),
        ("exists (1:r0=[x])", "Sometimes"),
        ("exists (1:r0=*x)", "Sometimes"),
        ("exists ([x]=1 /\\ y=1)", "Always"),
        ("exists (x=0x1)", "Always"),
        ("exists (x=-1)", "Never"),
        ("exists (x=y)", "Never"),
        ("exists (0:x=x /\\ 1:y=&y /\\ 0:nothing=0)", "Always"),
        ("exists (unknown=0)", "Always"),
        ("filter (1:r0=5) exists (true)", "Never"),
    ],
)
def test_conditions(condition, verdict):
    assert explore(edited("exists (1:r0=1 /\\ 1:r1=0)", condition)).verdict == verdict


def test_what_is_counted():
    """The registers and variables that the condition, the filter and `locations` name, nothing else."""
    test = read(edited("exists (", "locations [y; 0:r5; x[0]] filter (~x=7) exists (1:r1=[y] /\\ "))
    r0, r1 = Register(1, "r0"), Register(1, "r1")
    assert lower(test).places == [r1, Variable("y"), r0, Variable("x"), Register(0, "r5")]
    assert explore(edited("exists (1:r0=1 /\\ 1:r1=0)", "exists (1:r0=1)")).states == 2
    assert explore(edited("exists (1:r0=1 /\\ 1:r1=0)", "exists (x=1)")).states == 1


@pytest.mark.parametrize(
    ("pattern", "by", "construct"),
    [
        ("C MP", "AArch64 MP", "architecture AArch64"),
        ("smp_wmb();", "while (1) { }", "while"),
        ("smp_wmb();", "do { smp_wmb(); } while (0);", "do"),
        ("smp_wmb();", "for (;;) ;", "for"),
        ("smp_wmb();", "goto out;", "goto"),
        ("smp_wmb();", "out: smp_wmb();", "label"),
        ("smp_wmb();", "return;", "return"),
        ("smp_wmb();", "call_rcu(x, y);", "call_rcu()"),
        ("smp_wmb();", "__fence{isync};", "__fence{isync}"),
        ("smp_wmb();", "x->next = 1;", "struct member"),
        ("smp_wmb();", "(*x).next = 1;", "struct member"),
        ("smp_wmb();", "int r1[2];", "local array"),
        ("smp_wmb();", "r1 = r2 = 1;", "assignment in an expression"),
        ("smp_wmb();", "r1 = sizeof(int);", "sizeof"),
        ("smp_wmb();", "r1 = (r2, 1);", "comma operator"),
        ("smp_wmb();", "r1 = ({ 1; });", "statement expression"),
        ("smp_wmb();", "r1 = READ_ONCE(x);", "access to a register as if it were in memory"),
        ("smp_wmb();", "r1 = 1; r2 = &r1;", "address of what is no variable"),
        ("smp_wmb();", "foo(x) = 1;", "assignment to a call"),
        ("{}", "{ int x = {1; }", None),
    ],
)
def test_unsupported(pattern, by, construct):
    error = Unsupported if construct else LitmusError
    with pytest.raises(error) as raised:
        explore(edited(pattern, by))
    assert construct is None or str(raised.value) == construct


def test_more_than_the_checker_has_room_for():
    bodies = "\n".join(f"P{i}(int *x) {{ WRITE_ONCE(*x, {i}); }}" for i in range(9))
    with pytest.raises(Unsupported, match="more than 8 processes"):
        explore(f"C many\n{{}}\n{bodies}\nexists (x=1)")
    names = [f"r{i}" for i in range(40)]
    body = " ".join(f"int {name} = READ_ONCE(*x);" for name in names)
    with pytest.raises(Unsupported, match="more than 32 dependencies at a time"):
        explore(f"C deps\n{{}}\nP0(int *x) {{ {body} WRITE_ONCE(*x, {' + '.join(names)}); }}\nexists (x=1)")
    nested = "(" * 5000 + "1" + ")" * 5000
    with pytest.raises(Unsupported, match="nested too deep"):
        explore(edited("smp_wmb();", f"int r5 = {nested};"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# A title\n\nwords", "line 1: the architecture C and a name expected, not '# A title'"),
        ("C MP\n", "line 2: '{' expected, not the end of the file"),
        ("C MP\n{}\n", "line 3: a process, P0(...) { ... }, expected, not the end of the file"),
        (edited("P1(", "P0("), "line 4: a process other than P0 expected, not 'P0'"),
        (edited("smp_wmb();", "smp_wmb()"), "line 3: ';' expected, not 'WRITE_ONCE'"),
        (edited("smp_wmb();", "smp_wmb(1 2);"), "line 3: ',' expected, not '2'"),
        (edited("exists (", "}\nexists ("), "line 5: exists, ~exists or forall expected, not '}'"),
        (edited("smp_wmb();", "x = `;"), "line 3: '`' has no meaning here"),
        (edited("smp_wmb();", "/* smp_wmb();"), "line 3: /* without */"),
        (edited("WRITE_ONCE(*x, 1)", "WRITE_ONCE(*x)"), "WRITE_ONCE takes 2 arguments, not 1"),
        (edited("1:r1=0)", "1:r1=0"), "line 6: ')' expected, not the end of the file"),
        (edited("1:r1=0", "1:r1"), "line 5: '=' or '!=' expected, not ')'"),
        (edited("1:r1=0", "5:r1=0"), "there is no process P5"),
        (edited("1:r1=0", "x[1]=0"), "x[1] is not in the array"),
        (edited("exists (", "exists x=1 ("), "line 5: the end of the file expected, not '('"),
        (edited("exists (", "perhaps ("), "line 5: exists, ~exists or forall expected, not 'perhaps'"),
        (edited("{}", "{ int a[0]; }"), "line 2: an array of 1 to 1024 elements"),
        (edited("{}", "{ int a[1] = {1, 2}; }"), "line 2: an array of 1 to 1024 elements"),
    ],
)
def test_malformed(text, message):
    with pytest.raises(LitmusError) as raised:
        explore(text)
    assert message in str(raised.value)


def test_damaged_files_are_refused_in_words():
    """Whatever is cut out of a file, doubled or put in: a test, or one of the two errors."""
    rng = random.Random(1)
    texts = [path.read_text() for path in sorted(OWN.glob("*.litmus"))]
    parts = '{ } ( ) * ; = /\\ (* *) /* // " if else int P0 [ ] 0: &'.split()
    counts = {"read": 0, "refused": 0}
    for _ in range(1500):
        text = rng.choice(texts)
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(text))
            end = min(len(text), start + rng.choice([0, 1, 3, 30]))
            text = text[:start] + rng.choice([*parts, "", "", text[start:end] * 2]) + text[end:]
            text = text or " "
        try:
            lower(read(text))
            counts["read"] += 1
        except (LitmusError, Unsupported) as error:
            assert str(error)
            counts["refused"] += 1
    assert counts["read"] > 100 and counts["refused"] > 500
