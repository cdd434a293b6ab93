"""Whether a finished image has what it should not have: all layers together, against the rules of hygiene.

::

    scans/HEX.json       per layer: what it tells by itself (`anew.build.scan`)
    findings/HEX.json    per manifest digest: what was found, before anything is allowed

Rules: what a higher layer hides is no finding, unless the layer's bytes hold it all the same (`Rule.stays`); what the
head has of some rules is its own business (`Rule.is_of_head`); allowances are applied last, so that changing them
reads nothing again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from anew.build.store import ImageStore
from anew.errors import Complaint, GateClosed
from anew.model import Allowance, Finding, Image
from anew.model.hygiene import BY_ID, UNUSED, VERSION

_MOST_LINES = 100  # of an error; JSON has all of them
_PLAIN = re.compile(r"/[\w./+@-]*")  # of paths: what YAML takes without quotes
_GLOB = re.compile(r"\*\*|\*|\?|[^*?]+")


@dataclass(frozen=True, slots=True)
class _Findings:
    version: int
    findings: tuple[Finding, ...]


def inspected(store: ImageStore, image: Image) -> tuple[Finding, ...]:
    """Return all that the rules find in an image, nothing allowed yet; sorted, and remembered.

    Raises  NotFound or Conflict if a layer is not in the store as it should be.
    """
    known = store.noted("findings", image.digest, _Findings)
    if known is not None and known.version == VERSION:
        return known.findings
    from anew.build.stacking import found as looked  # noqa: PLC0415 - an image that is known pays nothing for the rules

    found = tuple(sorted(looked(store, image), key=lambda one: (one.severity, one.rule, one.path)))
    store.note("findings", image.digest, _Findings(VERSION, found))
    return found


def judged(findings: Sequence[Finding], allowances: Sequence[Allowance]) -> tuple[Finding, ...]:
    """Return the findings, those that are allowed with the reason; and one for each allowance that nothing needs."""
    patterns = [(one, _pattern(one.path)) for one in allowances]
    used: set[Allowance] = set()
    out = []
    for finding in findings:
        fits = [one for one, pattern in patterns if one.rule == finding.rule and pattern.fullmatch(finding.path)]
        used.update(fits)
        out.append(_with_reason(finding, fits[0].why) if fits else finding)
    rule = BY_ID[UNUSED]
    for one in allowances:
        if one not in used:
            text = f"it allows {one.rule}, and the image has none there"
            out.append(Finding(UNUSED, rule.severity, one.path, text, rule.remedy))
    return tuple(out)


def require(service: str, findings: Sequence[Finding]) -> None:
    """Raise GateClosed with everything for which the image is refused."""
    refused = [one for one in findings if one.severity == "refuse" and not one.allowed]
    if not refused:
        return
    example = f"hygiene: [{{allow: {refused[0].rule}, path: {_quoted(refused[0].path)}, why: …}}]"
    complaints = [_complaint(service, one) for one in refused[:_MOST_LINES]]
    facts = {"or": f"if it must be there: {example} under services.{service} in anew.yaml"}
    if len(refused) == 1:
        (only,) = complaints
        raise GateClosed(only.what, where=only.where, hint=only.hint, facts=facts, complaints=complaints)
    if len(refused) > _MOST_LINES:
        facts["more"] = f"{len(refused) - _MOST_LINES} findings besides these"
    raise GateClosed(
        f"the image of {service} is refused for {len(refused)} findings",
        where=f"anew.yaml services.{service}",
        hint="mend them, or allow each with a reason",
        facts=facts,
        complaints=complaints,
    )


def _quoted(path: str) -> str:
    """Return a path as YAML takes it."""
    return path if _PLAIN.fullmatch(path) else json.dumps(path, ensure_ascii=False)


def _complaint(service: str, one: Finding) -> Complaint:
    return Complaint(f"{one.rule}: {one.text}", f"the image of {service}: {one.path}", one.remedy)


def _with_reason(one: Finding, why: str) -> Finding:
    return Finding(one.rule, one.severity, one.path, one.text, one.remedy, why)


def _pattern(path: str) -> re.Pattern[str]:
    """Return what a path of the spec matches; what ends with `/**` is the folder too."""
    folder = path.removesuffix("/**")
    made = "".join(_piece(piece) for piece in _GLOB.findall(folder))
    return re.compile(made + ("(?:/.*)?" if folder != path else ""), re.DOTALL)


def _piece(piece: str) -> str:
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return wild.get(piece) or re.escape(piece)
