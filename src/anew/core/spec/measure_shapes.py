"""What the spec says of what is counted besides requests at the edge."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from anew.core.spec import amounts as a
from anew.core.spec import fields as f
from anew.core.spec.head_shapes import Shape
from anew.core.spec.wrong import wrong
from anew.model import Outcomes, Probe

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}\Z")


def _file_name(text: str) -> str:
    if not _FILE.match(text):
        what = "this is the name of a file in a folder that each instance has for it, and no path"
        raise wrong(what, "write `jobs.prom`, and let the program write to $OUTCOMES")
    return text


def _metric_name(text: str) -> str:
    if not _METRIC.match(text):
        raise wrong("this is no name of a metric", "write letters, digits and underscores: `jobs_done_total`")
    return text


FileName = Annotated[str, AfterValidator(_file_name)]
MetricName = Annotated[str, AfterValidator(_metric_name)]


class ProbeShape(Shape):
    """A request that is sent to both groups in every stage, again and again, besides the traffic."""

    get: f.UrlPath
    """The path to ask for; an answer below 500 is good."""
    every: f.Maybe[a.Every] = None
    """How often; `1s` if left out."""

    def probe(self) -> Probe:
        """Return what is said here, and the default for all else."""
        return Probe(self.get) if self.every is None else Probe(self.get, self.every)


class OutcomesShape(Shape):
    """Counts of what became of the work of an instance since it began, in the text format of Prometheus."""

    file: FileName
    """The file in which it writes them down, as often as it likes; `$OUTCOMES` is its path."""
    good: f.Maybe[MetricName] = None
    """The count of what ended well; `outcomes_good_total` if left out."""
    bad: f.Maybe[MetricName] = None
    """The count of what ended badly; `outcomes_bad_total` if left out."""

    def outcomes(self) -> Outcomes:
        """Return what is said here, and the defaults for all else."""
        default = Outcomes(self.file)
        return Outcomes(self.file, self.good or default.good, self.bad or default.bad)
