"""What is said of results that were used again: which inputs matched, how old they are, whether they come out alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from anew.build import lock
from anew.build.definition import Job
from anew.build.heads import Heads
from anew.build.store import ImageStore
from anew.errors import NotFound
from anew.model import Digest, Head, HostHead, Image, Seconds, Service
from anew.ports import Say
from anew.views import HeadUsed

_SHOWN = 10  # paths that a step made


def heads(known: Heads, head: Head, jobs: Sequence[Job]) -> tuple[HeadUsed, ...]:
    """Return the heads of an image and how long ago each was resolved: its own, then those of its tools."""
    tools = dict.fromkeys(job.supply.tool.head for job in jobs if job.supply.tool is not None)
    return tuple(HeadUsed(one.name, _age(known, one)) for one in (head, *tools))


def _age(known: Heads, head: Head) -> Seconds:
    pinned = None if isinstance(head, HostHead) else known.pinned(head)
    return age(lock.seconds(pinned.resolved)) if pinned else 0.0


def age(at: float) -> Seconds:
    """Return how long ago something was made; 0 if that is not known."""
    return max(0.0, time.time() - at) if at else 0.0


def verdict(before: Image | None, now: Image) -> Literal["", "same", "differs"]:
    """Say whether an image that was made again came out as it was; "" if there was none."""
    if before is None:
        return ""
    return "same" if before.digest == now.digest else "differs"


def compared(store: ImageStore, before: Image | None, now: Image, say: Say) -> Image:
    """Return an image that was made again; marked as not reproducible, with a word, if it came out otherwise."""
    if verdict(before, now) != "differs":
        return now
    image = replace(now, is_reproducible=False)
    store.remember(image)
    say("not reproducible: the same inputs made another image than before")
    return image


def place_of(service: Service, step: str) -> int:
    """Return the number of a step, given by its name or its number. Raises NotFound with those that there are."""
    for number, one in enumerate(service.build):
        if step in {one.name, str(number)}:
            return number
    known = ", ".join(one.name or str(number) for number, one in enumerate(service.build))
    raise NotFound(
        f"{service.name} has no build step {step!r}",
        where=f"anew.yaml services.{service.name}.build",
        hint=f"its steps are: {known}" if known else "it has none",
    )


def tell_of(store: ImageStore, job: Job, made: Sequence[Digest], say: Say) -> None:
    """Say what a step made, and where to look at it."""
    nodes = [node for layer in made for node in store.listing(layer)]
    say(f"{job.title} made {len(nodes)} path{'' if len(nodes) == 1 else 's'}")
    for node in nodes[:_SHOWN]:
        say(f"    /{node.path}{' (removed)' if node.kind == 'whiteout' else ''}")
    if len(nodes) > _SHOWN:
        say(f"    and {len(nodes) - _SHOWN} more")
    for layer in made:
        say(f"they lie in {store.tree(layer)}, to be looked at and not to be changed")
