"""The spec: what the reference says, what complaints say, and that nothing else ever comes out."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from anew import model
from anew.core.spec.parse import parse
from anew.core.spec.schema import schema
from anew.core.spec.tree import plain, read
from anew.errors import AnewError, SpecError, Unsupported

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference-spec.yaml"
CASES = sorted((Path(__file__).parent / "spec" / "cases").glob("*.yaml"))
MODULES = sorted(path.stem for path in (ROOT / "src" / "anew" / "core" / "spec").glob("[a-z]*.py"))
SMALL = """
project: shop
os: {base: {debian: bookworm}}
services:
  web: {os: base, command: [/srv/web], http: {}%s}
%s
"""


def small(more: str = "", end: str = "") -> model.Spec:
    return parse(SMALL % (more and f", {more}", end))


def web(more: str = "") -> model.Service:
    (service,) = small(more).services
    return service


def failure(text: str) -> AnewError:
    with pytest.raises((SpecError, Unsupported)) as caught:
        parse(text)
    return caught.value


def as_text(error: AnewError) -> str:
    complaints = error.complaints or (error,)
    lines = [f"{one.where}\n  {one.what}\n  {one.hint}" for one in complaints]
    return f"{type(error).__name__}: {error.what}\n\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_what_is_wrong_is_said_all_at_once_and_with_a_hint(case: Path) -> None:
    said = as_text(failure(case.read_text()))
    golden = case.with_suffix(".txt")
    if os.environ.get("ANEW_REWRITE_GOLDEN") == "1":
        golden.write_text(said)
    assert said == golden.read_text()


def test_the_reference_is_a_spec() -> None:
    spec = parse(REFERENCE.read_text())
    assert spec.project == "shop"
    assert spec.heads == (
        model.DebianHead("base", "bookworm", ("python3", "ca-certificates")),
        model.DebianHead(
            "jammy",
            "jammy",
            ("python3",),
            "ubuntu",
            (
                "http://mirror.example/ubuntu jammy main universe",
                "http://mirror.example/ubuntu jammy-security main universe",
            ),
            "keys/archive.gpg",
        ),
        model.TarHead("plain", "rootfs.tar"),
        model.ImageHead("other", "localhost:5000/base:12"),
        model.BuiltHead("theirs", "web/Dockerfile", "web"),
        model.HostHead("machine"),
    )
    (allowance,) = spec.allowances
    assert (allowance.service, allowance.rule, allowance.path) == ("web", "private-key", "/srv/app/tests/*.pem")
    assert spec.registry == "localhost:5000/shop"
    found, api, cache, mailer, sweep = spec.services
    tool, archive = found.fetch
    assert (tool.target, len(tool.sha256), tool.is_executable) == ("/usr/local/bin/tool", 64, True)
    assert archive == model.Fetch("https://example.com/tool-1.2.tar.gz", "/opt/tool-1.2.tar.gz")
    assert found.copy == (model.Copy("app/", "/srv/app/"), model.Copy("VERSION", "/srv/VERSION"))
    assert found.build == (
        model.BuildStep("python3 -m compileall -q /srv/app", name="assets"),
        model.BuildStep("python3 /srv/app/fetch.py", network=True, secrets=("fetch_token",)),
        model.BuildStep(
            ansible="ansible/playbook.yml", inputs=("ansible/", "VERSION"), vars='{"names":["a","b"],"workers":4}'
        ),
        model.BuildStep(puppet="puppet/site.pp"),
        model.BuildStep(
            files=(("templates/web.conf.j2", "/etc/web.conf"),),
            vars='{"workers":4}',
            inputs=("templates/parts/",),
            mode=0o640,
            owner="root:www-data",
        ),
    )
    assert found.http == model.Http("/healthz")
    assert (found.hosts, found.is_exposed) == (("shop.example.com", "www.shop.example.com"), True)
    assert dict(found.flags)["VERBOSE"] == "true"
    assert found.tests[1] == model.Test(run=("python3", "-m", "unittest", "discover", "/srv/app"), eventually=60.0)
    assert found.tests[2] == model.Test(get="/healthz", at="preview")
    assert (api.is_exposed, api.size, api.http) == (False, 1, model.Http("/"))
    assert [one.kind for one in spec.services] == ["http", "http", "tcp", "worker", "job"]
    assert (found.limits, found.max_age) == (model.Limits(256 << 20, 0.5, 100), 7 * 86400.0)
    assert (api.limits, api.max_age) == (model.Limits(), 0.0)
    assert (found.needs, found.secrets) == (("api", "cache"), ("db_password",))
    assert found.volumes == (model.Volume("uploads", "/srv/uploads", is_shared=True),)
    assert found.before[1] == model.Task(("/srv/app/prepare", "--verify"), within=120.0)
    assert (cache.is_tcp, cache.port, cache.is_exposed) == (True, 6379, True)
    assert cache.volumes == (model.Volume("store", "/var/lib/store"),)
    assert (mailer.is_singleton, mailer.ready_after, mailer.needs) == (True, 5.0, ("cache",))
    assert (sweep.schedule, sweep.within) == ("0 3 * * *", 1800.0)
    local, production = spec.environments
    (laptop,), (builder,) = local.trust, production.trust
    assert (laptop.endswith(" a laptop"), builder.endswith(" the builder")) == (True, True)
    assert local == model.Environment(
        "local", trust=(laptop,), max_os_age=model.OsAge(warn=30 * 86400.0), on_undecided="promote"
    )
    assert production.max_os_age == model.OsAge(20 * 86400.0, 40 * 86400.0)
    assert production.overrides == (
        model.Override("web", 4, (("GREETING", "welcome"),), limits=model.Limits(1 << 30, 2.0, 400), max_age=86400.0),
        model.Override("cache", port=6380),
    )
    assert (production.host, production.port, production.keep) == ("0.0.0.0", 80, 10)


def test_without_stages_no_stage_is_too_long() -> None:
    assert web("rollout: {stages: [], at_most: 2s}").policy.at_most == 2.0


def test_the_rollout_of_the_reference_is_the_default() -> None:
    spec = parse(REFERENCE.read_text())
    default = model.Policy()  # but for what an environment says where a service does not
    assert spec.services[0].policy == replace(default, on_undecided="promote")
    asked = 'checkouts_total{group="$group", result="%s"}'
    assert spec.services[1].policy == model.Policy(
        baseline="fresh",
        warm_control=20,
        probes=(model.Probe("/healthz", 0.5),),
        criteria=(
            model.Criterion("checkout", "", "http://127.0.0.1:9090", asked % "paid", asked % "lost", 1.5, 3.0, 0.01),
            model.Criterion("orders", "http://127.0.0.1:9400/orders/$group"),
        ),
    )


def test_an_environment_says_what_becomes_of_undecided_stages() -> None:
    spec = small(end="environments: {local: {}, production: {on_undecided: rollback}}")
    assert [one.on_undecided for one in spec.environments] == ["", "rollback"]


def test_without_environments_there_is_local() -> None:
    assert small().environments == (model.Environment("local"),)


def test_the_words_of_older_yaml_are_texts() -> None:
    assert web("flags: {A: no, B: on, C: 12:30, D: 2020-01-01, E: 1_000}").flags == (
        ("A", "no"),
        ("B", "on"),
        ("C", "12:30"),
        ("D", "2020-01-01"),
        ("E", "1_000"),
    )
    assert plain("0o17") == 15
    assert plain("9" * 5000) == float("inf")


def test_flags_become_texts_and_are_sorted() -> None:
    assert web("flags: {Z: 1, A: true, M: False, K: 0.5, T: ''}").flags == (
        ("A", "true"),
        ("K", "0.5"),
        ("M", "false"),
        ("T", ""),
        ("Z", "1"),
    )


def test_stages_are_per_mille_and_all_traffic_is_not_one_of_them() -> None:
    assert web("rollout: {stages: [0.5%, 1%, 98%, 100%]}").policy.stages == (5, 10, 980)
    assert web("rollout: {stages: []}").policy.stages == ()


def test_durations_are_seconds() -> None:
    policy = web("rollout: {each: 500ms, warm: 1.5h, on_undecided: rollback, drain: 0s}").policy
    assert (policy.each, policy.warm, policy.on_undecided, policy.drain) == (0.5, 5400.0, "rollback", 0.0)


def test_sizes_are_powers_of_1024_and_bare_numbers_bytes() -> None:
    said = {"4M": 4 << 20, "1.5G": 3 << 29, "8192K": 8 << 20, "4194304": 4 << 20}
    assert {size: web(f"memory: {size}").limits.memory for size in said} == said


def test_an_environment_overrides_each_limit_alone_and_says_what_touching_does() -> None:
    (spec,) = small(
        end="environments: {local: {taint: report, quarantine: 0s, services: {web: {cpu: 2, max_age: 90s}}}}"
    ).environments
    assert (spec.taint, spec.quarantine) == ("report", 0.0)
    assert spec.overrides == (model.Override("web", limits=model.Limits(cpu=2.0), max_age=90.0),)


def test_what_a_service_does_not_say_is_as_the_model_has_it() -> None:
    spec = parse("project: shop\nos: {base: {debian: bookworm}}\nservices: {work: {os: base, command: [a]}}\n")
    assert spec.services == (model.Service("work", "base", ("a",)),)
    assert spec.services[0].kind == "worker"


def test_needs_secrets_and_volumes_are_sorted_and_tasks_are_not() -> None:
    spec = parse(
        """
