"""More of the composition root: what `__main__` has no room for. Like it, it knows concrete classes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anew.build.carriage import Carriage
    from anew.build.store import ImageStore
    from anew.core.steps import Step


def carriage(home: Path, store: ImageStore) -> Carriage:
    """Return what brings releases to registries and from there."""
    from anew.build.carriage import Carriage

    return Carriage(store, home / "registry")


def faults() -> Callable[[str, Step], None]:
    """Return what to do around each step: nothing, unless a test asks for faults."""
    asked = os.environ.get("ANEW_FAULT")
    if not asked:
        return lambda _moment, _step: None
    from anew.testing.faults import around

    return around(asked)
