"""What the spec says of the judge of a rollout."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Self

from pydantic import model_validator

from anew.core.spec import amounts as a
from anew.core.spec import fields as f
from anew.core.spec.head_shapes import Shape
from anew.core.spec.measure_shapes import CriterionName, CriterionShape
from anew.core.spec.wrong import wrong
from anew.model import Judge


class JudgeShape(Shape):
    """From when on a new group is worse than the old one, and how often that may be said wrongly."""

    tolerated: f.Maybe[a.Times] = None
    """So many times the old group's odds of failing are never held against the new one; `1.2` if left out."""
    unacceptable: f.Maybe[a.Times] = None
    """A stage is passed once the odds can't be so many times the old group's; `2` if left out."""
    acceptable: f.Maybe[a.Chance] = None
    """A stage is passed as well once no such part of the requests can be failing; `0.5%` if left out."""
    alpha: f.Maybe[a.Chance] = None
    """The chance, over a whole rollout, that a release as good as the old one is taken back; `1%` if left out."""
    beta: f.Maybe[a.Chance] = None
    """The chance that a release which is unacceptable passes; `5%` if left out."""

    slow: f.Maybe[a.Quantile] = None
    """The quantile of the old group's times above which an answer is slow: `p95`; `never`, if left out, judges none."""
    criteria: f.Maybe[dict[CriterionName, CriterionShape]] = None
    """What else is judged besides errors, by name: counts of good and bad that are asked for elsewhere."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        judge = self.judge()
        for name, criterion in (self.criteria or {}).items():
            own = replace(judge, **criterion.margins())
            if own.unacceptable <= own.tolerated:
                what = f"what is unacceptable by `{name}` ({own.unacceptable:g} times) must be more than what is"
                raise wrong(f"{what} tolerated ({own.tolerated:g} times)", "write a larger `unacceptable` there")
        if judge.unacceptable <= judge.tolerated:
            what = f"what is unacceptable ({judge.unacceptable:g} times) must be more than what is tolerated"
            raise wrong(f"{what} ({judge.tolerated:g} times)", "write a larger `unacceptable` or a smaller `tolerated`")
        if not (judge.alpha and judge.beta):
            raise wrong("no verdict is ever free of doubt", "write `0.1%` or more for `alpha` and `beta`")
        return self

    def judge(self) -> Judge:
        """Return what is said here, and the defaults for all else."""
        names = [field.name for field in fields(Judge)]
        return Judge(**{name: value for name in names if (value := getattr(self, name)) is not None})
