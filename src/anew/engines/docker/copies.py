"""What a container engine, and the state folder for its sake, keep of images: for collections.

Rules
    1  Only names that this state gave to images are looked at. What others call by names of their own stays.
    2  What a container runs from stays, whoever made the container: the engine itself says so when it is asked.
    3  What killed callers left goes first, so that it holds up nothing.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anew.core.digest import PREFIX, short
from anew.engines.docker.accounts import FOLDER, MADE
from anew.engines.docker.client import Client
from anew.engines.docker.compute import Docker
from anew.errors import AnewError
from anew.model import Bytes, Digest, Gone, Seconds
from anew.views import Kept

WHAT = "images in the container engine"
MAKING: Seconds = 3600.0  # nobody takes that long to read lists of accounts out of layers


class DockerCopies:
    """Implements `anew.shell.parts.Copies`; `home` is the state folder."""

    def __init__(self, client: Client, engine: Docker, home: Path) -> None:
        self._client = client
        self._engine = engine
        self._accounts = home / FOLDER

    def sweep(self, *, is_dry: bool) -> tuple[str, ...]:
        """Remove the throwaway instances that killed callers left; return their names."""
        return self._engine.sweep(is_dry=is_dry)

    def reduce(self, stay: Collection[Digest], *, is_dry: bool) -> tuple[tuple[Gone, ...], tuple[Kept, ...]]:
        """Remove the images that are not to stay, and what was read out of them; return what went, and what did not.

        Idempotent. What the engine does not do is told among what is kept, with the reason and what to do about it.
        """
        gone = list(self._lists(stay, is_dry=is_dry))
        try:
            there = self._engine.images.admitted_here()
            leaving = {digest: name for digest, name in there.items() if digest not in stay}
            sizes = self._sizes(leaving) if leaving else {}
        except AnewError as error:
            return tuple(gone), (Kept(WHAT, _why(error)),)
        kept = []
        for digest in leaving:
            try:
                if not is_dry:
                    self._engine.images.remove(digest)
                elif users := self._engine.images.users(digest):
                    raise self._engine.images.in_use(digest, users)
            except AnewError as error:
                kept.append(Kept(f"image {short(digest)} in the container engine", _why(error)))
            else:
                gone.append(Gone("copy", digest, sizes[digest]))
        if len(there) > len(leaving):
            kept.append(Kept(f"{len(there) - len(leaving)} of the {WHAT}", "they are kept in the image store"))
        return tuple(gone), tuple(kept)

    def _lists(self, stay: Collection[Digest], *, is_dry: bool) -> Iterator[Gone]:
        """Remove the lists of accounts of images that do not stay, and what killed processes left of one."""
        for place in sorted(self._accounts.iterdir()) if self._accounts.is_dir() else ():
            if place.name.startswith(MADE):
                is_leaving = time.time() - place.stat().st_mtime > MAKING
            else:
                is_leaving = PREFIX + place.name not in stay
            if is_leaving:
                size = sum(path.lstat().st_blocks for path in (place, *place.iterdir())) * 512
                if not is_dry:
                    shutil.rmtree(place)
                yield Gone("accounts", place.name, size)

    def _sizes(self, leaving: Mapping[Digest, str]) -> Mapping[Digest, Bytes]:
        """Return what the engine has on its disk for each of these images alone, or for several of them: told once."""
        seen: set[tuple[str, ...]] = set()
        names = set(leaving.values())
        with self._client.asking("looking at the images of the container engine", "GET /images/json") as api:
            for one in api.images():
                if not set(one.get("RepoTags") or ()) <= names or not one.get("RepoTags"):
                    seen.update(_chains(api.inspect_image(one["Id"])))
            sizes = {}
            for digest, name in leaving.items():
                chains = _chains(api.inspect_image(name))
                told: Sequence[Mapping[str, Any]] = api.history(name)  # of ours, a line for each layer, newest first
                own = zip(chains, reversed(told), strict=False)
                sizes[digest] = sum(int(line["Size"]) for chain, line in own if chain not in seen)
                seen.update(chains)
        return sizes


def _chains(said: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the layers of an image, each with all that lie below it: as such an engine has it once."""
    layers = tuple(said.get("RootFS", {}).get("Layers") or ())
    return [layers[: n + 1] for n in range(len(layers))]


def _why(error: AnewError) -> str:
    return error.what + (f" ({error.hint})" if error.hint else "")
