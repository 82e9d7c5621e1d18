import itertools
import random
import xml.etree.ElementTree as ET

import failures
import pytest

from mempools.check import diagram as geometry
from mempools.check.svg import draw
from mempools.check.trace import INITIAL, Fn, Kind, Order, Step, Trace

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def paths(svg, name):
    return [path for path in ET.fromstring(svg).iter(f"{SVG}path") if name in path.get("class").split()]


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", failures.ALL)
def test_it_is_xml_with_every_step_there(name, fold):
    trace = failures.ALL[name]
    svg = draw(trace, fold=fold)
    found = texts(svg)
    numbers = [int(text[1:]) for text in found if text[:1] == "#" and text[1:].isdigit()]
    folded = geometry.reasons.foldable(trace) if fold else {}
    assert numbers == [step.index for step in trace.steps if step.index not in folded]
    for step in trace.steps:
        if step.site and step.index not in folded:
            assert any(step.site in text for text in found)
    assert any(trace.violation in text for text in found)
    assert any(trace.replay in text for text in found)


@pytest.mark.parametrize("name", failures.ALL)
def test_it_is_self_contained_and_without_a_background(name):
    svg = draw(failures.ALL[name])
    root = ET.fromstring(svg)
    assert not {element.tag for element in root.iter()} & {f"{SVG}image", f"{SVG}script", f"{SVG}use"}
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "") and "url(" not in svg
    assert "prefers-color-scheme:dark" in svg and "currentColor" in svg
    width, height = float(root.get("width")), float(root.get("height"))
    assert all(float(rect.get("width")) < width for rect in root.iter(f"{SVG}rect"))
    assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
    assert "handoff" not in svg or root.find(f"{SVG}title").text.startswith("A failing execution of handoff.block")


def test_what_the_arrows_are():
    svg = draw(failures.MESSAGE_PASSING)
    assert [len(paths(svg, f"mp-head-{meaning}")) for meaning in ("reads", "stale", "order", "waits")] == [2, 2, 2, 0]
    assert "initially data = 0" in texts(svg)
    svg = draw(failures.DEADLOCK)
    assert [len(paths(svg, f"mp-head-{meaning}")) for meaning in ("reads", "stale", "order", "waits")] == [0, 0, 0, 3]
    assert paths(svg, "mp-stuck")


def test_a_skipped_fence_is_struck_out_and_text_is_escaped():
    steps = (Step(index=1, cpu=0, kind=Kind.FENCE, order=Order.FULL, site="a<b&c", skipped=True),)
    svg = draw(Trace(scenario="<s>", cpus=("&",), steps=steps, violation="a < b", replay="<0>"))
    (rect,) = ET.fromstring(svg).iter(f"{SVG}rect")
    assert "mp-box-off" in rect.get("class")
    assert "a<b&c  skipped by the mutation" in texts(svg) and "FAIL <s>" in texts(svg)
    assert 'class="mp-off mp-gone">smp_mb<' in svg


def random_trace(seed, length=60, cpus=4):
    """Any reads from any messages: more arrows than a real trace has."""
    random_ = random.Random(seed)
    steps, order = [], {"map[0]": [INITIAL], "avail": [INITIAL], "head": [INITIAL]}
    for index in range(length):
        location = random_.choice(list(order))
        messages = order[location]
        common = {"index": index, "cpu": random_.randrange(cpus), "location": location, "site": "A:ownermap.claim"}
        kind = random_.choice([Kind.READ, Kind.WRITE, Kind.RMW])
        if kind is not Kind.WRITE:
            seen = messages[-1] if kind is Kind.RMW else random_.choice(messages)
            common |= {"read": 0, "reads_from": seen, "newest": messages[-1]}
        if kind is not Kind.READ:
            common |= {"wrote": index}
            messages.append(index)
        steps.append(Step(kind=kind, fn=Fn.CMPXCHG, order=Order.ACQUIRE, **common))
    return Trace(scenario="random", cpus=("cpu",) * cpus, steps=tuple(steps), violation="none", replay="0")


@pytest.mark.parametrize("seed", range(5))
def test_boxes_do_not_overlap_and_arrows_cross_no_box(seed):
    made = geometry.lay_out(random_trace(seed), {})
    assert len(made.boxes) == 60 and len(made.edges) > 20
    for upper, lower in itertools.pairwise(made.boxes):
        assert upper.bottom < lower.y
    for edge in made.edges:
        start = 1 if edge.source.lane < 0 else 0  # the drawing of the head bends the way to an initial value
        for (x1, y1), (x2, y2) in itertools.pairwise(edge.path[start:]):
            for box in made.boxes:
                apart = (
                    max(x1, x2) <= box.x
                    or min(x1, x2) >= box.x + box.width
                    or max(y1, y2) <= box.y
                    or min(y1, y2) >= box.bottom
                )
                assert apart, (edge.meaning, edge.source.index, edge.target.index, box.index)


@pytest.mark.parametrize("seed", range(5))
def test_arrows_that_run_beside_each_other_have_tracks_of_their_own(seed):
    made = geometry.lay_out(random_trace(seed), {})
    taken = {}
    for edge in made.edges:
        for (x1, y1), (x2, y2) in itertools.pairwise(edge.path):
            if x1 == x2 and edge.source.lane >= 0:
                for top, bottom in taken.get(x1, []):
                    assert max(y1, y2) <= top or min(y1, y2) >= bottom
                taken.setdefault(x1, []).append((min(y1, y2), max(y1, y2)))


def test_the_size_is_sane():
    root = ET.fromstring(draw(random_trace(1)))
    assert float(root.get("width")) < 1500 and float(root.get("height")) < 60 * 60
    assert root.get("style") is None
    assert ET.fromstring(draw(failures.MESSAGE_PASSING)).get("style") == "max-width:100%;height:auto"
