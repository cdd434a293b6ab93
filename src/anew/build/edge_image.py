"""The image that the edge runs from where it is a container: one head of Debian packages, and nothing on top.

It is built as every head is, with the same lock and in the same store, but it belongs to no project: its lock lies in
anew's own state, and no release names it. So where the store has lost it, it is made from today's packages: nobody
waits for the old ones, and whatever runs is replaced by hand-over.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anew.build.heads import Heads
from anew.build.store import ImageStore
from anew.core.digest import digest, short
from anew.errors import AnewError, EngineError
from anew.model import DebianHead, Image
from anew.ports import Say

HEAD = DebianHead("edge", "bookworm", ("haproxy",))
PLACE = "edge-image"  # below anew's state folder; the lock is in it
_FORMAT = 1  # of what is made of the head


@dataclass(frozen=True, slots=True)
class EdgeImage:
    """The image of the edge in one state folder. Several may ask for it at once: it is made once."""

    home: Path
    store: ImageStore

    def image(self, say: Say, *, update: bool = False) -> Image:
        """Return the image: recognised without any network, or made, which takes a minute and is said.

        `update` makes it of today's packages.
        Raises  Unsupported where heads of Debian packages can't be made; EngineError if that fails.
        """
        folder = self.home / PLACE
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            known = None if update else self.known()
            return known or self._made(folder, say, update=update)
        except OSError as cause:
            raise EngineError(
                f"the image of the edge can't be made: {cause}", where=str(folder), hint="look at the disk"
            ) from cause

    def known(self) -> Image | None:
        """Return the image if it is in the store, whole; nothing is made."""
        layer = self._heads.locked(HEAD)
        return self.store.record(_inputs(layer)) if layer else None

    def tree(self, image: Image) -> Path:
        """Return the folder with the image's files. Raises NotFound if its blob is gone, Conflict if it is corrupt."""
        return self.store.tree(image.layers[0])

    @property
    def _heads(self) -> Heads:
        return Heads(self.home / PLACE, self.store, self.home / "work")

    def _made(self, folder: Path, say: Say, *, update: bool) -> Image:
        with self.store.lock(f"edge image {folder}"):
            known = None if update else self.known()
            if known is not None:  # somebody else has made it meanwhile
                return known
            say("building the image of the edge: once, in about a minute")
            try:
                layer = self._heads.layer(HEAD, say, update=update or not self._is_here())
            except AnewError as error:
                hint = error.hint
                what = f"the image of the edge can't be built: {error.what}"
                raise type(error)(what, where=str(folder), hint=hint, facts=error.facts) from error
            layers = (layer,) if layer else ()
            inputs = _inputs(layer or "")
            identity = self.store.add_image(inputs, layers, f"anew-edge-{short(inputs)}", is_host=False)
            image = Image(identity=identity, layers=layers)
            self.store.admit(image)
            self.store.remember(image)
            say(f"the image of the edge is {short(image.digest)}")
            return image

    def _is_here(self) -> bool:
        layer = self._heads.locked(HEAD)
        return layer is not None and self.store.has_head(layer, HEAD.name)


def _inputs(layer: str) -> str:
    return digest({"format": _FORMAT, "edge": layer})
