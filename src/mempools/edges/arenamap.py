"""L6: the picture of an arena as a drawing: the pages to scale, each pool to its own scale by holder, and who holds how much."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from mempools import sizes
from mempools.edges.drawing import DIM, EDGE, PAPER, Drawing, Rect, Text, fitting
from mempools.objects.observing import PAGE, RESERVE, SHARED, STRUCT
from mempools.picture import FREE, Granules, Picture, PoolPicture, Region

WIDTH, MARGIN = 1200, 24
INNER = WIDTH - 2 * MARGIN
MAX_ROWS = 36

# Okabe and Ito's colours for pools, Tol's muted ones for processes: both are told apart by the colour-blind.
POOLS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#b3a100", "#7f6a55")
PROCESSES = ("#332288", "#44aa99", "#882255", "#999933", "#88ccee", "#cc6677")
OTHERS = "#9aa0b5"  # processes beyond those
TABLES, UNNAMED = "#3d444d", "#000000"
FREE_PAGES, FREE_GRANULES = "#f0f2f4", "#ffffff"
STRUCTURES, IN_RESERVE, PICKLED, DEAD = "#8c959f", "#d0d7de", "#57606a", "#111111"

_HEADER = ("superblock", "process table", "directory", "page map")


class Colours:
    """What has which colour in the picture of one arena; pools in the order of the directory, processes by how much they hold."""

    def __init__(self, picture: Picture) -> None:
        self.pools = {pool.name: POOLS[i % len(POOLS)] for i, pool in enumerate(picture.pools)}
        self.owners = {FREE: FREE_GRANULES, STRUCT: STRUCTURES, RESERVE: IN_RESERVE, SHARED: PICKLED}
        living = [p.slot for p in picture.processes if p.alive and p.slot in picture.by_owner]
        living.sort(key=lambda slot: -picture.by_owner[slot])
        self.owners |= dict(zip(living, PROCESSES, strict=False))
        self._dead = {process.slot for process in picture.processes if not process.alive}

    def owner(self, number: int) -> tuple[str, str]:
        """Fill and hatching."""
        if number in self._dead:
            return DEAD, "#ffffff"
        if number == RESERVE:
            return IN_RESERVE, EDGE
        return self.owners.get(number, OTHERS), ""


def mixed(colour: str, part: float) -> str:
    """A colour on white paper, thinned to `part` of it, in tenths."""
    part = round(part * 10) / 10
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - (255 - channel) * part):02x}" for channel in channels)


def percent(part: int, whole: int) -> str:
    """ "12 %", "0.3 %", "<0.1 %"."""
    value = 100 * part / whole if whole else 0.0
    if 0 < value < 0.1:
        return "<0.1 %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


# ---- cells: the arena in equal pieces


def cell_bytes(nbytes: int, nr: int) -> int:
    """Bytes of a cell, whole pages, so that at most `nr` of them make the arena."""
    cell = PAGE
    while -(-nbytes // cell) > nr:
        cell *= 2
    return cell


def cells(picture: Picture, nbytes: int) -> Iterator[tuple[Region, float]]:
    """For each `nbytes` bytes of the arena: the region that has most of them, and how much of that is taken (0 to 1)."""
    regions = iter(picture.regions)
    region = next(regions)
    for start in range(0, picture.nbytes, nbytes):
        end = min(start + nbytes, picture.nbytes)
        most, best = 0, region
        while True:
            part = min(region.end, end) - max(region.offset, start)
            if part > most:
                most, best = part, region
            if region.end >= end:
                break
            region = next(regions)
        if region.end == end:
            region = next(regions, region)
        first, last = max(best.offset, start), min(best.end, end)
        taken = best.granules.taken(first, last - first) / (last - first) if best.granules else 1.0
        yield best, taken


def colour_of(region: Region, taken: float, colours: Colours) -> str:
    if region.pool is not None:
        return mixed(colours.pools[region.pool], 0.2 + 0.8 * taken)
    if region.what == "free":
        return FREE_PAGES
    return TABLES if region.what in _HEADER else UNNAMED


def describe(region: Region, taken: float) -> str:
    """A line for whoever points at it."""
    where = f"{sizes.text(region.nbytes)} at {region.offset:#x}"
    if region.pool is None:
        what = {"free": "free pages", "taking": "pages that a process is taking", "unnamed": "pages of no pool"}
        return f"{what.get(region.what, region.what)}: {where}"
    full = f", {taken:.0%} taken here" if region.granules else ""
    return f"pool {region.pool}: {region.what}, {where}{full}"


# ---- the drawing


def draw(picture: Picture) -> Drawing:
    """The drawing of a picture, 1200 units wide."""
    colours = Colours(picture)
    name = picture.name or "without a name"
    drawing = Drawing(WIDTH, 0, f"arena {name}, {sizes.text(picture.nbytes)}: who holds what")
    parts = drawing.parts
    y = 44.0
    parts.append(Text(MARGIN, y, fitting(f"Arena {name}", 24, INNER - 420), 24, bold=True))
    alive = sum(process.alive for process in picture.processes)
    dead = len(picture.processes) - alive
    facts = f"{sizes.text(picture.nbytes)}, {percent(picture.nbytes - picture.free, picture.nbytes)} in use"
    facts += f", {alive} process{'es' * (alive != 1)}" + (f", {dead} dead" if dead else "")
    parts.append(Text(WIDTH - MARGIN, y, facts, 16, DIM, end=True))
    y = _arena(picture, colours, parts, y + 40)
    y = _pools(picture, colours, parts, y + 44)
    for pool in picture.pools:
        if any(pool.zspages):
            y = _zspages(pool, colours, parts, y + 44)
    y = _holders(picture, colours, parts, y + 44)
    drawing.height = y + MARGIN
    parts.insert(0, Rect(0, 0, WIDTH, drawing.height, PAPER))
    return drawing


def _heading(parts: list[Rect | Text], y: float, title: str, note: str) -> None:
    parts.append(Text(MARGIN, y, title, 17, bold=True))
    parts.append(Text(WIDTH - MARGIN, y, note, 13, DIM, end=True))


def _arena(picture: Picture, colours: Colours, parts: list[Rect | Text], y: float) -> float:
    columns = 64 if picture.nbytes <= 1024 * PAGE else 128
    side = INNER // columns
    cell = cell_bytes(picture.nbytes, columns * MAX_ROWS)
    _heading(parts, y, "Its pages", f"a square is {sizes.text(cell)}, row by row; paler: free inside a pool")
    y += 14
    row = 0
    shown = [(colour_of(*what, colours), describe(*what)) for what in cells(picture, cell)]
    for row in range(-(-len(shown) // columns)):
        x = float(MARGIN)
        for (colour, title), group in groupby(shown[row * columns : (row + 1) * columns]):
            nr = len(list(group))
            parts.append(Rect(x, y + row * side, nr * side, side - 1, colour, title))
            x += nr * side
    y += (row + 1) * side
    x = float(MARGIN)
    for colour, words in _legend_of_pages(picture):
        parts += [Rect(x, y + 10, 12, 12, colour, edge=EDGE), Text(x + 18, y + 21, words, 13)]
        x += 34 + len(words) * 13 * 0.6
    return y + 22


def _legend_of_pages(picture: Picture) -> Iterator[tuple[str, str]]:
    header = sum(region.nbytes for region in picture.regions if region.what in _HEADER)
    yield TABLES, f"the arena's tables {sizes.text(header)}"
    yield FREE_PAGES, f"free pages {sizes.text(picture.free)}, {percent(picture.free, picture.nbytes)}"
    odd = sum(region.nbytes for region in picture.regions if region.what in ("taking", "unnamed"))
    if odd:
        yield UNNAMED, f"being taken, or of no pool {sizes.text(odd)}"


_BAR, _COLUMN, _ROW, _LEFT = 26, 4, 46, 380  # of a pool's bar: height, width of a piece, distance, where it begins


def _pools(picture: Picture, colours: Colours, parts: list[Rect | Text], y: float) -> float:
    _heading(parts, y, "Its pools", "each to a scale of its own, by holder (below)")
    y += 14
    for pool in picture.pools:
        parts.append(Rect(MARGIN, y + 5, 16, 16, colours.pools[pool.name]))
        name = fitting(pool.name, 15, _LEFT - MARGIN - 140)
        parts.append(Text(MARGIN + 24, y + 17, name, 15, bold=True))
        parts.append(Text(_LEFT - 16, y + 17, pool.kind, 13, DIM, end=True))
        share = f"{sizes.text(pool.nbytes)}, {percent(pool.nbytes, picture.nbytes)} of the arena"
        parts.append(Text(MARGIN + 24, y + 34, share, 12, DIM))
        if pool.size:
            taken = f"{percent(pool.size - pool.free, pool.size)} taken"
            parts.append(Text(_LEFT - 16, y + 34, taken, 12, DIM, end=True))
            _bar(picture, pool, colours, parts, y + 4)
        else:
            parts.append(Text(_LEFT, y + 21, "tables only: what it gives out is another pool's", 13, DIM))
        y += _ROW
    if not picture.pools:
        parts.append(Text(MARGIN, y + 17, "none", 13, DIM))
        y += _ROW
    return y - 8


def _bar(picture: Picture, pool: PoolPicture, colours: Colours, parts: list[Rect | Text], y: float) -> None:
    """Each piece of a pool's memory as a stack of its holders: every holder of a piece shows, be it ever so small."""
    room = WIDTH - MARGIN - _LEFT
    shown = [
        tuple(sorted(mix.items(), key=lambda item: (item[0] == FREE, -item[1])))
        for mix in pieces(pool.granules, room // _COLUMN)
    ]
    x = float(_LEFT)
    width = room / max(len(shown), 1)
    for mix, group in groupby(shown):
        nr = len(list(group))
        total = sum(nbytes for _, nbytes in mix)
        least = 3.0  # a height that can be seen
        rest = _BAR - least * len(mix)
        at = y
        for owner, nbytes in mix:
            height = least + rest * nbytes / total
            fill, hatch = colours.owner(owner)
            title = f"{pool.name}: {picture.owner(owner)}, {sizes.text(nbytes)} of {sizes.text(total)} here"
            parts.append(Rect(x, at, nr * width, height, fill, title, hatch))
            at += height
        x += nr * width
    edges = ((0, 0, room, 1), (0, _BAR - 1, room, 1), (0, 0, 1, _BAR), (room - 1, 0, 1, _BAR))
    parts += [Rect(_LEFT + dx, y + dy, width, height, EDGE) for dx, dy, width, height in edges]


def pieces(granules: tuple[Granules, ...], nr: int) -> list[dict[int, int]]:
    """The memory of a pool, all chunks in a row, in at most `nr` pieces of about the same size: bytes by owner."""
    total = sum(part.nbytes for part in granules)
    found: list[dict[int, int]] = []
    for part in granules:
        # The units of a PerCpu have the same owners: one after the other would only repeat them.
        own = max(1, round(nr * part.nbytes / total)) if len(granules) <= nr else 1
        own = min(own, len(part.owners))
        for i in range(own):
            first, end = len(part.owners) * i // own, len(part.owners) * (i + 1) // own
            rest = part.owners[first:end]
            mix: dict[int, int] = {}
            while rest:
                others = rest.translate(None, rest[:1])
                mix[rest[0]] = (len(rest) - len(others)) * part.granule * part.nr_units
                rest = others
            found.append(mix)
    return found


# ---- zspages


@dataclass(frozen=True)
class ClassRow:
    """The zspages of one size: `slot_nbytes` of a slot, `pages` and `objs` slots of a zspage, and how many slots of each are
    `inuse`, the fullest first."""

    slot_nbytes: int
    pages: int
    objs: int
    inuse: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return len(self.inuse) * self.pages * PAGE

    @property
    def fullness(self) -> float:
        return sum(self.inuse) / (self.objs * len(self.inuse))

    @property
    def freeable(self) -> int:
        """Bytes that would be free if the objects were moved together."""
        return (self.objs * len(self.inuse) - sum(self.inuse)) // self.objs * self.pages * PAGE


def class_rows(pool: PoolPicture) -> list[ClassRow]:
    """The classes of a pool that have zspages, those with most memory first."""
    found: dict[tuple[int, int, int], list[int]] = {}
    for zspage in pool.zspages:
        found.setdefault((zspage.slot_nbytes, zspage.nbytes // PAGE, zspage.objs), []).append(zspage.inuse)
    rows = [ClassRow(*shape, tuple(sorted(inuse, reverse=True))) for shape, inuse in found.items()]
    return sorted(rows, key=lambda row: (-row.nbytes, row.slot_nbytes))


def summary_of(rows: Sequence[ClassRow]) -> str:
    """What a few of many classes stand for."""
    nr, objects, slots = (sum(of(row) for row in rows) for of in (_nr, _objects, _slots))
    freeable = sizes.text(sum(row.freeable for row in rows))
    return f"{nr} zspages, {percent(objects, slots)} of slots in use, {freeable} to gain by compaction"


def _nr(row: ClassRow) -> int:
    return len(row.inuse)


def _objects(row: ClassRow) -> int:
    return sum(row.inuse)


def _slots(row: ClassRow) -> int:
    return row.objs * len(row.inuse)


MAX_CLASSES = 12


def _zspages(pool: PoolPicture, colours: Colours, parts: list[Rect | Text], y: float) -> float:
    """A line for each class: its zspages side by side, the fullest first, each filled as high as it is full."""
    rows = class_rows(pool)
    title = fitting(f"How full the zspages of {pool.name} are", 17, INNER - 620)
    _heading(parts, y, title, summary_of(rows))
    y += 14
    height, room = 20, WIDTH - MARGIN - _LEFT
    for row in rows[:MAX_CLASSES]:
        words = f"{sizes.text(row.slot_nbytes)}, {row.objs} in {sizes.text(row.pages * PAGE)}"
        parts.append(Text(MARGIN, y + 15, words, 13))
        full = f"{len(row.inuse)} zspages, {row.fullness:.0%} full"
        parts.append(Text(_LEFT - 16, y + 15, full, 12, DIM, end=True))
        parts.append(Rect(_LEFT, y, room, height, FREE_GRANULES, edge=EDGE))
        nr = min(len(row.inuse), room // 2)
        width = min(room / nr, 12.0)
        shown = [row.inuse[len(row.inuse) * i // nr] for i in range(nr)]
        x = float(_LEFT)
        for inuse, group in groupby(shown):
            part = len(list(group)) * width
            tall = height * inuse / row.objs
            title = f"{inuse} of {row.objs} slots in use"
            if tall:
                parts.append(Rect(x, y + height - tall, part, tall, colours.pools[pool.name], title))
            x += part
        if nr * width < room:
            parts.append(Rect(x, y, room - nr * width, height, FREE_PAGES, edge=EDGE))
        y += height + 6
    if len(rows) > MAX_CLASSES:
        words = f"and {len(rows) - MAX_CLASSES} classes more: {summary_of(rows[MAX_CLASSES:])}"
        parts.append(Text(MARGIN, y + 15, words, 13, DIM))
        y += height + 6
    return y - 6


def _holders(picture: Picture, colours: Colours, parts: list[Rect | Text], y: float) -> float:
    _heading(parts, y, "Who holds what in the pools", "bytes, part of the arena")
    y += 10
    rows = list(holder_rows(picture))
    most = max((nbytes for _, _, nbytes in rows), default=1)
    for owner, words, nbytes in rows:
        fill, hatch = colours.owner(owner)
        parts.append(Rect(MARGIN, y + 4, 22, 16, fill, hatch=hatch, edge=EDGE))
        parts.append(Text(MARGIN + 32, y + 17, words, 14))
        parts.append(Text(_LEFT + 60, y + 17, sizes.text(nbytes), 14, end=True))
        parts.append(Text(_LEFT + 130, y + 17, percent(nbytes, picture.nbytes), 14, DIM, end=True))
        width = max((WIDTH - MARGIN - _LEFT - 150) * nbytes / most, 1)
        parts.append(Rect(_LEFT + 150, y + 6, width, 12, fill, hatch=hatch, edge=EDGE))
        y += 24
    return y


_WORDS = {
    FREE: "free in pools",
    STRUCT: "structures: values of stores, tables",
    RESERVE: "in reserve, nobody's",
    SHARED: "shared by pickling",
}


def holder_rows(picture: Picture) -> Iterator[tuple[int, str, int]]:
    """Owner, words, bytes: processes first, who holds most before; every process of the table is there."""
    held = dict(picture.by_owner)
    slots = sorted(picture.processes, key=lambda process: -held.get(process.slot, 0))
    for process in slots:
        words = f"process {process.pid}" if process.alive else f"dead process {process.pid}, to be swept"
        yield process.slot, words, held.pop(process.slot, 0)
    for owner, words in reversed(_WORDS.items()):
        if owner in held:
            yield owner, words, held.pop(owner)
    for owner, nbytes in held.items():
        yield owner, "a process that has gone", nbytes


# ---- as JSON


def as_json(picture: Picture) -> dict[str, object]:
    """What `mempools map --json` prints."""
    return {
        "name": picture.name,
        "id": picture.id,
        "arena_bytes": picture.nbytes,
        "free_bytes": picture.free,
        "pools": [
            {
                "name": pool.name,
                "kind": pool.kind,
                "granule": pool.granule,
                "arena_bytes": pool.nbytes,
                "size": pool.size,
                "blocks": pool.nr_blocks,
                "bytes_by_owner": {picture.owner(owner): nbytes for owner, nbytes in pool.by_owner.items()},
                "counters": pool.counters,
                "zspages": [vars(zspage) for zspage in pool.zspages],
            }
            for pool in picture.pools
        ],
        "processes": [
            {"pid": process.pid, "alive": process.alive, "bytes": picture.by_owner.get(process.slot, 0)}
            for process in picture.processes
        ],
        "regions": [
            {"offset": region.offset, "bytes": region.nbytes, "what": region.what, "pool": region.pool}
            for region in picture.regions
        ],
    }
