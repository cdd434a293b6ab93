"""Whether the heads of a release are too old for an environment, as its `max_os_age` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anew.core import ageing
from anew.errors import GateClosed

if TYPE_CHECKING:
    from anew.core.ageing import Aged
    from anew.model import Environment, Part, Release, Spec
    from anew.ports import Say
    from anew.shell.parts import Making
    from anew.views import HeadView


def require_young(
    release: Release, heads: Sequence[Aged], environment: Environment, say: Say, *, is_there: bool
) -> None:
    """Say which heads of a release are too old for an environment.

    What is wanted there already (`is_there`) is not brought there, so it is only told.
    Raises  GateClosed if one is older than the environment takes.
    """
    refused = []
    for one in heads:
        kind, bound = ageing.exceeded(one.age, environment.max_os_age)
        if kind == "refuse" and not is_there:
            refused.append((one.head, ageing.sentence(one, bound)))
        elif kind:
            say(f"{release.name}: {ageing.sentence(one, bound)}; `anew lock --update {one.head}` moves it")
    if refused:
        names = " ".join(name for name, _ in refused)
        raise GateClosed(
            f"{release.name} is not brought to {environment.name}: {'; '.join(text for _, text in refused)}",
            where="anew.yaml max_os_age",
            hint=f"`anew lock --update {names}`, then `anew up -e {environment.name}`; `rollback` is never refused",
        )


def of_parts(making: Making, parts: Iterable[Part], made: float, now: float) -> tuple[Aged, ...]:
    """Return the heads of parts that have an age, also of images that are not built yet.

    `made` is when their release was; 0.0 if there is none yet.
    """
    times = [(part.service.name, making.head_time(part.image, part.service.os)) for part in parts]
    return ageing.aged(times, made, now)


def notes(heads: Iterable[Aged], environment: Environment) -> tuple[str, ...]:
    """Return what there is to tell of the age of heads in an environment."""
    out = []
    for one in heads:
        kind, bound = ageing.exceeded(one.age, environment.max_os_age)
        if kind:
            out.append(ageing.sentence(one, bound) + ("; `up` refuses it" if kind == "refuse" else ""))
    return tuple(out)


def overdue(views: Iterable[HeadView], spec: Spec) -> tuple[HeadView, ...]:
    """Return the views with the environments for which a head is too old."""
    out = []
    for one in views:
        told = []
        for environment in spec.environments:
            kind, bound = (
                ageing.exceeded(one.age, environment.max_os_age) if one.resolved and one.source != "file" else ("", 0.0)
            )
            if kind:
                verb = "takes none" if kind == "refuse" else "warns of what is"
                told.append(f"{environment.name} {verb} older than {ageing.spelled(bound)}")
        out.append(replace(one, overdue=tuple(told)))
    return tuple(out)
