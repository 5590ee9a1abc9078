"""Charts for `utils/page.py`: numbers come in, inline SVG goes out.

Colours are the page's own, so a chart turns dark with it; text is the browser's, so Chinese shows without any
font of ours. Under the pointer a chart names its values, with no script: strips that a style rule makes visible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from utils.console import tell
from utils.page import Html, clamped, escape, number

Point = tuple[float, float]
WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 14, 34
COLOURS = 6
MOST_POINTS = 500
"""A line has at most so many corners; more cannot be seen and only make the page heavy."""

MOST_STRIPS = 120
MOST_MARKS = 100


@dataclass(frozen=True)
class Mark:
    """A place on the axis at which something happened; `colour` is a class."""

    x: float
    label: str
    colour: str = "c6"


class Scale:
    """Values of one axis to places on it."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False):
        self.log, self.start, self.end = log, start, end
        if high <= low:
            low, high = (low / 2, low * 2) if log else (low - 0.5, low + 0.5)
        self.low, self.high = low, high

    def __call__(self, value: float) -> float:
        low, high = self._as_drawn(self.low), self._as_drawn(self.high)
        return self.start + (self._as_drawn(value) - low) / (high - low) * (self.end - self.start)

    def _as_drawn(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self, about: int) -> list[float]:
        """Round values within the axis."""
        return log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high, about)


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about so many of them, within [low, high]."""
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with 2 and 5 between them where the axis is short."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    found = [f * 10.0**p for p in powers for f in factors if low * 0.999 <= f * 10.0**p <= high * 1.001]
    return found[:: math.ceil(len(found) / 8)] if found else [low, high]


def smoothed(points: Sequence[Point], share: float = 0.04) -> list[Point]:
    """A centred mean over a share of the points: what a noisy loss is doing."""
    reach = int(len(points) * share / 2)
    if not reach:
        return list(points)
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    means = []
    for i, (x, _) in enumerate(points):
        first = i - min(reach, i)
        last = min(
            i + min(reach, i), len(points) - 1
        )  # narrow at the steep start, so that the line begins where it does
        means.append((x, (sums[last + 1] - sums[first]) / (last + 1 - first)))
    return means


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Fewer points with the same outline: each stretch gives its lowest and its highest."""
    if len(points) <= most:
        return list(points)
    kept: list[Point] = [points[0]]
    stretches = most // 2
    for i in range(stretches):
        part = points[i * len(points) // stretches : (i + 1) * len(points) // stretches]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [*kept, points[-1]]


def curves(
    series: Mapping[str, Sequence[Point]],
    title: str = "",
    x: str = "",
    log_x: bool = False,
    log_y: bool = False,
    smooth: bool = False,
    behind: Mapping[str, Sequence[Point]] | None = None,
    marks: Sequence[Mark] = (),
) -> Html:
    """Lines over a common axis; `smooth` draws the data faintly and its moving mean on top.

    Where a line is itself a mean of many, `behind` has the data, or its outline.
    """
    clean = {name: _drawable(points, log_x, log_y) for name, points in series.items()}
    clean = {name: points for name, points in clean.items() if points}
    if not clean:
        return Html(f"<figure>{_caption(title, [])}<p>{tell('no values yet', '还没有数据')}</p></figure>")
    xs = [p[0] for points in clean.values() for p in points]
    across = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, log_x)
    lines = {name: smoothed(points) if smooth else points for name, points in clean.items()}
    faint = clean | {name: _drawable(points, log_x, log_y) for name, points in (behind or {}).items() if name in clean}
    up = Scale(*_seen(faint, lines), HEIGHT - BOTTOM, TOP, log_y)
    parts = [_axes(across, up, x)]
    for i, (name, points) in enumerate(faint.items()):
        parts.append(f'<g class="c{i % COLOURS}">')
        if lines[name] != points:
            parts.append(_path(thinned(points), across, up, "faint"))
        parts.append(_path(thinned(lines[name]), across, up, "line") + "</g>")
    parts += [_strips(lines, across, up), _marks(marks, across)]
    return _figure(title, list(clean), parts)


def histogram(values: Sequence[float], title: str = "", x: str = "", bins: int = 30) -> Html:
    """How often values fall where."""
    found = sorted(v for v in values if math.isfinite(v))
    if not found:
        return curves({}, title)
    low, high = found[0], found[-1] if found[-1] > found[0] else found[0] + 1
    counts = [0] * bins
    for value in found:
        counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    across = Scale(low, high, LEFT, WIDTH - RIGHT)
    up = Scale(0, max(counts), HEIGHT - BOTTOM, TOP)
    parts = [_axes(across, up, x), '<g class="c0">']
    for i, count in enumerate(counts):
        start, end = (low + (high - low) * j / bins for j in (i, i + 1))
        label = f"{number(_short(start))} – {number(_short(end))}: {number(count)}"
        width = max(across(end) - across(start) - 1.5, 0.5)
        parts.append(
            f'<rect class="bar" x="{across(start) + 0.75:.1f}" width="{width:.1f}" '
            f'y="{up(count):.1f}" height="{up(0) - up(count):.1f}"><title>{escape(label)}</title></rect>'
        )
    return _figure(title, [], [*parts, "</g>"])