project: shop
os: {base: {debian: bookworm}}
services:
  web:
    {os: base, command: [a], http: {}, needs: [z, b], secrets: [y, a], volumes: {u: /u, b: {path: /b}},
     before: [{run: [z]}, {run: [a]}]}
  z: {os: base, command: [a], http: {}}
  b: {os: base, command: [a], tcp: {}}
"""
    )
    found = spec.services[0]
    assert (found.needs, found.secrets) == (("b", "z"), ("a", "y"))
    assert found.volumes == (model.Volume("b", "/b"), model.Volume("u", "/u"))
    assert found.before == (model.Task(("z",)), model.Task(("a",)))


def test_a_circle_of_many_needs_is_named_whole_and_needs_no_deep_stack() -> None:
    many = 500
    rows = [f"  s{i}: {{os: base, command: [a], http: {{}}, needs: [s{(i + 1) % many}]}}\n" for i in range(many)]
    text = f"project: shop\nos: {{base: {{debian: bookworm}}}}\nservices:\n{''.join(rows)}"
    (complaint,) = failure(text).complaints
    assert [f"s{i}" for i in [*range(many), 0]] == complaint.what.partition(": ")[2].replace("`", "").split(" needs ")


@pytest.mark.parametrize("project", ["shop", "a-project-with-a-name-of-some-length"])
@pytest.mark.parametrize("name", ["a" * 60, "A" * 70, "many-words-" * 5 + "end", "Many_Words_" * 9])
def test_the_name_that_is_suggested_fits(project: str, name: str) -> None:
    text = f"project: {project}\nos: {{b: {{debian: bookworm}}}}\nservices: {{NAME: {{os: b, command: [a]}}}}\n"
    (complaint,) = failure(text.replace("NAME", name)).complaints
    found = re.search(r"at most ([0-9]+) characters are left for it, as in `([a-z-]+)`", complaint.hint)
    assert found
    assert parse(text.replace("NAME", found[2])).services[0].name == found[2]
    assert parse(text.replace("NAME", "a" * int(found[1])))
    assert failure(text.replace("NAME", "a" * (int(found[1]) + 1)))


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    spec = parse(
        """
