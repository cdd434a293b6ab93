"""Who listens where, told by the kernel in two ways."""

from __future__ import annotations

import os
import socket

import pytest

from anew.engines.embedded import ports, sockdiag, uids


def test_both_ways_to_ask_the_kernel_tell_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
        mine = {one.getsockname()[1], six.getsockname()[1]}
        asked = [found for family, _ in ports.ANYWHERE for found in sockdiag.listening(family)]
        read = list(ports._read())
        assert {found for found in asked if found[0] in mine} == {found for found in read if found[0] in mine}
        assert {found[0] for found in asked if found[0] in mine} == mine
        known = ports.listeners()
        inode = os.fstat(one.fileno()).st_ino
        assert known[one.getsockname()[1]] == {f"socket:[{inode}]": os.geteuid()}
        assert ports.is_of(os.getpid(), known[six.getsockname()[1]])


def test_what_the_kernel_does_not_answer_is_an_error_and_not_an_empty_answer() -> None:
    with pytest.raises(OSError, match=r"\w"):
        list(sockdiag.listening(socket.AF_UNSPEC))


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's instances all have his uid")
def test_an_instance_with_a_port_and_no_volume_has_a_uid_of_its_own() -> None:
    assert uids.is_own(uids.of_instance(20_001, frozenset), 20_001)
    assert not uids.is_own(uids.of_instance(20_001, frozenset), 20_002)
    assert not uids.is_own(0, 20_001)
    assert not uids.is_own(uids.FIRST, 0)
