"""Playbooks and manifests applied to an image that has neither Python nor Ruby: what they make, and what stays of them.

Their programs are made of Debian packages once for all tests here.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from building import Project, need_program, need_root, proved, quiet

from anew.errors import EngineError, SpecError
from anew.model import BuildStep, DebianHead, Image, Manner, Service
from anew.sandbox import view

pytestmark = pytest.mark.timeout(900)  # whoever comes first makes three heads of Debian packages

UNIT = (
    "[Unit]\\nDescription=x\\n[Service]\\nExecStart=/bin/true\\n"
    "[Install]\\nWantedBy=multi-user.target\\nAlias=other.service\\n"
)
CONF = "<%- | $workers | -%>\nworkers <%= $workers %> of <%= $facts['os']['name'] %>\n"
PLAYBOOK = f"""
- hosts: all
  become: true
  tasks:
    - user: {{name: shop, system: true, home: /srv/shop, shell: /bin/sh}}
    - command: id -un
      become_user: shop
      register: who
    - template: {{src: conf.j2, dest: /etc/site.conf, owner: shop, mode: '0640'}}
      notify: again
    - copy: {{dest: /etc/systemd/system/site.service, content: "{UNIT}"}}
    - service: {{name: site, state: started, enabled: true}}
    - systemd: {{name: site, daemon_reload: true}}
    - apt: {{name: tzdata, state: absent, purge: true}}
    - command: cat /proc/1/comm
    - shell: test -z "$LD_LIBRARY_PATH" && ls /run/control/inputs > /etc/inputs
    - assert:
        that:
          - who.stdout == "shop"
          - ansible_facts.kernel is not defined
          - ansible_facts.processor_vcpus is not defined
          - ansible_facts.date_time.year == "2025"
          - ansible_facts.hostname == "build"
          - ansible_facts.service_mgr == "systemd"
  handlers:
    - name: again
      service: {{name: site, state: restarted}}
"""
MANIFEST = f"""
user {{ 'shop': ensure => present, system => true, home => '/srv/shop' }}
file {{ '/etc/site.conf': content => epp('site/conf.epp', {{ 'workers' => 4 }}), owner => 'shop', mode => '0640' }}
file {{ '/etc/systemd/system/site.service': content => "{UNIT}" }}
-> service {{ 'site': ensure => running, enable => true, subscribe => File['/etc/site.conf'] }}
package {{ 'tzdata': ensure => purged }}
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Project]:
    """A project whose heads are made."""
    need_root()
    need_program("mmdebstrap")
    folder = Path(tempfile.mkdtemp(prefix="anew-control-"))
    try:
        project = Project(folder, DebianHead("base", "bookworm"))
        for name, text in {
            "ansible/site.yml": PLAYBOOK,
            "ansible/templates/conf.j2": "workers {{ workers }} of {{ ansible_facts.distribution }}\n",
            "puppet/site.pp": MANIFEST,
            "puppet/modules/site/templates/conf.epp": CONF,
            "private": "no step may see this",
        }.items():
            path = project.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        yield project
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def project(made: Project) -> Project:
    made.lines.clear()
    return made


def build(project: Project, *steps: str | BuildStep, name: str = "web") -> Image:
    service = replace(project.service(*steps), name=name)
    return project.builder.build(project.spec, service, project.lines.append)[0]


def text_of(project: Project, image: Image, path: str) -> str:
    found = view.entry([project.store.tree(one) for one in image.layers], path)
    assert found is not None, path
    return found.top.read_text()


def paths_of(project: Project, image: Image) -> set[str]:
    """Return what the last layer of an image holds."""
    return {node.path for node in project.store.listing(image.layers[-1])}


ANSIBLE = BuildStep(ansible="ansible/site.yml", vars='{"workers":4}')
PUPPET = BuildStep(puppet="puppet/site.pp")


@pytest.mark.parametrize("step", [ANSIBLE, PUPPET], ids=["ansible", "puppet"])
def test_it_is_applied_and_nothing_of_its_program_stays(project: Project, step: BuildStep) -> None:
    image = build(project, step)
    assert text_of(project, image, "/etc/site.conf") == "workers 4 of Debian\n"
    assert "shop:x:" in text_of(project, image, "/etc/passwd")
    paths = paths_of(project, image)
    assert "etc/systemd/system/multi-user.target.wants/site.service" in paths
    assert "etc/systemd/system/other.service" in paths
    assert "var/lib/dpkg/info/tzdata.list" in paths  # its removal
    left = [p for p in paths if any(word in p for word in ("ansible", "puppet", "facter", "ruby", "python", ".pyc"))]
    assert [p for p in left if not p.startswith(("usr/share", "var/lib/dpkg"))] == []
    assert [p for p in paths if p.startswith(("run", "tmp", "root"))] == []
    assert not {"usr/bin/systemctl", "usr/sbin/policy-rc.d", "usr/sbin/service"} & paths
    assert "services are not started while building: start site.service" in project.lines
    assert image.is_reproducible
    conf = next(n for n in project.store.listing(image.layers[-1]) if n.path == "etc/site.conf")
    assert (conf.mode, conf.uid > 0) == (0o640, True)


