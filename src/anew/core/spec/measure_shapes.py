"""What the spec says of what is counted besides requests at the edge."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, WithJsonSchema, model_validator

from anew.core.spec import amounts as a
from anew.core.spec import fields as f
from anew.core.spec.head_shapes import Shape
from anew.core.spec.wrong import wrong
from anew.model import Criterion, Outcomes, Probe

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_CRITERION = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
_ADDRESS = re.compile(r"https?://([^\s/?#]+)(?:[/?][^\s#]*)?\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?\Z")
RESERVED = ("errors", "slowness", "probes", "outcomes", "harm", "safe")
MOST_PORT = 65_535
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


def _criterion_name(text: str) -> str:
    if not _CRITERION.match(text):
        raise wrong("a criterion's name is lower-case letters, digits and hyphens", "write `checkout`")
    if text in RESERVED:
        raise wrong("this name stands for what is judged anyway", "choose another: `checkout`")
    return text


def _address(text: str) -> str:
    found = _ADDRESS.match(text)
    if found is None or not text.isascii() or not text.isprintable():
        raise wrong("this is no address that can be asked", "write `http://HOST:PORT/PATH`, without blanks and `#`")
    if "@" in found[1]:
        raise wrong("a name or password has no place in this file", "remove it, with the `@`")
    host = _HOST.match(found[1])
    if host is None or (host[1] and not 0 < int(host[1]) <= MOST_PORT):
        raise wrong("there is no such host and port", f"write `http://HOST:PORT/`, with a port from 1 to {MOST_PORT}")
    return text


FileName = Annotated[str, AfterValidator(_file_name)]
MetricName = Annotated[str, AfterValidator(_metric_name)]
CriterionName = Annotated[str, AfterValidator(_criterion_name)]
Address = Annotated[str, AfterValidator(_address), WithJsonSchema({"type": "string", "pattern": "^https?://[^/@]+"})]


class CriterionShape(Shape):
    """Counts of good and bad since they began, of each group: asked for with `http`, or with `prometheus`.

    In an address or query `$group`, `$generation`, `$service`, `$environment` and `$project` stand for the names.
    """

    http: f.Maybe[Address] = None
    """The address that answers with JSON: `{"good": 120, "bad": 3}`."""
    prometheus: f.Maybe[Address] = None
    """The address of a Prometheus; its answers to `good` and `bad` are summed."""
    good: f.Maybe[f.Text] = None
    """The query for what was good: a counter that only grows, and no rate."""
    bad: f.Maybe[f.Text] = None
    """The query for what was bad; no result counts as 0."""
    tolerated: f.Maybe[a.Times] = None
    """As in the judge, for this criterion alone."""
    unacceptable: f.Maybe[a.Times] = None
    """As in the judge, for this criterion alone."""
    acceptable: f.Maybe[a.Chance] = None
    """As in the judge, for this criterion alone."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.http is None) == (self.prometheus is None):
            what = "a criterion is asked for with `http` or with `prometheus`, and this has "
            raise wrong(what + ("both" if self.http else "neither"), "write `http: URL`, or `prometheus: URL`")
        missing = [name for name in ("good", "bad") if getattr(self, name) is None]
        if self.prometheus is not None and missing:
            what = f"a Prometheus is asked two queries, and `{'` and `'.join(missing)}` is missing"
            raise wrong(what, 'write `good: orders_done_total{group="$group"}`, and `bad` likewise')
        if self.http is not None and len(missing) < len(("good", "bad")):
            raise wrong("queries go with `prometheus`, and this is `http`", "remove `good` and `bad`")
        if self.prometheus is not None and "?" in self.prometheus:
            raise wrong("the address of a Prometheus has no query", "remove `?` and what follows")
        return self

    def margins(self) -> dict[str, float]:
        """Return the margins that are said here."""
        names = ("tolerated", "unacceptable", "acceptable")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def criterion(self, name: str) -> Criterion:
        """Return what is said here."""
        return Criterion(
            name,
            self.http or "",
            self.prometheus or "",
            self.good or "",
            self.bad or "",
            self.tolerated,
            self.unacceptable,
            self.acceptable,
        )


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

    file: f.Maybe[FileName] = None
    """The file in which a worker writes them down, as often as it likes; `$OUTCOMES` is its path."""
    metrics: f.Maybe[f.UrlPath] = None
    """The path at which it answers with them: a service that speaks HTTP, or a worker, which gets a `$PORT` for it."""
    good: f.Maybe[MetricName] = None
    """The count of what ended well; `outcomes_good_total` if left out."""
    bad: f.Maybe[MetricName] = None
    """The count of what ended badly; `outcomes_bad_total` if left out."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.file is None) == (self.metrics is None):
            what = f"outcomes are in a `file` or at `metrics`, and this has {'both' if self.file else 'neither'}"
            raise wrong(what, "write `metrics: /metrics`, or for a worker `file: jobs.prom`")
        return self

    def outcomes(self) -> Outcomes:
        """Return what is said here, and the defaults for all else."""
        default = Outcomes()
        return Outcomes(self.file or "", self.good or default.good, self.bad or default.bad, self.metrics or "")
