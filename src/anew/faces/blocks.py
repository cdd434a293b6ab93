"""Views as blocks: what to show, before it is decided how. Plain text and terminal are painted from the same blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from anew import views

Tone = Literal["", "good", "bad", "dim", "strong", "warn"]
MOST_FINDINGS = 20  # shown of one image


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of text. `share`, if it is not negative, is a weight per mille that a terminal shows as a bar."""

    text: str
    tone: Tone = ""
    share: int = -1
    width: int = 20  # of the bar, in characters


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text, indented by `depth` steps."""

    cells: tuple[Cell, ...]
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under headings; columns named in `right` are aligned to the right."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture made of ASCII marks; a terminal may have better ones for them."""

    title: str
    legend: tuple[tuple[str, str], ...]  # marks, and what they mean
    rows: tuple[tuple[str, str, str], ...]  # a label, the marks, a label


Block = Line | Grid | Chart


def visible(text: str) -> str:
    r"""Make every character of `text` printable, so that no output of a program can drive the terminal.

    >>> visible("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode("ascii") for c in text)


def rfc3339(at: float) -> str:
    """Write a time as people and programs read it, in UTC.

    >>> rfc3339(0.0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(text: str, tone: Tone = "", depth: int = 0) -> Line:
    """Make a line of one cell."""
    return Line((Cell(visible(text), tone),), depth)


def percent(weight: int) -> Cell:
    """Show a weight."""
    return Cell(f"{weight / 10:g} %", share=weight)


def size(count: int) -> str:
    """Write a number of bytes for people.

    >>> size(999), size(1500), size(2_500_000)
    ('999 B', '1.5 kB', '2.5 MB')
    """
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def of_status(status: views.Status) -> tuple[Block, ...]:
    """Show an environment as it is now."""
    head = f"{status.project}/{status.environment}"
    if status.serving:
        serving = f"{status.serving} ({status.release}) serves"
        out: list[Block] = [Line((Cell(head, "strong"), Cell(serving, "good"), Cell(status.edge, "dim")))]
    else:
        out = [Line((Cell(head, "strong"), Cell("nothing serves", "dim")))]
    if status.wish and status.wish != status.serving:
        out.append(line(f"the wish is {status.wish}", depth=1))
    if status.rollout:
        out.extend(of_rollout(status.rollout))
    elif status.reason:
        out.append(line(status.reason, depth=1))
    rows = [row for service in status.services for row in _groups(service)]
    if rows:
        headings = ("service", "group", "role", "weight", "ready", "in flight", "address")
        out.append(Grid(headings, tuple(rows), frozenset({"weight", "ready", "in flight"})))
    if status.judgements:
        out.append(of_judged(status.judgements))
    marked = {n: why for s in status.services for g in s.groups for n, why in g.marked.items()}
    out.extend(line(f"{name}: {why}", "warn") for name, why in sorted(marked.items()))
    out.extend(line(note, "warn") for note in status.notes)
    if status.trouble:
        out.append(line(status.trouble, "bad"))
    if status.warm:
        out.append(line(f"warm, so that going back takes a moment: {', '.join(status.warm)}"))
    if not status.keeper:
        out.append(line("no keeper runs; nothing would be replaced if it died", "warn" if status.serving else "dim"))
    return tuple(out)


def of_rollout(rollout: views.RolloutView) -> tuple[Block, ...]:
    """Show a rollout in one line, and its reason in another."""
    tone: Tone = "bad" if rollout.phase in {"rolling back", "rolled back"} else "good" if rollout.is_good else "warn"
    cells = (
        Cell(f"{rollout.kind} of {rollout.generation} ({rollout.release}):"),
        Cell(rollout.phase, tone),
        Cell(f"at {percent(rollout.weight).text}"),
    )
    said = (text for text in (rollout.reason, rollout.guard) if text)
    return (Line(cells, 1), *(line(text, depth=2) for text in said))


def of_judged(judgements: Sequence[views.Judgement]) -> Grid:
    """Show what is known now of each judged service, a row for each criterion."""
    rows = tuple(
        (
            Cell(f"{one.new} {criterion.name}", "strong"),
            Cell(_rate(criterion.course[-1].new)),
            Cell(_rate(criterion.course[-1].old)),
            _toward(criterion.course[-1].harm, alone(one)),
            _toward(criterion.course[-1].safe, one.safe_bound),
        )
        for one in judgements
        for criterion in one.criteria
    )
    return Grid(("judged", "new", "old", "harm", "safe"), rows)


def alone(one: views.Judgement) -> float:
    """Return how much harm by one criterion is enough, though all others have none: it is their mean that counts."""
    return one.harm_bound * len(one.criteria)


def _rate(side: views.Rate) -> str:
    """Write a rate and its interval, in percent."""
    share = f"{100 * side.bad / side.requests:.3g}" if side.requests else "-"
    return f"{share} ({100 * side.low:.3g}-{100 * side.high:.3g}) %"


def _toward(value: float, bound: float) -> Cell:
    """Show an e-value on its way to its bound, by its logarithm."""
    part = math.log(max(value, 1.0)) / math.log(bound)
    return Cell(f"{min(value, 9999):.{1 if value < 10 else 0}f}/{bound:g}", share=round(1000 * min(1.0, part)), width=8)


def _groups(service: views.ServiceView) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for i, group in enumerate(service.groups):
        is_short = group.ready < group.size
        rows.append(
            (
                Cell("" if i else service.name, "strong"),
                Cell(group.name),
                Cell(group.role, "dim" if group.role in {"warm", "leaving"} else ""),
                percent(group.weight),
                Cell(f"{group.ready}/{group.size}", "warn" if is_short else ""),
                Cell(str(group.in_flight)),
                Cell("" if i else " ".join(service.urls), "dim"),
            )
        )
    return rows


def of_plan(plan: views.Plan) -> tuple[Block, ...]:
    """Show what `up` would do."""
    if not plan.steps and not plan.builds:
        return (line(f"nothing to do: {plan.environment} is as it should be", "good"), *_notes(plan))
    out: list[Block] = [line(f"up would bring release {plan.release} to {plan.environment}", "strong")]
    if plan.builds:
        out += [line("build", "strong"), *(line(one, depth=1) for one in plan.builds)]
    if plan.steps:
        width = len(str(len(plan.steps)))
        out.append(line("then", "strong"))
        out += [line(f"{i:>{width}}  {step}", depth=1) for i, step in enumerate(plan.steps, 1)]
    if plan.stages:
        out += [line("stages", "strong"), *(line(one, depth=1) for one in plan.stages)]
    return (*out, *_notes(plan))


def _notes(plan: views.Plan) -> tuple[Block, ...]:
    return tuple(line(f"note: {note}", "warn") for note in plan.notes)


def of_built(built: Sequence[views.Built]) -> tuple[Block, ...]:
    """Show images that were built, and what was used again for them."""
    rows = tuple(
        (
            Cell(one.service, "strong"),
            Cell(short(one.manifest) if one.manifest else f"none: ended at {one.until}"),
            Cell("recognised, nothing was run" if one.is_reused else f"built in {one.seconds:.1f} s"),
            Cell(size(one.size)),
        )
        for one in built
    )
    reused = [line(f"{one.service} reused: {_reused(one)}", "dim") for one in built if _reused(one)]
    again: dict[str, tuple[str, Tone]] = {
        "same": ("the same image came out again", "good"),
        "differs": ("not reproducible: another image came out", "bad"),
    }
    told = [line(f"{one.service}: {again[one.again][0]}", again[one.again][1]) for one in built if one.again]
    found = (one for image in built for one in _findings(image))
    return (Grid(("service", "image", "how", "size"), rows, frozenset({"size"})), *reused, *told, *found)


def _findings(image: views.Built) -> tuple[Block, ...]:
    """Show what is not as it should be in an image, what to do about it once for each rule."""
    out: list[Block] = []
    told: set[str] = set()
    for one in image.findings[:MOST_FINDINGS]:
        what = f"{image.service}: {one.rule}: {one.path}: {one.text}"
        if one.allowed:
            out.append(line(f"{what} (allowed: {one.allowed})", "dim"))
            continue
        out.append(line(what, "warn"))
        if one.rule not in told:
            out.append(line(one.remedy, depth=1))
        told.add(one.rule)
    if len(image.findings) > MOST_FINDINGS:
        out.append(
            line(f"{image.service}: and {len(image.findings) - MOST_FINDINGS} more; --json has them all", "warn")
        )
    return tuple(out)


def _reused(one: views.Built) -> str:
    """Say what of an image was there before: its head, and the whole of it or some of its steps."""
    heads = [f"head {head.head}" + (f" ({_old(head.age)} old)" if head.age else "") for head in one.heads]
    parts = [*heads, counted(one.files, "file")] if one.is_reused else heads
    if one.steps:
        parts.append(
            counted(one.steps, "step") if one.is_reused else f"{one.steps_reused} of {counted(one.steps, 'step')}"
        )
    made = f"; made {_old(one.age)} ago" if one.age else ""
    return f"{', '.join(parts)}{made}" if parts else ""


def counted(number: int, what: str) -> str:
    """Return a number of things."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _old(age: float) -> str:
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if age >= length:
            number = int(age // length)
            return counted(number, unit) if unit == "day" else f"{number} {unit}"
    return f"{int(age)} s"


def of_tested(tested: Sequence[views.Tested]) -> tuple[Block, ...]:
    """Show the verdicts of the image gate, test by test."""
    out: list[Block] = []
    for one in tested:
        verdict = Cell("passed", "good") if one.is_passed else Cell("failed", "bad")
        again = Cell(f"(as at {rfc3339(one.at)})" if one.is_reused else "", "dim")
        out.append(Line((Cell(one.service, "strong"), Cell(short(one.manifest)), verdict, again)))
        for test, why in one.results:
            said = Cell(f"fail  {visible(test)}: {visible(why)}", "bad") if why else Cell(f"pass  {visible(test)}")
            out.append(Line((said,), 1))
        if not one.results:
            out.append(line("it has no tests", "dim", 1))
    return tuple(out)


def of_releases(releases: Sequence[views.ReleaseView]) -> tuple[Block, ...]:
    """Show releases, newest first."""
    if not releases:
        return (line("there is no release yet; `anew up` makes the first", "dim"),)
    rows = tuple(
        (
            Cell(one.name, "strong"),
            Cell(rfc3339(one.at)),
            Cell(short(one.digest)),
            Cell(", ".join(f"{service} {short(image)}" for service, image in sorted(one.images.items()))),
            Cell(", ".join(one.generations)),
        )
        for one in releases
    )
    return (Grid(("release", "made", "digest", "images", "generations"), rows),)


def of_history(events: Sequence[views.Event]) -> tuple[Block, ...]:
    """Show events of the ledger, oldest first."""
    if not events:
        return (line("nothing has happened yet", "dim"),)
    rows = tuple(
        (
            Cell(str(one.number), "dim"),
            Cell(rfc3339(one.at), "dim"),
            Cell(one.kind, "strong" if one.kind in {"wish", "gate"} else ""),
            Cell(visible(one.text)),
        )
        for one in events
    )
    return (Grid(("number", "time", "kind", "what"), rows, frozenset({"number"})),)


def of_checks(checks: Sequence[views.Check]) -> tuple[Block, ...]:
    """Show what the machine has and lacks."""
    tones: dict[str, Tone] = {"ok": "good", "limited": "warn", "missing": "bad"}
    out: list[Block] = []
    rows = tuple(
        (Cell(one.name, "strong"), Cell(one.state, tones[one.state]), Cell(visible(one.detail))) for one in checks
    )
    out.append(Grid(("what", "state", "detail"), rows))
    out += [line(f"{one.name}: {one.hint}", "warn") for one in checks if one.state != "ok" and one.hint]
    return tuple(out)


def of_start(start: views.Start) -> tuple[Block, ...]:
    """Show what `init` found and wrote."""
    files = " and ".join(start.files)
    wrote = f"wrote {files}; `anew up` brings it live" if start.is_written else f"would write {files}"
    return (
        Line((Cell("found"), Cell(visible(start.found), "strong"))),
        *(line(f"note: {note}", "warn") for note in start.notes),
        line(f"project {start.project}, with one service: web"),
        line(wrote, "good" if start.is_written else ""),
    )


def short(digest: str) -> str:
    """Write a digest as people compare it.

    >>> short("sha256:0123456789abcdef")
    '0123456789ab'
    """
    return digest.removeprefix("sha256:")[:12]


def of_secrets(found: Sequence[views.SecretView]) -> tuple[Block, ...]:
    """Show names and versions, newest last."""
    if not found:
        return (line("no secret was ever set here", "dim"),)
    rows = tuple(
        (
            Cell(one.name, "strong"),
            Cell(f"v{one.version}"),
            Cell(rfc3339(one.at), "dim"),
            Cell("erased", "dim") if one.is_revoked else Cell("valid", "good"),
        )
        for one in found
    )
    return (Grid(("secret", "version", "set", "state"), rows),)


def of_volumes(found: Sequence[views.VolumeView]) -> tuple[Block, ...]:
    """Show volumes and what they take."""
    if not found:
        return (line("there is no volume", "dim"),)
    rows = tuple((Cell(one.service, "strong"), Cell(one.name), Cell(size(one.size))) for one in found)
    return (Grid(("service", "volume", "size"), rows, frozenset({"size"})),)


def of_collected(found: views.Collected, *, is_dry: bool) -> tuple[Block, ...]:
    """Show what was removed, and why the rest is kept."""
    verb = "would remove" if is_dry else "removed"
    kept = tuple((Cell(visible(one.what), "strong"), Cell(visible(one.reason), "dim")) for one in found.kept)
    total = f"{verb} {len(found.removed)} things, {size(found.freed)}" if found.removed else "nothing to remove"
    return (
        *(line(f"{verb} {one}") for one in found.removed),
        *((Grid(("kept", "because"), kept),) if kept else ()),
        line(total, "good"),
    )


def of_verified(found: views.Verified) -> tuple[Block, ...]:
    """Show whether a ledger holds."""
    if found.wrong:
        return (line(f"event {found.broken}: {found.wrong}", "bad"),)
    signed = f"; signed up to event {found.signed} by {found.key}" if found.signed else ""
    return (line(f"{found.events} events hold, up to {found.head}{signed}", "good"),)
