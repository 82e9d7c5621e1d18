"""Where everything of a drawn execution lies: a box for each step in its CPU's lane, later ones lower, and between the
lanes channels, in which the arrows run beside each other.

All lengths are in pixels. An arrow leaves a box sideways, runs down a track of a channel, and enters the other box sideways;
a lane between the two is crossed in the gap above the box it goes to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mempools.check import reasons, wording
from mempools.check.terminal import Line, Terminal, length
from mempools.check.trace import INITIAL, Kind, Step, Trace
from mempools.check.wording import BAD, DIM, ODD, Phrase

CHAR, SMALL_CHAR = 7.3, 6.4  # widths of a character, of the fonts below
LINE, SMALL_LINE = 16, 13
PADDING = 7
GAP = 10  # between a box and the next lower one
GUTTER = 40  # for the numbers
TRACK = 11  # between two arrows that run beside each other
MARGIN = 16  # between a box and the first track
MIN_BOX, MAX_CHARS = 150, 38
CHIP = 22  # height of an initial value

READS, STALE, ORDER, WAITS = "reads", "stale", "order", "waits"  # what an edge means


@dataclass(slots=True)
class Text:
    """A line in a box."""

    phrases: Line
    small: bool = False


@dataclass(slots=True)
class Box:
    index: int  # of the step; of an initial value: -2, -3, ...
    lane: int  # -1: an initial value, above the lanes
    lines: list[Text]
    step: Step | None = None
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass(slots=True)
class Edge:
    meaning: str
    source: Box
    target: Box
    path: list[tuple[float, float]] = field(default_factory=list)  # corners, from the source to the target
    track: int = 0  # in the channel of the target
    far_track: int = 0  # in the channel of the source, if that is another one


@dataclass(slots=True)
class Diagram:
    trace: Trace
    boxes: list[Box]
    chips: list[Box]
    edges: list[Edge]
    lane_x: list[float] = field(default_factory=list)
    lane_width: list[float] = field(default_factory=list)
    top: float = 0  # of the first box
    width: float = 0
    height: float = 0


def lay_out(trace: Trace, folded: Mapping[int, str]) -> Diagram:
    boxes = [Box(step.index, step.cpu, _lines(trace, step), step) for step in trace.steps if step.index not in folded]
    edges, chips = _edges(trace, {box.index: box for box in boxes})
    diagram = Diagram(trace, boxes, chips, edges)
    for box in boxes:
        box.height = 2 * PADDING - 5 + sum(SMALL_LINE if text.small else LINE for text in box.lines)
    _place_rows(diagram)
    nr_tracks = _assign_tracks(diagram)
    _place_lanes(diagram, nr_tracks)
    for edge in edges:
        edge.path = _path(diagram, edge, nr_tracks)
    return diagram


def _lines(trace: Trace, step: Step) -> list[Text]:
    """What a box says: the operation, then in smaller type the site and where a value came from."""
    terminal = Terminal()
    lines: list[Text] = []
    site: list[Phrase] = [(step.site, wording.SITE)] if step.site else []
    for line in terminal.wrap(wording.head(trace, step), MAX_CHARS):
        lines.append(Text(line))
    for line in terminal.wrap(
        [*site, *wording.source(step), *wording.remarks(step)], int(MAX_CHARS * CHAR / SMALL_CHAR)
    ):
        lines.append(Text(line, small=True))
    return [text for text in lines if text.phrases]


# ---- arrows ----


def _edges(trace: Trace, boxes: Mapping[int, Box]) -> tuple[list[Edge], list[Box]]:
    """Reads-from between CPUs; where a read is stale or a store went in between, the coherence order too; who waits for
    a lock that another CPU took."""
    chips: dict[str, Box] = {}

    def end(index: int, location: str) -> Box | None:
        if index != INITIAL:
            return boxes.get(index)
        if location not in chips:
            value = wording.number(trace.initial.get(location, 0))
            chips[location] = Box(-2 - len(chips), -1, [Text([(f"initially {location} = {value}", "")])])
        return chips[location]

    edges: list[Edge] = []
    ordered: dict[tuple[int, int], str] = {}
    for box in list(boxes.values()):
        step = box.step
        if step is None:
            continue
        if (
            step.reads_from is not None
            and _worth_an_arrow(trace, step)
            and (source := end(step.reads_from, step.location))
        ):
            edges.append(Edge(STALE if step.stale else READS, source, box))
        for pair in _coherence_pairs(trace, step):
            ordered[pair] = step.location
    for (first, second), location in ordered.items():
        source, target = end(first, location), end(second, location)
        if source is not None and target is not None:
            edges.append(Edge(ORDER, source, target))
    for wait in reasons.waits(trace):
        if wait.held is not None and wait.held.index in boxes:
            edges.append(Edge(WAITS, boxes[wait.step.index], boxes[wait.held.index]))
    return edges, list(chips.values())


def _worth_an_arrow(trace: Trace, step: Step) -> bool:
    if step.stale:
        return True
    return step.reads_from != INITIAL and step.reads_from is not None and trace.step(step.reads_from).cpu != step.cpu


def _coherence_pairs(trace: Trace, step: Step) -> Iterable[tuple[int, int]]:
    """Neighbours in coherence order: from what a stale read saw to what it missed; around a store that went in between."""
    order = trace.coherence(step.location) if step.stale or step.inserted_before is not None else []
    if step.stale and step.reads_from is not None and step.newest is not None:
        first, last = order.index(step.reads_from), order.index(step.newest)
    elif step.inserted_before is not None:
        at = order.index(step.index)
        first, last = max(at - 1, 1), min(at + 1, len(order) - 1)
    else:
        return ()
    return zip(order[first:last], order[first + 1 : last + 1], strict=True)


# ---- places ----


def _place_rows(diagram: Diagram) -> None:
    """Downwards from 0; the drawing shifts them below its head."""
    y: float = 0
    for box in diagram.boxes:
        box.y = y
        y += box.height + GAP
    diagram.height = y
    for chip in diagram.chips:
        chip.y, chip.height = -1e6, CHIP  # above everything


def _channels(edge: Edge) -> tuple[int, int]:
    """Channel k is at the left of lane k. Those of the source and of the target."""
    a, b = edge.source.lane, edge.target.lane
    if a == b or edge.source.lane < 0:
        return b, b
    return (a + 1, b) if a < b else (a, b + 1)


def _assign_tracks(diagram: Diagram) -> list[int]:
    """Gives each edge tracks that no other edge uses at that height; returns how many each channel has."""
    used: list[list[list[tuple[float, float]]]] = [[] for _ in range(len(diagram.trace.cpus) + 1)]

    def take(channel: int, one: float, other: float) -> int:
        top, bottom = min(one, other) - 2, max(one, other) + 2
        for nr, taken in enumerate(used[channel]):
            if all(bottom < start or top > end for start, end in taken):
                taken.append((top, bottom))
                return nr
        used[channel].append([(top, bottom)])
        return len(used[channel]) - 1

    for edge in sorted(diagram.edges, key=lambda edge: abs(_middle(edge.source) - _middle(edge.target))):
        far, near = _channels(edge)
        turn = edge.target.y - GAP / 2
        edge.track = take(near, _middle(edge.source) if far == near else turn, _middle(edge.target))
        if far != near:
            edge.far_track = take(far, _middle(edge.source), turn)
    return [len(tracks) for tracks in used]


def _middle(box: Box) -> float:
    return box.y + box.height / 2


def _place_lanes(diagram: Diagram, nr_tracks: Sequence[int]) -> None:
    x: float = GUTTER
    for cpu in range(len(diagram.trace.cpus)):
        own = [box for box in diagram.boxes if box.lane == cpu]
        name = len(wording.cpu_name(diagram.trace, cpu)) * CHAR
        width = max(
            [MIN_BOX if own else 0, name, *(_text_width(text) + 2 * PADDING for box in own for text in box.lines)]
        )
        x += _channel_width(nr_tracks[cpu], first=cpu == 0)
        for box in own:
            box.x, box.width = x, width
        diagram.lane_x.append(x)
        diagram.lane_width.append(width)
        x += width
    diagram.width = x + _channel_width(nr_tracks[-1], first=True)
    x = GUTTER
    for chip in diagram.chips:
        chip.x, chip.width = x, _text_width(chip.lines[0]) + 2 * PADDING
        x += chip.width + GAP


def _text_width(text: Text) -> float:
    return length(text.phrases) * (SMALL_CHAR if text.small else CHAR)


def _channel_width(nr_tracks: int, *, first: bool) -> float:
    """One at the edge of the drawing is empty if nothing runs in it."""
    return 4 if first and not nr_tracks else 2 * MARGIN + TRACK * max(nr_tracks - 1, 0)


def _path(diagram: Diagram, edge: Edge, nr_tracks: Sequence[int]) -> list[tuple[float, float]]:
    far, near = _channels(edge)
    source, target = edge.source, edge.target
    end_y = _port(diagram, edge, target)
    x = _track_x(diagram, near, edge.track)
    end_x = target.x if near == target.lane else target.x + target.width
    if source.lane < 0:
        start = (source.x + source.width / 2, source.y)
        return [start, (x, start[1]), (x, end_y), (end_x, end_y)]
    start_y = _port(diagram, edge, source)
    start_x = source.x if far == source.lane else source.x + source.width
    if far == near:
        return [(start_x, start_y), (x, start_y), (x, end_y), (end_x, end_y)]
    far_x = _track_x(diagram, far, edge.far_track)
    turn = target.y - GAP / 2
    return [(start_x, start_y), (far_x, start_y), (far_x, turn), (x, turn), (x, end_y), (end_x, end_y)]


def _track_x(diagram: Diagram, channel: int, track: int) -> float:
    """The first track is the one next to the boxes at the channel's right, in the last channel those at its left."""
    if channel < len(diagram.lane_x):
        return diagram.lane_x[channel] - MARGIN - TRACK * track
    return diagram.lane_x[-1] + diagram.lane_width[-1] + MARGIN + TRACK * track


def _port(diagram: Diagram, edge: Edge, box: Box) -> float:
    """Where an edge touches the side of a box: those at one side spread over it, in the order of their other ends."""
    mine = _side(edge, box)
    others = [e for e in diagram.edges if box in (e.source, e.target) and _side(e, box) == mine]
    others.sort(key=lambda e: (_middle(e.target if e.source is box else e.source), e.meaning))
    return box.y + box.height * (others.index(edge) + 1) / (len(others) + 1)


def _side(edge: Edge, box: Box) -> bool:
    """Whether it touches the left one."""
    far, near = _channels(edge)
    return (far if edge.source is box else near) == box.lane


def frame(box: Box, trace: Trace) -> str:
    """The style of a box's border."""
    step = box.step
    if step is None:
        return DIM
    if step.blocked or step.kind is Kind.CRASH or step.index == reasons.culprit(trace):
        return BAD
    if step.skipped or step.was:
        return wording.OFF
    return ODD if step.stale else DIM