def bars(values: Mapping[str, float], title: str = "") -> Html:
    """Amounts by name, longest bar the largest amount."""
    top = max([v for v in values.values() if math.isfinite(v)], default=0) or 1
    rows = "".join(
        f'<span>{escape(name)}</span><i style="width:{max(value / top, 0):.1%}"></i>'
        f"<span>{escape(number(value))}</span>"
        for name, value in values.items()
    )
    return Html(f'<figure>{_caption(title, [])}<div class="bars">{rows}</div></figure>')


@dataclass(frozen=True)
class Stack:
    """One bar of `stacks`: its name, a few words at its end, and its parts as (name, amount, kind)."""

    name: str
    note: str
    parts: Sequence[tuple[str, float, str]]


def stacks(shown: Iterable[Stack], kinds: Mapping[str, str], title: str = "") -> Html:
    """Wholes by their parts, all bars of one length; `kinds` gives each kind of part its colour (a class)."""
    listed = list(shown)
    used = {kind for one in listed for _, amount, kind in one.parts if amount > 0}
    keys = [
        f'<span class="key {css}"><span>{escape(kind)}</span></span>' for kind, css in kinds.items() if kind in used
    ]
    rows = "".join(_stack(one, kinds) for one in listed)
    return Html(
        f"<figure><figcaption>{f'<b>{escape(title)}</b>' if title else ''}{''.join(keys)}</figcaption>"
        f'<div class="stacks">{rows}</div></figure>'
    )


def _stack(one: Stack, kinds: Mapping[str, str]) -> str:
    total = sum(amount for _, amount, _ in one.parts) or 1
    parts = "".join(
        f'<i class="{kinds[kind]}" style="flex-grow:{amount / total:.6f}" '
        f'title="{escape(f"{name}: {number(amount)} ({amount / total:.1%})")}"></i>'
        for name, amount, kind in one.parts
        if amount > 0
    )
    return f"{clamped(one.name)}<div>{parts}</div><span>{escape(one.note)}</span>"


SMALL_WIDTH, SMALL_HEIGHT, SMALL_FLOOR = 340, 116, 92


def small_histogram(
    edges: Sequence[str], behind: Sequence[int], front: Sequence[int], names: tuple[str, str], ticks: Sequence[str]
) -> Html:
    """Two histograms over the same bins, one before the other; small, to stand beside others of its kind.

    `edges` are as written, one more than there are bins or, if the last bin is open, as many; those among `ticks`
    are shown below.
    """
    step = SMALL_WIDTH / max(len(behind), 1)
    most = max([*behind, *front, 1])
    parts = []
    for i, (all_of_them, some) in enumerate(zip(behind, front, strict=True)):
        span = f"{edges[i]} – {edges[i + 1]}" if i + 1 < len(edges) else f"≥ {edges[i]}"
        label = f"{span}: {names[0]} {number(all_of_them)}, {names[1]} {number(some)}"
        hover = f'<rect class="over" x="{i * step:.1f}" width="{step:.1f}" y="0" height="{SMALL_FLOOR}"/>'
        bars_of_bin = _rise(i, step, all_of_them / most, "behind") + _rise(i, step, some / most, "bar c0")
        parts.append(f"<g>{hover}{bars_of_bin}<title>{escape(label)}</title></g>")
    parts.append(f'<line class="axis" x1="0" x2="{SMALL_WIDTH}" y1="{SMALL_FLOOR}" y2="{SMALL_FLOOR}"/>')
    for i, edge in enumerate(edges):
        if edge in ticks:
            side = "start" if i == 0 else "end" if i == len(behind) else "middle"
            parts.append(f'<text x="{i * step:.1f}" y="{SMALL_HEIGHT - 7}" text-anchor="{side}">{escape(edge)}</text>')
    size = f"0 0 {SMALL_WIDTH} {SMALL_HEIGHT}"
    return Html(f'<svg class="chart small" viewBox="{size}" role="img">{"".join(parts)}</svg>')


def _rise(i: int, step: float, share: float, kind: str) -> str:
    height = max(share * (SMALL_FLOOR - 6), 1.2 if share else 0)  # one record among millions is still seen
    place = f'x="{i * step + 0.75:.1f}" width="{step - 1.5:.1f}"'
    return f'<rect class="{kind}" {place} y="{SMALL_FLOOR - height:.1f}" height="{height:.1f}"/>'


# ---------------------------------------------------------------- pieces


