"""What refers to a manifest: the referrers API where a registry has it, else the list under the tag that stands for it.

The list under the tag is read, added to, and written; as nothing keeps two from doing so at once, it is read again
afterwards, until what was added stands in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anew.core.digest import canonical
from anew.errors import Conflict
from anew.model import Digest
from anew.registry.client import INDEX, Described, Registry, described

_ATTEMPTS = 8
_MOST = 10_000
_NO_API = frozenset({400, 404, 405, 501})


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest whose subject is another one."""

    described: Described
    kind: str  # its `artifactType`
    annotations: tuple[tuple[str, str], ...] = ()

    def text(self) -> dict[str, object]:
        """Return it as an index has it."""
        one = self.described
        text: dict[str, object] = {"mediaType": one.media, "digest": one.digest, "size": one.size}
        return (
            text | {"artifactType": self.kind} | ({"annotations": dict(self.annotations)} if self.annotations else {})
        )


def tag_of(subject: Digest) -> str:
    """Return the tag that stands for what refers to a manifest.

    >>> tag_of("sha256:ab")
    'sha256-ab'
    """
    return subject.replace(":", "-", 1)


def referrers(registry: Registry, subject: Digest) -> tuple[Referrer, ...]:
    """Return what refers to a manifest; the list says only where things are, and is not to be believed."""
    found: list[Mapping[str, Any]] = []
    for page in registry.pages(f"/referrers/{subject}", {"Accept": INDEX}, without=_NO_API):
        if page is None:
            return _listed(registry, subject)
        found += _entries(page)
        if len(found) >= _MOST:
            break
    return _understood(found)


def add(registry: Registry, subject: Digest, new: Sequence[Referrer]) -> None:
    """Have `new` in the list under the subject's tag, for a registry that keeps none by itself. Idempotent.

    Raises  Conflict if others write there all the time.
    """
    for _ in range(_ATTEMPTS):
        text = registry.text(tag_of(subject))
        before = list(text.said.get("manifests") or []) if text is not None else []
        known = {one.get("digest") for one in before if isinstance(one, dict)}
        missing = [one for one in new if one.described.digest not in known]
        if not missing:
            return
        entries = [*before, *(one.text() for one in missing)]
        registry.put(tag_of(subject), canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}), INDEX)
    raise Conflict(
        "others write the list of what is said of an image at the same time",
        where=f"{registry.repository}:{tag_of(subject)}",
        hint="push again when they have ended",
    )


def _listed(registry: Registry, subject: Digest) -> tuple[Referrer, ...]:
    text = registry.text(tag_of(subject))
    return _understood(_entries(text.said)) if text is not None else ()


def _entries(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = said.get("manifests")
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _understood(entries: Sequence[Mapping[str, Any]]) -> tuple[Referrer, ...]:
    found = {}
    for one in entries:
        try:
            named = described(one, "")
        except Conflict:  # somebody else's list: what can't be followed is none of ours
            continue
        said = one.get("annotations")
        annotations = {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}
        kind = str(one.get("artifactType") or "")
        found[named.digest] = Referrer(named, kind, tuple(sorted(annotations.items())))
    return tuple(found.values())
