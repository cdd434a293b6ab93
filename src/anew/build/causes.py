"""What differs between two makings of one image, and why: most causes are old acquaintances."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from anew.build.listing import Node
from anew.build.stack import Stack
from anew.views import Difference

_MOST = 1 << 20  # bytes of a file that are looked into
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"

# What is known of a path, whatever is in the file.
_BY_PATH: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (r"etc/ssl/(certs/ssl-cert-snakeoil\.pem|private/ssl-cert-snakeoil\.key)", "ssl-cert makes a key at random"),
        (r"etc/ssl/certs/[0-9a-f]{8}\.\d+", "the name is a hash of a certificate that is made at random"),
        (r"var/lib/(postgresql|mysql)/.*", "the package makes a database when it is installed, with a random identity"),
        (r"(.*/)?__pycache__/.*\.pyc|.*\.pyc", "compiled Python holds the time of its source, unless told otherwise"),
        (r"etc/shadow", "an account holds the day on which it was made"),
        (r"(.*/)?\.(bash|python|node_repl)_history", "a shell kept its history"),
        (r"(.*/)?(tmp|temp|\.cache)/.*", "a program's cache was left behind"),
        (r".*\.log(\.\d+)?", "a log tells when it was written"),
    )
)
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_TIME = re.compile(
    "|".join(
        (
            r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z| ?[+-]\d\d:?\d\d)?)?",
            r"\d{1,2}:\d\d:\d\d(?:\.\d+)?",
            rf"(?:{_MONTH} +\d{{1,2}}|\d{{1,2}} {_MONTH})(?:,? +\d{{4}})?",
            r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*",
            r"\b1[6-9]\d{8}(?:\.\d+|\d{3,9})?\b",  # seconds since 1970, or parts of them
            r"\b20\d{6}(?:T?\d{4,6}Z?)?\b",
        )
    )
)
_RANDOM = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[A-Za-z0-9+/_=-]{16,}"
)
_NUMBER = re.compile(r"\d+")


def differences(before: Stack, after: Stack) -> Iterator[Difference]:
    """Yield every path that differs, sorted."""
    old, new = before.tree(), after.tree()
    for path in sorted(old.keys() | new.keys()):
        was, now = old.get(path), new.get(path)
        if was == now:
            continue
        if was is None or now is None:
            yield Difference(path, "only now" if was is None else "only before", _of_path(path))
        elif was.kind != now.kind:
            yield Difference(path, f"{was.kind} before, {now.kind} now", _of_path(path))
        elif was.content == now.content:
            yield Difference(path, attributes(was, now), "")
        else:
            cause = _of_path(path)
            if not cause and was.kind == "file":
                cause = _of_content(before.content(path, _MOST), after.content(path, _MOST))
            yield Difference(path, "content", cause)


def attributes(was: Node, now: Node) -> str:
    """Return how two nodes of one kind differ besides their contents; "" if they don't."""
    told = []
    if was.mode != now.mode:
        told.append(f"mode {was.mode:o} before, {now.mode:o} now")
    if (was.uid, was.gid) != (now.uid, now.gid):
        told.append(f"owner {was.uid}:{was.gid} before, {now.uid}:{now.gid} now")
    if was.xattrs != now.xattrs:
        told.append("extended attributes")
    return ", ".join(told)


def _of_path(path: str) -> str:
    return next((cause for pattern, cause in _BY_PATH if pattern.fullmatch(path)), "")


def _of_content(was: bytes, now: bytes) -> str:
    if was.startswith(_GZIP) and now.startswith(_GZIP) and was[8:] == now[8:]:
        return "the header of a compressed file holds the time"
    if was.startswith(_ZIP) and now.startswith(_ZIP) and len(was) == len(now):
        return "an archive holds the times of its files"
    try:
        old, new = was.decode(), now.decode()
    except UnicodeDecodeError:
        old, new = was.decode("latin-1"), now.decode("latin-1")
    if sorted(old.splitlines()) == sorted(new.splitlines()):
        return "its lines come in another order"
    tests: tuple[tuple[Callable[[str], str], str], ...] = (
        (lambda text: _TIME.sub("", text), "it holds the time at which it was made"),
        (lambda text: _RANDOM.sub("", text), "it holds something random"),
        (lambda text: _RANDOM.sub("", _TIME.sub("", text)), "it holds a time and something random"),
        (lambda text: _NUMBER.sub("", text), "it holds a number that is another one each time"),
    )
    for masked, cause in tests:
        if masked(old) == masked(new):
            return cause
    return ""
