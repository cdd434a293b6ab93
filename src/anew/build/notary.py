"""Who says of images what they are, how they were made and what came of their tests; and who looks whether it was said.

Rules

1. What is said here is signed with the project's key, and said of an image only by who made or tested it.
2. A statement is believed if a trusted key signed it, and only about the image whose digest it names.
3. An image may be sealed if all three are there: bill of materials, provenance, and a passed verdict on this image, in
   the company and under the flags that its release gives it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from anew.build import definition as definitions
from anew.build.definition import Definition
from anew.build.epoch import EPOCH
from anew.build.evidence import Evidence, Filed
from anew.build.oci import HOST
from anew.build.packages import Package, parsed
from anew.build.provenance import PROVENANCE, TEST_RESULT, has_passed, named, provenance, test_result
from anew.build.store import ImageStore
from anew.core.digest import PREFIX
from anew.errors import Conflict, NotFound
from anew.model import Digest, Image, Trial
from anew.trust.envelope import Doubt, Statement, believed, said
from anew.trust.keys import PublicKey, SigningKey, public_key, signing_key

if TYPE_CHECKING:
    from anew.views import Tested

BILL = "https://cyclonedx.org/bom"
_CALLED = {BILL: "bill of materials", PROVENANCE: "provenance", TEST_RESULT: "verdict"}


@dataclass(frozen=True)
class Notary:
    """Speaks for one project; `keys` is the folder of this state's keys."""

    store: ImageStore
    keys: Path
    project: str

    @cached_property
    def own(self) -> SigningKey:
        """The project's key; made if need be. Raises as `anew.trust.keys.signing_key`."""
        return signing_key(self.keys, self.project)

    def attest(self, service: str, image: Image) -> None:
        """Say what an image that was made here is, and how it was made, unless this key said so already. Idempotent."""
        trusted = (self.own.public,)
        if not self._explains(image, trusted):
            self._file(service, image.digest, PROVENANCE, provenance(image, self._definition(image)))
        if not self._finds(image, BILL, trusted):
            self._file(service, image.digest, BILL, self._bill(service, image))

    def testify(self, trial: Trial, key: Digest, tested: Tested) -> None:
        """Say that the tests of the last actor of a trial passed, unless this key said so already. Idempotent."""
        image = trial.tested.image
        if tested.is_passed and tested.manifest == image.digest and not self._passes(image, key, (self.own.public,)):
            result = test_result(trial, key, tested)
            self._file(trial.tested.service.name, image.digest, TEST_RESULT, result)

    def doubts(self, image: Image, key: Digest, trusted: Sequence[str]) -> tuple[str, ...]:
        """Return why an image may not be sealed; () if it may.

        `key` is that of its trial; `trusted` are lines of public keys: if there are none, this project's own one.
        Raises  NotFound or Conflict if its manifest is gone, or not as it was.
        """
        keys = self._keys(trusted)
        is_host = json.loads(self.store.blobs.read(image.digest)).get("annotations", {}).get(HOST) == "host"
        found = [] if is_host == image.is_host else ["its manifest says otherwise whether it lies on a machine's root"]
        if self.store.blobs.parts(image.digest) != (image.identity.config, image.layers):
            found.append("its manifest names other layers than its release")
        found += [
            f"its {_CALLED[kind]} is {self._doubt(image, kind, keys)}"
            for kind in (BILL, PROVENANCE)
            if not self._finds(image, kind, keys)
        ]
        if not self._passes(image, key, keys):
            why = self._doubt(image, TEST_RESULT, keys)
            found.append(f"its verdict is {why}" if why else "no verdict is of these tests, flags and images it needs")
        return tuple(found)

    def explains(self, image: Image, trusted: Sequence[str]) -> bool:
        """Say whether a trusted key, or the own one, said that an image was made from the definition that it names.

        True of one that names none: nothing can be made from that.
        """
        return not image.inputs or self._explains(image, (*self._keys(trusted), self.own.public))

    def changed(self, image: Image) -> tuple[str, ...]:
        """Return which parts of an image, and of what was said of it, are gone or not as they were; reads all."""
        from anew.build.examining import wrong_in_tree, wrong_with  # noqa: PLC0415 - what only looks needs none of it

        store, identity = self.store, image.identity
        named = [
            (identity.manifest, "manifest"),
            (identity.config, "config"),
            *((one, "layer") for one in image.layers),
        ]
        named += [(one, "what it was made from,") for one in image.inputs[:1]]
        named += [(one.digest, _CALLED.get(one.predicate, "statement")) for one in self._evidence.filed(image.digest)]
        found = [wrong_with(store, digest, what) for digest, what in named]
        if store.blobs.parts(identity.manifest) not in {None, (identity.config, image.layers)}:
            found.append("its manifest names other layers than its release")
        if not any(found):  # an image from elsewhere may have come without what it can be made from
            more = [(one, "what it was made from,") for one in image.inputs[1:]]
            more += [(one.digest, f"package {one.name}") for one in self._packages(image)]
            wrong = [wrong_with(store, digest, what) for digest, what in more]
            found = [one for one in wrong if not one.endswith("is gone")]
        # With a layer that was changed, or is gone, its tree can't be compared.
        whole = [layer for layer in image.layers if not wrong_with(store, layer, "layer")]
        return (*filter(None, found), *(wrong for layer in whole for wrong in wrong_in_tree(store, layer)))

    def trusted(self, lines: Sequence[str]) -> tuple[str, ...]:
        """Return the ids of the keys of these lines; without any, of the project's own one."""
        return tuple(key.id for key in self._keys(lines))

    def line(self) -> str:
        """Return the public half of the project's own key, as a spec trusts it."""
        return self.own.public.line

    def signers(self, image: Image, trusted: Sequence[str]) -> tuple[str, ...]:
        """Return the ids of the trusted keys that said something of an image, sorted."""
        keys = self._keys(trusted)
        kinds = (BILL, PROVENANCE, TEST_RESULT)
        return tuple(sorted({one.key.id for kind in kinds for one in self._believed(image, kind, keys)}))

    # ------------------------------------------------------------ inside

    @property
    def _evidence(self) -> Evidence:
        return Evidence(self.store)

    def _keys(self, lines: Sequence[str]) -> tuple[PublicKey, ...]:
        return tuple(public_key(line) for line in lines) or (self.own.public,)

    def _packages(self, image: Image) -> tuple[Package, ...]:
        definition = self._definition(image)
        heads = definition.heads if definition else ()
        return tuple(parsed(line) for head in heads for line in head.packages)

    def _file(self, service: str, image: Digest, kind: str, predicate: dict[str, object]) -> None:
        self._evidence.add(image, kind, said(f"{self.project}/{service}", image, kind, predicate, self.own))

    def _definition(self, image: Image) -> Definition | None:
        if not image.inputs:
            return None
        return definitions.read(self.store.blobs.read(image.inputs[0]))

    def _bill(self, service: str, image: Image) -> dict[str, object]:
        from anew.build.inventory import distribution, installed  # noqa: PLC0415 - likewise
        from anew.build.stack import Stack  # noqa: PLC0415 - likewise
        from anew.trust.sbom import Subject, bill  # noqa: PLC0415 - its libraries take long to import

        files = Stack(self.store, image.layers)
        subject = Subject(f"{self.project}/{service}", image.digest, image.identity.tree, EPOCH)
        return bill(subject, distribution(files), installed(files, self._packages(image)))

    def _filed(self, image: Image, kind: str) -> tuple[Filed, ...]:
        return tuple(one for one in self._evidence.filed(image.digest) if one.predicate == kind)

    def _opened(self, image: Image, one: Filed, keys: Sequence[PublicKey]) -> Statement:
        try:
            statement = believed(self._evidence.read(one), keys)
        except NotFound as cause:
            raise Doubt("gone from the image store") from cause
        except Conflict as cause:
            raise Doubt("not what was filed: its blob was changed") from cause
        if statement.subjects != (image.digest,):
            raise Doubt("about another image")
        if statement.predicate_type != one.predicate:
            raise Doubt(f"another statement than it is filed as: {statement.predicate_type}")
        return statement

    def _believed(self, image: Image, kind: str, keys: Sequence[PublicKey]) -> Iterator[Statement]:
        for one in self._filed(image, kind):
            try:
                yield self._opened(image, one, keys)
            except Doubt:
                continue

    def _finds(self, image: Image, kind: str, keys: Sequence[PublicKey]) -> bool:
        return any(True for _ in self._believed(image, kind, keys))

    def _explains(self, image: Image, keys: Sequence[PublicKey]) -> bool:
        wanted = image.inputs[0].removeprefix(PREFIX) if image.inputs else ""
        return any(not wanted or wanted in named(one.predicate) for one in self._believed(image, PROVENANCE, keys))

    def _passes(self, image: Image, key: Digest, keys: Sequence[PublicKey]) -> bool:
        return any(has_passed(one.predicate, [key]) for one in self._believed(image, TEST_RESULT, keys))

    def _doubt(self, image: Image, kind: str, keys: Sequence[PublicKey]) -> str:
        """Return why the first statement of a kind is not believed; "" if all are."""
        filed = self._filed(image, kind)
        if not filed:
            return "missing"
        for one in filed:
            try:
                self._opened(image, one, keys)
            except Doubt as doubt:
                return str(doubt)
        return ""
