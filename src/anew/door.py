"""Doors: packages whose names are imported from the package, while each of its modules waits until it is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def door(package: str, behind: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package, given the names that each of its modules has.

    A module is imported when the first of its names is asked for, and from then on the package has that name.
    """
    modules = {name: module for module, names in behind.items() for name in names}

    def find(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
