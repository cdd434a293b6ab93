"""The edge in a container, for tests: on the container engine of this machine, from an image that is built once.

The image lies in a folder that outlives the tests, so that it is built once for this machine.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from anew.build.edge_image import EdgeImage
from anew.build.entries import Entry
from anew.build.store import ImageStore
from anew.core.digest import digest
from anew.edge.runtime import HaproxyEdge
from anew.engines.docker.client import Client
from anew.engines.docker.edge import ContainerProgram, Place, Supply
from anew.engines.docker.images import DockerImages
from anew.errors import NotFound
from anew.model import Image, Scope

HOME = Path(tempfile.gettempdir()) / f"anew-test-edge-image-{os.geteuid()}"
OWNER = "owner-of-edge-tests"
OTHER = "other"  # a scope's folder has this file if its edge is to run from the other image


def store() -> ImageStore:
    return ImageStore(HOME / "images")


def image() -> Image:
    return EdgeImage(HOME, store()).image(lambda _line: None)


def other_image() -> Image:
    """An image that differs in a file that does not matter."""
    first, shelf = image(), store()
    layer = shelf.add_layer([Entry(path=b"etc/other", kind="file", content=b"other\n", size=6)]).digest
    layers, inputs = (*first.layers, layer), digest({"other": first.digest})
    return Image(identity=shelf.add_image(inputs, layers, "anew-edge-other", is_host=False), layers=layers)


def place(folder: Path, scope: str) -> Place:
    folders = folder / scope / "edge", folder / scope / "s"
    return Place(Scope(f"tests-{folder.name.lower()[-6:]}", scope, OWNER), OWNER, folders, HOME / "bin")


def program(folder: Path, scope: str) -> ContainerProgram:
    client = Client()

    def wanted() -> Image:
        return other_image() if (folder / scope / OTHER).exists() else image()

    supply = Supply(wanted, lambda one: store().tree(one.layers[0]))
    return ContainerProgram(client, DockerImages(client, store().blobs, OWNER), supply, place(folder, scope), print)


def contained(folder: Path, scope: str) -> HaproxyEdge:
    """Return a client of an edge whose HAProxy runs in a container."""
    return HaproxyEdge(folder / scope / "edge", folder / scope / "s", program(folder, scope))


def containers(folder: Path, scope: str) -> dict[str, dict[str, Any]]:
    """Return what the engine says of the containers of an edge, by name."""
    told = [f"{name}={value}" for name, value in place(folder, scope).labels.items()]
    client, out = Client(), {}
    with client.asking("looking") as api:
        found = api.containers(all=True, filters={"label": told})
    for one in found:
        with suppress(NotFound), client.asking("looking") as api:  # it went meanwhile
            out[one["Names"][0].lstrip("/")] = api.inspect_container(one["Id"])
    return out
