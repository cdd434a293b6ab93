"""The files of an image, as all its layers show them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anew.build.listing import Node, stacked
from anew.build.store import ImageStore
from anew.model import Bytes, Digest

_MOST: Bytes = 64 << 20


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers, lowest first, in the store that has them."""

    store: ImageStore
    layers: Sequence[Digest]

    def tree(self) -> dict[str, Node]:
        """Return what there is, by path."""
        return stacked(self.store.listing(one) for one in self.layers)

    def content(self, path: str, most: Bytes = _MOST) -> bytes:
        """Return the beginning of a file: at most so many bytes; none of what is no file."""
        for layer in reversed(self.layers):
            there: Path = self.store.tree(layer) / path
            if there.is_file() and not there.is_symlink():
                with there.open("rb") as file:
                    return file.read(most)
        return b""
