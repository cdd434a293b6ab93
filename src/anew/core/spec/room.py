"""How long a name may be: project, environment and service stand together in the names of instances."""

from __future__ import annotations

import re

from anew.core.names import MOST, SUFFIX, is_label
from anew.core.spec.fields import GROUP_LIKE
from anew.core.spec.tree import Path, mapping

TOGETHER = MOST - len(SUFFIX) - 2  # characters of the three names, without the hyphens between them


def room(root: dict[str, object], path: Path) -> int:
    """Return how many characters are left for the name at `path`, next to the longest of the other two kinds."""
    project = root.get("project")
    used = {
        "project": len(project) if isinstance(project, str) else 1,
        "services": max(map(len, mapping(root.get("services"))), default=1),
        "environments": max(map(len, mapping(root.get("environments")) or ("local",))),
    }
    return TOGETHER - sum(length for part, length in used.items() if part != path[0])


def advice(name: str, root: dict[str, object], path: Path) -> str:
    """Say how to write the name at `path`, so that it is a label and fits."""
    most = room(root, path)
    fixed = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not is_label(fixed[:1]):
        return "begin with a letter: `web`"
    if most < 1:
        together = f"project, environment and service have {TOGETHER} characters together"
        better = f"write `{fixed}`, and " if fixed != name and len(fixed) <= TOGETHER else ""
        return f"{better}shorten the two others: {together}"
    if len(fixed) <= most and not GROUP_LIKE.match(fixed):
        return f"write `{fixed}`"
    cut = _cut(fixed, most)
    is_free = cut not in mapping(root.get(str(path[0]))) and not GROUP_LIKE.match(cut)
    return f"at most {most} characters are left for it" + (f", as in `{cut}`" if is_free else "")


def _cut(name: str, most: int) -> str:
    """Shorten a name, at a hyphen if it has one."""
    words, hyphen, _ = name[: most + 1].rpartition("-")
    return words if hyphen else name[:most]