project: shop
os: {base: {debian: bookworm}}
services:
  web: &web {os: base, command: [a], http: {}, flags: &flags {A: 1, B: 2}}
  api: {<<: *web, size: 3, flags: {<<: [*flags, {A: 9, C: 3}], B: 4}}
"""
    )
    assert spec.services[1].size == 3
    assert spec.services[1].flags == (("A", "1"), ("B", "4"), ("C", "3"))


def test_a_complaint_about_what_was_merged_names_the_line_where_it_stands() -> None:
    error = failure(
        "project: shop\nos: {base: {debian: bookworm}}\nservices:\n"
        "  web: &web\n    os: base\n    command: [a]\n    http: {}\n    size: many\n  api: {<<: *web}\n"
    )
    assert [one.where for one in error.complaints] == [
        "anew.yaml:8 services.web.size",
        "anew.yaml:8 services.api.size",
    ]


def test_aliases_that_unfold_without_end_are_refused() -> None:
    bomb = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    assert "unfold to more than" in failure(bomb).what
    merges = "a0: &a0 {x: 1}\n"
    merges += "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12))
    assert "unfold to more than" in failure(merges).what


def test_a_file_that_is_too_large_is_refused() -> None:
    assert "characters" in failure("#" * 1_000_001).what


def test_the_ipv6_loopback_is_an_address() -> None:
    (local,) = small(end="environments: {local: {listen: '[::1]:8080'}}").environments
    assert (local.host, local.port) == ("::1", 8080)


def test_the_machines_root_is_for_local_only() -> None:
    text = "project: shop\nos: {m: {host: true}}\nservices: {web: {os: m, command: [a], http: {}}}\n"
    assert parse(text).heads == (model.HostHead("m"),)
    assert "`production` is not `local`" in failure(f"{text}environments: {{production: {{}}}}").what


def schema_keys(node: object, definitions: dict[str, object]) -> set[str]:
    """Collect ``Shape.key`` of every property in the schema."""
    return {f"{name}.{key}" for name, one in definitions.items() for key in one.get("properties", {})}  # type: ignore[attr-defined]


def used_keys(value: object, node: dict[str, object], shape: str, root: dict[str, object]) -> set[str]:
    """Walk a value along the schema; fail where the schema does not know it."""
    if "$ref" in node:
        shape = str(node["$ref"]).rsplit("/", 1)[-1]
        node = root["$defs"][shape]  # type: ignore[index]
    for way in node.get("oneOf", ()):  # type: ignore[attr-defined]
        if (way.get("type") == "string") == isinstance(value, str):
            return used_keys(value, way, shape, root)
    out: set[str] = set()
    if isinstance(value, dict):
        for key, inner in value.items():
            known = node.get("properties", {})
            if key in known:  # type: ignore[operator]
                out |= {f"{shape}.{key}"} | used_keys(inner, known[key], shape, root)  # type: ignore[index]
            else:
                rest = node.get("additionalProperties")
                assert rest, f"{shape} has no {key}"
                out |= used_keys(inner, rest, shape, root) if isinstance(rest, dict) else set()
    elif isinstance(value, list):
        for inner in value:
            out |= used_keys(inner, node["items"], shape, root)  # type: ignore[arg-type]
    return out


def test_the_reference_shows_every_key_of_the_schema_and_no_other() -> None:
    made = schema()
    definitions = dict(made["$defs"]) | {"project": made}
    used = used_keys(read(REFERENCE.read_text(), "x").value, made, "project", made)
    assert used == schema_keys(made, definitions)


def test_every_key_of_the_schema_is_described_and_none_may_be_null() -> None:
    made = schema()
    for shape in [made, *made["$defs"].values()]:
        assert shape["additionalProperties"] is False
        for key, one in shape["properties"].items():
            assert one.get("description"), key
            assert "null" not in str(one), key


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"anew.core.spec.{name}")).failed == 0


def test_the_command_line_does_not_import_the_spec_nor_what_it_needs() -> None:
    code = (
        "import sys, anew.faces.cli; print([m for m in sys.modules if m.split('.')[0] in {'pydantic', 'ruamel', 'rich'}"
    )
    code += " or m.startswith('anew.core.spec')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_clients_are_known_by_what_is_said_and_by_nothing_else() -> None:
    for how in ("none", "cookie", "address", "header:X-User"):
        assert web(f"rollout: {{sticky: '{how}'}}").policy.sticky == how
    assert web("rollout: {}").policy.sticky == "none"
