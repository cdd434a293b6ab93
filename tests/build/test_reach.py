"""What a step with the network is given of this machine's way to it; and that none of it is left in an image."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import Project, need_root

from anew.build.reach import PLACE, reach
from anew.errors import SpecError
from anew.model import BuildStep

CERTIFICATE = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The home of a user who has a mirror for everything."""
    home = tmp_path / "user"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://who:secret@mirror.test/simple\nextra_index_url =\n  file:///opt/simple\n"
        "  https://more.test/simple\nfind-links = /opt/wheels\ncert = " + str(home / "own.pem") + "\n"
        "[install]\nuser = true\n"
    )
    (home / ".npmrc").write_text(
        "registry=https://mirror.test/npm/\n@own:registry=https://own.test/\n//mirror.test/npm/:_authToken=${TOKEN}\n"
        "prefix=/home/me/npm\ncache=/home/me/cache\n"
    )
    (home / "own.pem").write_text(CERTIFICATE.format("own"))
    (home / "node.pem").write_text(CERTIFICATE.format("node"))
    return home


def private(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def test_mirrors_proxies_and_certificates_are_passed_on_and_nothing_else(user: Path, tmp_path: Path) -> None:
    environ = {
        "TOKEN": "abc",
        "https_proxy": "http://proxy.test:3128",
        "NO_PROXY": "localhost",
        "PIP_TRUSTED_HOST": "mirror.test",
        "PIP_TARGET": "/somewhere",
        "AWS_SECRET_ACCESS_KEY": "no",
        "NODE_EXTRA_CA_CERTS": str(user / "node.pem"),
    }
    made = reach(private(tmp_path / "reach"), environ, user)
    assert made.folder is not None
    pip = (made.folder / "pip.conf").read_text().splitlines()
    assert "index-url = https://who:secret@mirror.test/simple" in pip
    assert "extra-index-url = https://more.test/simple" in pip
    assert [line for line in pip if line.startswith(("find-links", "cert", "user", "[install"))] == []
    npm = (made.folder / "npmrc").read_text().splitlines()
    assert npm[-3:] == [
        "registry=https://mirror.test/npm/",
        "@own:registry=https://own.test/",
        "//mirror.test/npm/:_authToken=abc",
    ]
    certificates = (made.folder / "certificates.pem").read_text()
    assert certificates.count("\nown\n") == certificates.count("\nnode\n") == 1
    passed = dict(made.environment)
    assert {name for name, value in passed.items() if value == f"{PLACE}/certificates.pem"} >= {
        "SSL_CERT_FILE",
        "PIP_CERT",
        "NODE_EXTRA_CA_CERTS",
    }
    assert passed["PIP_CONFIG_FILE"] == f"{PLACE}/pip.conf"
    assert passed["NPM_CONFIG_USERCONFIG"] == f"{PLACE}/npmrc"
    assert {name: value for name, value in passed.items() if PLACE not in value} == {
        "https_proxy": "http://proxy.test:3128",
        "NO_PROXY": "localhost",
        "PIP_TRUSTED_HOST": "mirror.test",
    }


def test_settings_that_pip_could_not_read_either_are_an_error(user: Path, tmp_path: Path) -> None:
    (user / ".config/pip/pip.conf").write_text("index-url = x\n")
    with pytest.raises(SpecError, match="pip's settings can't be read"):
        reach(private(tmp_path / "reach"), {}, user)


def test_only_steps_with_the_network_see_it_and_it_leaves_no_trace(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("https_proxy", "http://who:secret@proxy.test:3128")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    show = 'echo "proxy ${https_proxy:-none}"; echo "reach $(cd /run/reach 2>/dev/null && echo *)"; id -u > /srv/%s'
    project = Project(tmp_path)
    service = project.service(show % "without", BuildStep(show % "with", network=True))
    image, _ = project.builder.build(project.spec, service, project.lines.append)
    said = [line for line in project.lines if line.startswith(("proxy", "reach"))]
    assert said[:2] == ["proxy none", "reach "]
    assert said[2] == "proxy http://who:secret@proxy.test:3128"
    assert said[3].split() == ["reach", "certificates.pem", "npmrc", "pip.conf"]
    paths = [str(path) for one in image.layers for path in project.store.tree(one).rglob("*")]
    assert [path for path in paths if "reach" in path] == []
    monkeypatch.setenv("https_proxy", "http://other.test")
    _, again = project.builder.build(project.spec, service, project.lines.append)
    assert again.is_reused
