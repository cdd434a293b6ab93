"""The filter decides as its list says: checked by an interpreter of its own, and by the kernel."""

from __future__ import annotations

import errno
import os
import platform
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from anew.errors import AnewError, Unsupported
from anew.sandbox import find, seccomp
from anew.sandbox.seccomp import AARCH64, ALLOW, FAIL, MACHINES, X86_64, Machine


def verdict(code: bytes, audit: int, number: int, first: int = 0, second: int = 0) -> int:
    """Run the program as the kernel would."""
    data = struct.pack("=IIQQQ", number, audit, 0, first, second)
    loaded, at = 0, 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        match operation:
            case seccomp.LOAD:
                (loaded,) = struct.unpack_from("=I", data, value)
            case seccomp.RETURN:
                return int(value)
            case seccomp.EQUAL:
                at += if_true if loaded == value else if_false
            case seccomp.AT_LEAST:
                at += if_true if loaded >= value else if_false
            case seccomp.ANY_BIT:
                at += if_true if loaded & value else if_false
            case _:
                raise AssertionError(operation)


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_denied_fails_and_the_rest_is_allowed(name: str) -> None:
    machine, code = MACHINES[name], seccomp.program(name)
    denied = {*machine.denied.values(), *seccomp.SAME.values()}
    for number in range(600):
        other = FAIL | errno.ENOSYS if number == seccomp.CLONE3 else ALLOW
        wanted = FAIL | errno.EPERM if number in denied else other
        assert verdict(code, machine.audit, number) == wanted, number


@pytest.mark.parametrize("machine", [X86_64, AARCH64], ids=["x86_64", "aarch64"])
def test_a_new_namespace_is_denied_and_a_thread_is_not(machine: Machine) -> None:
    code = seccomp.program(next(name for name, one in MACHINES.items() if one is machine))
    for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000):
        assert verdict(code, machine.audit, machine.clone, first=flag | 0x11) == FAIL | errno.EPERM
    assert verdict(code, machine.audit, machine.clone, first=0x3D0F00) == ALLOW
    assert verdict(code, machine.audit, machine.ioctl, second=seccomp.TIOCSTI) == FAIL | errno.EPERM
    assert verdict(code, machine.audit, machine.ioctl, second=0x5401) == ALLOW


def test_another_abi_has_no_system_calls() -> None:
    code = seccomp.program("x86_64")
    assert verdict(code, 0x40000003, 1) == FAIL | errno.ENOSYS
    assert verdict(code, X86_64.audit, seccomp.X32 | 1) == FAIL | errno.ENOSYS


def test_another_processor_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="vax"):
        seccomp.program("vax")


@pytest.mark.skipif(platform.machine() not in MACHINES, reason="no filter for this processor")
def test_the_kernel_takes_it_and_threads_still_work() -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            bwrap = find.bwrap(Path(folder))
        except AnewError as error:
            pytest.skip(error.what)
        fd = seccomp.memory_file(seccomp.program(), "filter")
        script = (
            "import ctypes, os, threading\n"
            "one = threading.Thread(target=lambda: None); one.start(); one.join()\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "print(libc.unshare(0x10000000), os.strerror(ctypes.get_errno()))\n"
            "print(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), os.strerror(ctypes.get_errno()))\n"
        )
        try:
            done = subprocess.run(
                [bwrap, "--ro-bind", "/", "/", "--seccomp", str(fd), "--", "/usr/bin/python3", "-c", script],
                pass_fds=[fd],
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            os.close(fd)
    assert done.stdout == "-1 Operation not permitted\n-1 Operation not permitted\n", done.stderr
