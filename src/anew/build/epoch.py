"""The one time that everything built carries, and the environment of every program that builds."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from types import MappingProxyType

EPOCH = 1735689600  # 2025-01-01T00:00:00Z
CREATED = "2025-01-01T00:00:00Z"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(EPOCH)}
)

_OCI_NAMES: Mapping[str, str] = MappingProxyType({"x86_64": "amd64", "aarch64": "arm64"})


def architecture() -> str:
    """Return this machine's architecture as OCI and Debian name it, like ``amd64``."""
    machine = platform.machine()
    return _OCI_NAMES.get(machine, machine)


def clamped(mtime: int) -> int:
    """Return the time that a layer has for a file: its own, but none after the epoch, and none before all times."""
    return min(max(mtime, 0), EPOCH)
