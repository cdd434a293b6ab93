"""What the spec says of how a new generation comes into traffic, and whom it is compared with."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Discriminator, Field, Tag, model_validator

from anew.core.spec import amounts as a
from anew.core.spec import fields as f
from anew.core.spec.head_shapes import Shape
from anew.core.spec.judge_shapes import JudgeShape
from anew.core.spec.measure_shapes import ProbeShape
from anew.core.spec.wrong import wrong
from anew.model import FULL, Baseline, OnUndecided, Policy

MOST_CONTROL = FULL // 2
LEAST_FRESH = 2  # one in a thousand each
TEXT, MAPPING = "<text>", "<mapping>"  # how pydantic names the two ways to write a value


class WarmShape(Shape):
    """How long the old instances keep running after the switch, and what they are still used for."""

    for_: Annotated[f.Maybe[a.Duration], Field(alias="for")] = None
    """They keep running so long; `30m` if left out."""
    control: a.Share
    """So much of the traffic stays with them, and the new ones are compared with them on."""

    @model_validator(mode="after")
    def _is_a_control(self) -> Self:
        if self.control > MOST_CONTROL:
            raise wrong("the old group would keep more than half", f"write `control: {MOST_CONTROL / 10:g}%` or less")
        if self.for_ == 0:
            raise wrong("the old group would keep traffic for no time", "write `for: 30m`, or `warm: 0s` alone")
        return self


def _warm_way(value: object) -> str:
    return MAPPING if isinstance(value, (dict, WarmShape)) else TEXT


Warm = Annotated[
    Annotated[a.Duration, Tag(TEXT)] | Annotated[WarmShape, Tag(MAPPING)],
    Discriminator(_warm_way),
]


class RolloutShape(Shape):
    """How a new generation comes into traffic."""

    stages: f.Maybe[list[a.Share]] = None
    """Shares of the traffic, ascending; all of it follows anyway, so `100%` at the end may be left out."""
    each: f.Maybe[a.Duration] = None
    """A stage lasts at least this long; `10s` if left out."""
    at_most: f.Maybe[a.Wait] = None
    """A stage waits this long for evidence; `60s` if left out."""
    on_undecided: f.Maybe[OnUndecided] = None
    """What becomes of a stage whose `at_most` is over without enough evidence; as the environment says if left out."""
    ready: f.Maybe[a.Wait] = None
    """New instances become ready within this, or the rollout goes back; `60s` if left out."""
    warm: f.Maybe[Warm] = None
    """The old instances keep running this long after the switch; `30m` if left out. `{for: 30m, control: 2%}`."""
    drain: f.Maybe[a.Duration] = None
    """Requests in flight may take this long before an instance is stopped; `30s` if left out."""
    baseline: Baseline = "old"
    """With whom the new instances are compared: the `old` ones, or new ones of the old generation (`fresh`)."""
    control: f.Maybe[a.Share] = None
    """The part of the traffic that a judged stage leaves the old group at least; `2%` if left out."""
    judge: f.Maybe[JudgeShape] = None
    """How the new group is compared with the old one in each stage."""
    probes: f.Maybe[list[ProbeShape]] = None
    """Requests of the keeper's own that are compared besides the traffic, where there is little of that."""
    grace: f.Maybe[a.Duration] = None
    """From SIGTERM to SIGKILL; `10s` if left out."""
    sticky: f.Sticky = "none"
    """What keeps a client on one side while weights grow: `cookie`, `address`, `header:NAME`, or `none`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        stages = self.stages or []
        for before, after in pairwise(stages):
            if after <= before:
                raise wrong(f"stages ascend, and {after / 10:g}% follows {before / 10:g}%", "write them in order")
        default = Policy()
        control = default.control if self.control is None else self.control
        if control > MOST_CONTROL:
            raise wrong("the old group would keep more than half", f"write `control: {MOST_CONTROL / 10:g}%` or less")
        for share in stages:
            if FULL - control < share < FULL:
                what = f"a stage of {share / 10:g}% leaves the old group less than {control / 10:g}%"
                raise wrong(f"{what}, too little to compare with", f"write `{(FULL - control) / 10:g}%`, or `100%`")
        if self.baseline == "fresh" and control < LEAST_FRESH:
            what = "the old group and its baseline can't share less than 0.2%"
            raise wrong(what, "write `control: 0.2%` or more, or no `baseline`")
        each = default.each if self.each is None else self.each
        at_most = default.at_most if self.at_most is None else self.at_most
        if at_most < each and self.stages != []:
            what = f"a stage would wait {at_most:g} s for evidence and last {each:g} s at least"
            raise wrong(what, f"write `at_most: {each:g}s` or more")
        return self
