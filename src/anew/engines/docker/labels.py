"""What is written on everything that anew makes in a container engine: whose it is, and what it was ordered to be.

Labels can't be changed once a container or network is there, so they also hold what it is compared with later. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from anew.engines.embedded.records import Record
from anew.model import Order, Scope

OWNER, PROJECT, ENVIRONMENT = "anew.owner", "anew.project", "anew.environment"
KIND, NAME, SERVICE, GROUP, GENERATION = "anew.kind", "anew.name", "anew.service", "anew.group", "anew.generation"
IMAGE, PORT, UID = "anew.image", "anew.port", "anew.uid"
VOLUMES, SECRETS, WRITABLE = "anew.volumes", "anew.secrets", "anew.writable"  # names, without what is in them
FITTINGS = "anew.fittings"  # the name of its folder in `anew.engines.docker.fittings`
LAUNCHER = "anew.launcher"  # pid and start of the process that made it
EXPECTED = "anew.expected"  # what `anew.engines.docker.drift` compares with

Kind = Literal["instance", "throwaway", "network"]
_GENERATION = re.compile(r"-(g[1-9][0-9]*(?:b[1-9][0-9]*)?)\Z")  # of a baseline: g7b8


@dataclass(frozen=True, slots=True)
class Lot:
    """What an order was given for its container: all that the order does not say."""

    kind: Kind
    owner: str
    uid: int
    fittings: str
    launcher: str


def of_scope(scope: Scope, owner: str, kind: Kind) -> dict[str, str]:
    """Return the labels that tell whose a thing is."""
    return {OWNER: owner, PROJECT: scope.project, ENVIRONMENT: scope.environment, KIND: kind}


def of_order(order: Order, lot: Lot) -> dict[str, str]:
    """Return the labels of a container; those that would say nothing are left out."""
    generation = _GENERATION.search(order.group)
    told = {
        NAME: order.name,
        SERVICE: order.service,
        GROUP: order.group,
        GENERATION: generation[1] if generation else "",
        IMAGE: order.image.digest,
        PORT: str(order.port) if order.port else "",
        UID: str(lot.uid),
        VOLUMES: " ".join(sorted({one.name for one in order.volumes})),
        SECRETS: " ".join(f"{pin.name}:{pin.version}" for pin in order.secrets),
        WRITABLE: json.dumps(order.writable) if order.writable else "",
        FITTINGS: lot.fittings,
        LAUNCHER: lot.launcher,
    }
    return {**of_scope(order.scope, lot.owner, lot.kind), **{name: value for name, value in told.items() if value}}


def wanted(scope: Scope, owner: str, kind: Kind) -> list[str]:
    """Return the filter that finds what is labelled so."""
    return [f"{name}={value}" for name, value in of_scope(scope, owner, kind).items()]


def is_of(labels: Mapping[str, str], scope: Scope) -> bool:
    """Say whether a thing is of this project and environment, whichever state made it."""
    return (labels.get(PROJECT), labels.get(ENVIRONMENT)) == (scope.project, scope.environment)


def names(labels: Mapping[str, str], label: str) -> tuple[str, ...]:
    """Return the names that a label lists."""
    return tuple(labels.get(label, "").split())


def record(labels: Mapping[str, str], command: Iterable[str], environment: Iterable[str], started: float) -> Record:
    """Return the record of an instance, as it is kept with the logs when the container is gone."""
    pairs = (one.partition("=") for one in environment)
    return Record(
        name=labels[NAME],
        group=labels[GROUP],
        scope=Scope(labels[PROJECT], labels[ENVIRONMENT], labels[OWNER]),
        image=labels[IMAGE],
        command=tuple(command),
        environment=tuple((name, value) for name, is_set, value in pairs if is_set),
        writable=tuple(json.loads(labels.get(WRITABLE, "[]"))),
        port=int(labels.get(PORT, "0")),
        uid=int(labels[UID]),
        started=started,
        service=labels.get(SERVICE, ""),
        secrets=tuple((one.partition(":")[0], int(one.partition(":")[2])) for one in names(labels, SECRETS)),
        volumes=names(labels, VOLUMES),
    )
