"""What there is to show of a generation: in plain words, what it runs, how it went, and how its instances ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from anew.faces.blocks import line, rfc3339, size
from anew.faces.charts import of_judgements

if TYPE_CHECKING:
    from anew import views
    from anew.faces.blocks import Block, Tone


def of_why(one: views.Why) -> tuple[Block, ...]:
    """Show why a generation is what it is."""
    tone: Tone = "bad" if one.outcome == "rolled back" else "good" if one.outcome in {"serves", "promoted"} else ""
    since = f", sealed {rfc3339(one.at)}" + (f" when {one.before} served" if one.before else "")
    out: list[Block] = [line(f"{one.generation} of {one.release} {_said(one)}{since}", tone)]
    if one.reason:
        out.append(line(one.reason, depth=1))
    for sealed in one.sealed:
        out.extend(_sealed(sealed))
    if one.course:
        out.append(line("how it went", "strong"))
        out.extend(line(f"{rfc3339(event.at)}  {event.text}", depth=1) for event in one.course)
    if one.judgements:
        out.append(line("what was judged", "strong"))
        out.extend(of_judgements(one.judgements))
    for autopsy in one.instances:
        out.extend(_autopsy(autopsy))
    return tuple(out)


def _said(one: views.Why) -> str:
    return {"serves": "serves", "sealed": "was sealed"}.get(one.outcome, f"was {one.outcome}")


def _sealed(one: views.Sealed) -> Iterator[Block]:
    yield line(f"{one.service}: {one.size} of {one.group}, image {one.image.removeprefix('sha256:')[:12]}", "strong")
    yield line(f"runs {' '.join(one.command)}", depth=1)
    if one.flags:
        yield line("flags " + ", ".join(f"{name}={value}" for name, value in one.flags.items()), depth=1)
    if one.secrets:
        yield line(f"secrets {', '.join(one.secrets)}", depth=1)
    if one.limits:
        yield line(f"limits {', '.join(_limits(one.limits))}", depth=1)


def _autopsy(one: views.Autopsy) -> Iterator[Block]:
    memory = f", at most {size(one.peak_memory)} of memory" if one.peak_memory else ""
    yield line(f"{one.instance}: {one.outcome}{memory}", "bad" if one.is_death else "warn" if one.tainted else "dim")
    if one.ordered is not None:
        yield line("was given " + ", ".join(_given(one.ordered)), depth=1)
    for text in one.changed:
        yield line(text, depth=1)
    if one.more_changed:
        yield line(f"and {one.more_changed} more files", depth=1)
    for text in one.last:
        yield line(text, depth=2)


def _given(one: views.Ordered) -> Iterator[str]:
    yield f"image {one.image.removeprefix('sha256:')[:12]}"
    yield from (f"{name}={value}" for name, value in one.environment.items())
    yield from (f"secret {secret}" for secret in one.secrets)
    yield from (f"volume {name} at {place}" for name, place in one.volumes.items())
    yield from (f"{place} to write to" for place in one.writable)
    yield from (f"at most {text}" for text in _limits(one.limits))


def _limits(every: Mapping[str, float]) -> Iterator[str]:
    return (f"{name} {size(int(value)) if name == 'memory' else f'{value:g}'}" for name, value in every.items())