def test_facts_are_written_alike_in_each_build(project: Project) -> None:
    play = "- hosts: all\n  tasks:\n    - copy: {dest: /etc/facts, content: '{{ ansible_facts }}'}\n"
    (project.root / "ansible" / "facts.yml").write_text(play)
    service = replace(project.service(BuildStep(ansible="ansible/facts.yml")), name="facts")
    first = project.builder.build(project.spec, service, quiet)[0]
    image, built = project.builder.build(project.spec, service, quiet, manner=Manner(is_fresh=True))
    assert (built.again, image.digest) == ("same", first.digest)


def test_a_step_sees_what_it_declares_and_nothing_else(project: Project) -> None:
    image = build(project, ANSIBLE)
    assert text_of(project, image, "/etc/inputs") == "ansible\n"
    first = build(project, ANSIBLE)
    (project.root / "private").write_text("changed")
    assert build(project, ANSIBLE) == first
    assert not any(line.startswith("running ") for line in project.lines[-3:])
    (project.root / "ansible" / "templates" / "unused").write_text("this is among its inputs")
    build(project, ANSIBLE)
    assert any(line.startswith("running ") for line in project.lines)


def test_what_fails_says_why(project: Project) -> None:
    (project.root / "bad").mkdir(exist_ok=True)
    playbooks = {
        "a.yml": ("- hosts: all\n  tasks:\n    - command: 'false'\n", "non-zero return code"),
        "b.yml": ("- hosts: webservers\n  tasks: []\n", "Could not match supplied host pattern"),
        "c.yml": ("- hosts: all\n  tasks:\n    - debug: {msg: '{{ undeclared }}'}\n", "undeclared"),
        "d.yml": ("- hosts: all\n  tasks:\n    - service: {name: nothing, enabled: true}\n", "nothing"),
    }
    manifests = {
        "a.pp": ("exec { '/bin/false': }\n", "returned 1 instead of one of [0]"),
        "b.pp": ("notice($facts['memory']['system']['total'])\n", "not applicable to an Undef"),
        "c.pp": ("file { '/x': content => $nothing }\n", "nothing"),
        "d.pp": ("service { 'nothing': enable => true }\n", "nothing"),
    }
    for name, (text, why) in {**playbooks, **manifests}.items():
        (project.root / "bad" / name).write_text(text)
        path = f"bad/{name}"
        step = BuildStep(ansible=path) if name.endswith("yml") else BuildStep(puppet=path)
        with pytest.raises(EngineError, match="the step ended with exit code") as caught:
            build(project, step)
        assert why in caught.value.facts["output"], name
    with pytest.raises(SpecError, match="is a folder"):
        build(project, BuildStep(ansible="ansible"))


def test_packages_start_no_services_in_commands_either(project: Project) -> None:
    script = "printf '#!/bin/sh\\necho started > /etc/started\\n' > /etc/init.d/site; chmod 755 /etc/init.d/site; "
    image = build(project, script + "invoke-rc.d site start; test -x /usr/sbin/policy-rc.d; echo x > /usr/sbin/own")
    assert any("denied execution of start" in line for line in project.lines)
    assert paths_of(project, image) == {"etc", "etc/init.d", "etc/init.d/site", "usr", "usr/sbin", "usr/sbin/own"}
    below = {n.path: n for n in project.store.listing(image.layers[0])}
    above = {n.path: n for n in project.store.listing(image.layers[-1])}
    assert above["usr/sbin"] == below["usr/sbin"]


@pytest.mark.parametrize("step", [ANSIBLE, PUPPET], ids=["ansible", "puppet"])
def test_another_home_makes_the_same_image(project: Project, step: BuildStep, tmp_path: Path) -> None:
    first = build(project, step, "echo 1 > /srv/after")
    other = Project(tmp_path / "somewhere" / "else", project.head)
    shutil.copytree(project.root, other.root, dirs_exist_ok=True)
    shutil.copytree(
        project.store.root, other.store.root, ignore=shutil.ignore_patterns("records", "checkpoints", "trees")
    )
    for path in other.root.rglob("*"):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    second = build(other, step, "echo 1 > /srv/after")
    assert sum(line.startswith("running ") for line in other.lines) == 2
    assert (second.digest, second.identity.input) == (first.digest, first.identity.input)


def test_an_image_is_made_again_from_what_was_recorded(project: Project) -> None:
    image = build(project, ANSIBLE, name="again")
    found = proved(project.builder, image, "again")
    assert (found.verdict, found.differences) == ("identical", ())
    assert list((project.home / "work").iterdir()) == []


def test_tools_are_locked_and_told_like_other_heads(project: Project) -> None:
    build(project, ANSIBLE)
    service: Service = project.service(ANSIBLE)
    spec = replace(project.spec, services=(service,))
    views = project.builder.lock(spec, (), quiet, update=False)
    assert [one.head for one in views] == ["base", "bookworm/ansible"]
    assert all(one.packages > 50 for one in views)
    assert '"bookworm/ansible"' in (project.root / "anew.lock").read_text()
