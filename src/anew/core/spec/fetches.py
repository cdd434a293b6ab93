"""What a service fetches: addresses that can be believed, and a target of its own for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from anew.core.spec.tree import Path, Tree, mapping, shortened
from anew.errors import Complaint

_WITHOUT_ENCRYPTION = re.compile(r"http://(?!(?:localhost|127\.[0-9.]+|\[::1\])(?::[0-9]+)?/)")


def file_name(url: str) -> str:
    """Return the name of the file at an address; "" if it has none.

    >>> file_name("https://example.com/a/tool-1.2.tar.gz?x=1/2"), file_name("https://example.com/")
    ('tool-1.2.tar.gz', '')
    """
    return url.partition("?")[0].rpartition("/")[2]


def check(tree: Tree, path: Path, service: Mapping[str, object]) -> Iterator[Complaint]:
    """Yield a complaint for every file that nobody could check, that has no name, or whose target is taken."""
    copied = {target.rstrip("/") for target in mapping(service.get("copy")).values() if isinstance(target, str)}
    first: dict[str, str] = {}
    for url, said in mapping(service.get("fetch")).items():
        there = (*path, url)
        if _WITHOUT_ENCRYPTION.match(url) and "sha256" not in mapping(said):
            what = "what comes without encryption can be anybody's"
            yield tree.complaint(there, what, "write `https://`, or a mapping with its `sha256`")
        target = mapping(said).get("to") if isinstance(said, dict) else said
        if not isinstance(target, str):
            continue
        if target.endswith("/") and file_name(url) in {"", ".", ".."}:
            yield tree.complaint(there, "this address ends without the name of a file", "write a target with one")
            continue
        full = target + file_name(url) if target.endswith("/") else target
        if target.endswith("/") and file_name(url).startswith(".wh."):
            yield tree.complaint(there, "names that begin with `.wh.` mark removals in images", "choose another target")
        if full in first:
            what = f"`{shortened(full)}` is fetched twice, also from `{shortened(first[full])}`"
            yield tree.complaint(there, what, "choose another target for one of them")
        elif full in copied:
            yield tree.complaint(there, f"`{shortened(full)}` is the target of a copy too", "choose another target")
        first.setdefault(full, url)
