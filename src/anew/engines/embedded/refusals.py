"""What bubblewrap says when it can't make a sandbox, as errors that tell what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

from anew.errors import AnewError, EngineError, NotFound, Unsupported

SWITCHES = (  # file, value that forbids, how to allow
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
)
_NAMESPACES = re.compile(
    r"No permissions to creat|Creating new namespace failed|setting up uid map|user namespaces|loopback: Failed"
)
_PROC = re.compile(r"Can't mount proc")
_OVERLAY = re.compile(
    r"[Cc]an't make overlay mount|overlay.*(Invalid argument|Too many levels|Operation not permitted)"
)
_SOURCE = re.compile(r"Can't find source path (?P<path>[^:]+)")
INSIDE = "anew runs inside a container that forbids it: give that container --privileged, or run anew beside it"


def forbidding() -> tuple[str, ...]:
    """Return the commands that allow user namespaces on this machine; () if nothing forbids them."""
    return tuple(act for file, forbidden, act in SWITCHES if _value(file) == forbidden)


def as_error(message: str, command: str, where: str) -> AnewError:
    """Return the error for what bubblewrap said: Unsupported if this machine can't, else NotFound or EngineError."""
    facts = {"command": command}
    if _NAMESPACES.search(message):
        acts = forbidding()
        hint = "as root: " + "; ".join(acts) if acts else INSIDE
        return Unsupported(f"user namespaces are not allowed here: {message}", where=where, hint=hint, facts=facts)
    if _PROC.search(message):
        return Unsupported(f"a sandbox can't have a /proc here: {message}", where=where, hint=INSIDE, facts=facts)
    if _OVERLAY.search(message):
        hint = "keep anew's state on a local file system (ext4, xfs, btrfs, tmpfs), with Linux 5.11 or newer"
        return Unsupported(f"layers can't be stacked here: {message}", where=where, hint=hint, facts=facts)
    found = _SOURCE.search(message)
    if found is not None:
        hint = "if it is there, let every uid enter the folders that lead to it (chmod o+x)"
        return NotFound(f"the sandbox does not find {found['path']}", where=where, hint=hint, facts=facts)
    said = message or "bubblewrap ended without a word"
    return EngineError(f"the sandbox does not start: {said}", where=where, hint="try: anew doctor", facts=facts)


def _value(file: str) -> str:
    path = Path(file)
    return path.read_text("ascii").strip() if path.exists() else ""