def _drawable(points: Sequence[Point], log_x: bool, log_y: bool) -> list[Point]:
    return [
        (float(x), float(y))
        for x, y in points
        if math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x) and (y > 0 or not log_y)
    ]


def _seen(clean: Mapping[str, Sequence[Point]], lines: Mapping[str, Sequence[Point]]) -> tuple[float, float]:
    """The height of the chart: all of each line, and the data but for its rarest spikes."""
    low = min(p[1] for points in lines.values() for p in points)
    high = max(p[1] for points in lines.values() for p in points)
    for points in clean.values():
        ordered = sorted(p[1] for p in points)
        low = min(low, ordered[len(ordered) // 200])
        high = max(high, ordered[-1 - len(ordered) // 200])
    return low, high


def _axes(across: Scale, up: Scale, x: str) -> str:
    parts = []
    for value in up.ticks(5):
        at = up(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 9}" y="{at:.1f}" dy=".35em" text-anchor="end">{_tick(value)}</text>')
    floor = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
    room = WIDTH - RIGHT - _width(x)  # the axis's name stands in the row of its figures
    for value in across.ticks(8):
        if across(value) + _width(_tick(value)) / 2 <= room or not x:
            parts.append(f'<text x="{across(value):.1f}" y="{floor + 22}" text-anchor="middle">{_tick(value)}</text>')
    if x:
        parts.append(f'<text x="{WIDTH - RIGHT}" y="{floor + 22}" text-anchor="end">{escape(x)}</text>')
    return "".join(parts)


def _tick(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"


def _width(text: str) -> float:
    """Room that a label takes on a phone, where the letters of a chart are largest."""
    return sum(21 if c > "\u2e80" else 12 for c in text)


def _path(points: Sequence[Point], across: Scale, up: Scale, kind: str) -> str:
    floor, roof = up.start, up.end
    places = [(across(x), min(max(up(y), roof), floor)) for x, y in points]
    if len(places) == 1:
        return f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3" fill="currentColor"/>'
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'


def _strips(lines: Mapping[str, Sequence[Point]], across: Scale, up: Scale) -> str:
    """Invisible columns; the one under the pointer shows where it stands on every line."""
    longest = max(lines.values(), key=len)
    step = math.ceil(len(longest) / MOST_STRIPS)
    places = [x for x, _ in longest[::step]]
    edges = [LEFT, *((across(a) + across(b)) / 2 for a, b in pairwise(places)), WIDTH - RIGHT]
    parts = []
    for i, x in enumerate(places):
        at = across(x)
        marks, said = [], []
        for colour, (name, points) in enumerate(lines.items()):
            if not points[0][0] <= x <= points[-1][0]:
                continue
            y = min(points, key=lambda p: abs(p[0] - x))[1] if len(lines) > 1 else longest[i * step][1]
            said.append(f"{name} {number(_short(y))}" if len(lines) > 1 else number(_short(y)))
            marks.append(f'<circle class="c{colour % COLOURS}" cx="{at:.1f}" cy="{up(y):.1f}" r="4"/>')
        text = escape(f"{number(_short(x))}: {' · '.join(said)}")
        side, shift = ("end", -8) if at > WIDTH / 2 else ("start", 8)
        parts.append(
            f'<g class="hit"><rect x="{edges[i]:.1f}" y="{TOP}" width="{max(edges[i + 1] - edges[i], 0.5):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"/><g class="show"><line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" '
            f'y2="{HEIGHT - BOTTOM}"/>{"".join(marks)}<text x="{at + shift:.1f}" y="{TOP + 12}" '
            f'text-anchor="{side}">{text}</text></g><title>{text}</title></g>'
        )
    return "".join(parts)


def _marks(marks: Sequence[Mark], across: Scale) -> str:
    """Lines from top to bottom, each with a head that names it under the pointer."""
    parts = []
    for mark in marks[:: math.ceil(len(marks) / MOST_MARKS) or 1]:
        if across.low <= mark.x <= across.high:
            at = across(mark.x)
            parts.append(
                f'<g class="mark {mark.colour}"><line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                f'<path d="M{at - 4.5:.1f} {TOP - 8}h9l-4.5 8Z"/><title>{escape(mark.label)}</title></g>'
            )
    return "".join(parts)


def _short(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1e4 else round(value)


def _caption(title: str, names: Sequence[str]) -> str:
    keys = [f'<span class="key c{i % COLOURS}"><span>{escape(name)}</span></span>' for i, name in enumerate(names)]
    shown = [f"<b>{escape(title)}</b>"] if title else []
    shown += keys if len(keys) > 1 else []  # a single line is named by the title
    return f"<figcaption>{''.join(shown)}</figcaption>" if shown else ""


def _figure(title: str, names: Sequence[str], parts: Sequence[str]) -> Html:
    return Html(
        f'<figure>{_caption(title, names)}<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )
