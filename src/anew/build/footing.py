"""What a build step stands on, and the key that says everything which led there.

Apart from what runs steps: an image whose inputs are known is recognised by such a key, and nothing is run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from anew.build.definition import Job
from anew.build.epoch import ENVIRONMENT
from anew.core.digest import digest
from anew.model import Digest
from anew.sandbox.powers import CAPABILITIES

_FORMAT = 1  # of what a step leaves; raised when the same step leaves another layer
_APPLIED = 1  # of what a playbook, a manifest or templates leave; likewise
_WHOLE_ROOT = 1  # of what a step on the machine's own root leaves; likewise

Lend = Callable[[str], bytes]  # the value of a secret of builds, by its name


@dataclass(frozen=True, slots=True)
class Base:
    """What a step builds on: layers, lowest first, and the key of everything that led to them."""

    layers: tuple[Digest, ...]
    key: Digest
    is_host: bool = False
    apt: tuple[str, ...] = ()  # for steps with network: lines of apt's sources, where the head has none of its own
    reused: int = 0  # steps that led here and were not run, because what they make was known
    since: float = 0.0  # when the oldest of what they made was made; 0: none
    has_run: bool = False  # whether any step that led here was run


def next_base(base: Base, job: Job) -> Base:
    """Return the base after a step, its layers not known yet: its key says everything that the step depends on.

    The values of secrets are no part of it: nothing of them may be in what the step makes.
    """
    step = job.step
    said: list[object] = [_FORMAT, base.key, step.run, step.network, sorted(ENVIRONMENT.items()), CAPABILITIES]
    more = {name: one for name, one in step.plain().items() if name not in {"run", "network", "name", "inputs"}}
    if more:
        said.append([_APPLIED, more, job.supply.files, job.supply.pin])
    if base.is_host:
        said.append(_WHOLE_ROOT)
    return replace(base, layers=(), key=digest(said))
