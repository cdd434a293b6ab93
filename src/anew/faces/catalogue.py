"""Which commands there are, and which module has each: a call pays for the one command that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from types import MappingProxyType

import click

OF_MODULES: Mapping[str, tuple[str, ...]] = MappingProxyType(  # as they are used, not as they are spelled
    {
        "commands": (
            "plan",
            "build",
            "test",
            "up",
            "status",
            "rollback",
            "promote",
            "abort",
            "dispose",
            "releases",
            "history",
            "why",
            "logs",
            "doctor",
            "serve",
        ),
        "locking": ("lock", "outdated", "rebuild"),
        "vouching": ("verify",),
        "carrying": ("push", "pull"),
        "developing": ("dev",),
        "custody": ("secret", "volumes", "run", "gc", "schema", "completion"),
        "mending": ("debug", "rebirth"),
        "installing": ("install", "uninstall"),
    }
)
_MODULES: Mapping[str, str] = MappingProxyType({name: module for module, names in OF_MODULES.items() for name in names})


class Catalogue(MutableMapping[str, click.Command]):
    """All commands by their names, in the order in which they are listed: first those that were put in."""

    def __init__(self) -> None:
        self._put: dict[str, click.Command] = {}
        self._imported: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name in self._put:
            return self._put[name]
        if name not in self._imported:
            module = import_module(f"anew.faces.{_MODULES[name]}")
            self._imported.update((one.name, one) for one in module.COMMANDS)
        return self._imported[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._put[name] = command

    def __delitem__(self, name: str) -> None:
        del self._put[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._put, *_MODULES))

    def __len__(self) -> int:
        return len(self._put) + len(_MODULES)
