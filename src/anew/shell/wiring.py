"""More of the composition root: what `__main__` has no room for. Like it, it knows concrete classes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from anew.build.store import ImageStore
    from anew.core.steps import Step
    from anew.model import Image
    from anew.model.comparison import ImageComparison


def compare_images(store: ImageStore, before: Image, after: Image) -> ImageComparison:
    """Return what differs between two images of a store."""
    from anew.build.comparison import compared

    return compared(store, before, after)


def faults() -> Callable[[str, Step], None]:
    """Return what to do around each step: nothing, unless a test asks for faults."""
    asked = os.environ.get("ANEW_FAULT")
    if not asked:
        return lambda _moment, _step: None
    from anew.testing.faults import around

    return around(asked)
