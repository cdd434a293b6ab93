"""The layers of an image seen together: what of each is a finding, and what another one hides or the head has too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from anew.build.listing import Node, lookup_on_host, stacked
from anew.build.scan import Scan, scan
from anew.build.store import ImageStore
from anew.model import Digest, Finding, Image
from anew.model.hygiene import BY_ID, VERSION


def found(store: ImageStore, image: Image) -> Iterator[Finding]:
    """Yield all that the rules find in an image, layer by layer. Raises as `anew.build.inspection.inspected`."""
    stack = _Stack(store, image)
    for number, one in enumerate(stack.scans):
        is_head = number == 0 and not image.is_host
        for trace in one.traces:
            rule = BY_ID[trace.rule]
            if not rule.is_of_head and (is_head or stack.is_as_in_head(trace.path, number)):
                continue
            is_hidden = stack.is_hidden(trace.path, number)
            if is_hidden and not rule.stays:
                continue
            told = f"{trace.number} {trace.text}" if trace.number else trace.text
            gone = "; a later layer hides it, but this one still has it" if is_hidden else ""
            yield Finding(rule.id, rule.severity, f"/{trace.path}", told + gone, rule.remedy)
    yield from stack.strangers()


class _Stack:
    """The layers of an image, and what is looked up in them; listings are read only where one is needed."""

    def __init__(self, store: ImageStore, image: Image) -> None:
        self._store = store
        self._layers = image.layers
        self._is_host = image.is_host
        self._listings: dict[int, Mapping[str, Node]] = {}
        self._covers: dict[int, tuple[frozenset[str], frozenset[str]]] = {}
        self.scans = [self._scan(one) for one in image.layers]

    def _scan(self, layer: Digest) -> Scan:
        known = self._store.noted("scans", layer, Scan)
        if known is not None and known.version == VERSION:
            return known
        made = scan(self._store.blobs.verify(layer))
        self._store.note("scans", layer, made)
        return made

    def is_hidden(self, path: str, number: int) -> bool:
        """Say whether a layer above that of this number has the path itself, or takes it away."""
        for above in range(number + 1, len(self._layers)):
            if path in self._listing(above):
                return True
            gone, emptied = self._cover(above)
            if path in gone:
                return True
            folder = path
            while "/" in folder:
                folder = folder.rpartition("/")[0]
                if folder in gone or folder in emptied:
                    return True
        return False

    def is_as_in_head(self, path: str, number: int) -> bool:
        """Say whether this layer only has what the head has at the same path."""
        here = self._listing(number).get(path)
        below = lookup_on_host(path) if self._is_host else self._listing(0).get(path)
        if here is None or below is None:
            return False
        is_same = (here.kind, here.mode, here.uid, here.gid) == (below.kind, below.mode, below.uid, below.gid)
        return is_same and (self._is_host or (here.content, here.xattrs) == (below.content, below.xattrs))

    def strangers(self) -> Iterator[Finding]:
        """Yield what belongs to users and groups that the image does not know, but for what its head has of it."""
        uids = next((one.uids for one in reversed(self.scans) if one.uids is not None), None)
        gids = next((one.gids for one in reversed(self.scans) if one.gids is not None), None)
        own = {who for one in self.scans[1:] for who in one.owners}
        if self._is_host or not any(_unknown(who, uids, gids) for who in own):
            return
        tree = stacked(self._nodes(number) for number in range(len(self._layers)))
        below: dict[str, int] = {}
        told: dict[str, str] = {}
        tops: dict[str, tuple[str, str]] = {}  # by folder: the topmost path of the same owner, and who that is
        for path in sorted(tree):
            who = _unknown((tree[path].uid, tree[path].gid), uids, gids)
            head = self._listing(0).get(path)
            if not who or (head is not None and (head.uid, head.gid) == (tree[path].uid, tree[path].gid)):
                continue
            top = tops.get(path.rpartition("/")[0])
            if top is not None and top[1] == who:
                below[top[0]] = below.get(top[0], 0) + 1
            else:
                top = (path, who)
                told[path] = who
            tops[path] = top
        rule = BY_ID["unknown-owner"]
        for path, who in told.items():
            more = f", with {below[path]} below it" if path in below else ""
            yield Finding(rule.id, rule.severity, f"/{path}", f"it belongs to {who}{more}", rule.remedy)

    def _nodes(self, number: int) -> tuple[Node, ...]:
        return self._store.listing(self._layers[number])

    def _listing(self, number: int) -> Mapping[str, Node]:
        known = self._listings.get(number)
        if known is None:
            nodes = self._nodes(number)
            known = {n.path: n for n in nodes if n.kind not in {"whiteout", "opaque"}}
            self._listings[number] = known
            # What is no folder hides all that a folder of that name had.
            gone = frozenset(n.path for n in nodes if n.kind == "whiteout")
            self._covers[number] = (gone, frozenset(n.path for n in nodes if n.kind not in {"whiteout", "dir"}))
        return known

    def _cover(self, number: int) -> tuple[frozenset[str], frozenset[str]]:
        self._listing(number)
        return self._covers[number]


def _unknown(who: tuple[int, int], uids: Sequence[int] | None, gids: Sequence[int] | None) -> str:
    """Say who of a uid and a gid an image does not know; "" if it knows both, or has no list of them."""
    told = []
    if who[0] and uids is not None and who[0] not in uids:
        told.append(f"user {who[0]}")
    if who[1] and gids is not None and who[1] not in gids:
        told.append(f"group {who[1]}")
    return " and ".join(told)
