"""The filter of system calls that every instance runs under, as a program of classic BPF.

It kills nothing: a denied call fails with EPERM, and `clone3` with ENOSYS, upon which C libraries fall back to `clone`,
whose flags a filter can read. What it denies are the calls that reach deep into the kernel and that no service needs:
mounting, new namespaces, loading code into the kernel, keys, clocks, other processes' memory.

Source   seccomp(2); linux/filter.h; linux/audit.h; the tables of system calls of x86-64 and of the generic ABI.
"""

from __future__ import annotations

import errno
import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from anew.errors import Unsupported

# Offsets in struct seccomp_data. Arguments are 64 bits; the lower half comes first on both of our machines.
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF_LD|ABS, BPF_JMP|JEQ/JGE/JSET, BPF_RET
ALLOW, FAIL = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO

NAMESPACES = 0x7E020000  # every CLONE_NEW* flag
X32 = 0x40000000  # numbers from here on are the second ABI of x86-64
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # ioctls that type into a terminal


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs between processors."""

    audit: int
    clone: int
    ioctl: int
    denied: Mapping[str, int]


SAME = MappingProxyType(  # numbers from 424 on are the same everywhere
    {
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "open_tree": 428,
        "move_mount": 429,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
        "fspick": 433,
        "mount_setattr": 442,
        "quotactl_fd": 443,
    }
)
CLONE3 = 435

X86_64 = Machine(
    audit=0xC000003E,
    clone=56,
    ioctl=16,
    denied=MappingProxyType(
        {
            "uselib": 134,
            "vhangup": 153,
            "pivot_root": 155,
            "chroot": 161,
            "acct": 163,
            "settimeofday": 164,
            "mount": 165,
            "umount2": 166,
            "swapon": 167,
            "swapoff": 168,
            "reboot": 169,
            "sethostname": 170,
            "setdomainname": 171,
            "iopl": 172,
            "ioperm": 173,
            "create_module": 174,
            "init_module": 175,
            "delete_module": 176,
            "quotactl": 179,
            "nfsservctl": 180,
            "lookup_dcookie": 212,
            "clock_settime": 227,
            "kexec_load": 246,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "unshare": 272,
            "move_pages": 279,
            "perf_event_open": 298,
            "fanotify_init": 300,
            "open_by_handle_at": 304,
            "setns": 308,
            "process_vm_writev": 311,
            "kcmp": 312,
            "finit_module": 313,
            "kexec_file_load": 320,
            "bpf": 321,
            "userfaultfd": 323,
            "syslog": 103,
        }
    ),
)
AARCH64 = Machine(
    audit=0xC00000B7,
    clone=220,
    ioctl=29,
    denied=MappingProxyType(
        {
            "lookup_dcookie": 18,
            "umount2": 39,
            "mount": 40,
            "pivot_root": 41,
            "nfsservctl": 42,
            "chroot": 51,
            "vhangup": 58,
            "quotactl": 60,
            "acct": 89,
            "unshare": 97,
            "kexec_load": 104,
            "init_module": 105,
            "delete_module": 106,
            "clock_settime": 112,
            "syslog": 116,
            "reboot": 142,
            "sethostname": 161,
            "setdomainname": 162,
            "settimeofday": 170,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "swapon": 224,
            "swapoff": 225,
            "move_pages": 239,
            "perf_event_open": 241,
            "fanotify_init": 262,
            "open_by_handle_at": 265,
            "setns": 268,
            "process_vm_writev": 271,
            "kcmp": 272,
            "finit_module": 273,
            "bpf": 280,
            "userfaultfd": 282,
            "kexec_file_load": 294,
        }
    ),
)
MACHINES: Mapping[str, Machine] = MappingProxyType({"x86_64": X86_64, "aarch64": AARCH64})


def program(machine: str = "") -> bytes:
    """Return the filter for `machine` ("x86_64", "aarch64"; the one that runs this if empty).

    Shapes   8 bytes an instruction: what bubblewrap's ``--seccomp`` reads.
    Raises   Unsupported on another processor.
    """
    name = machine or platform.machine()
    if name not in MACHINES:
        raise Unsupported(
            f"no filter of system calls for the processor {name}", hint=f"anew's instances run on {', '.join(MACHINES)}"
        )
    it = MACHINES[name]
    refuse = (_op(RETURN, FAIL | errno.EPERM),)
    absent = (_op(RETURN, FAIL | errno.ENOSYS),)
    code = [
        _op(LOAD, ARCHITECTURE),
        *_unless(EQUAL, it.audit, absent),
        _op(LOAD, NUMBER),
        *(_when(AT_LEAST, X32, absent) if it is X86_64 else ()),
        *_when(EQUAL, CLONE3, absent),
    ]
    for number in sorted({*it.denied.values(), *SAME.values()}):
        code += _when(EQUAL, number, refuse)
    code += _when(EQUAL, it.clone, (_op(LOAD, FIRST_ARGUMENT), *_when(ANY_BIT, NAMESPACES, refuse), _allow()))
    typing = (*_when(EQUAL, TIOCSTI, refuse), *_when(EQUAL, TIOCLINUX, refuse))
    code += _when(EQUAL, it.ioctl, (_op(LOAD, SECOND_ARGUMENT), *typing, _allow()))
    return b"".join((*code, _allow()))


def memory_file(content: bytes, name: str) -> int:
    """Return a descriptor of an anonymous file that holds `content`, at its start; the caller closes it."""
    fd = os.memfd_create(name)
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _allow() -> bytes:
    return _op(RETURN, ALLOW)


def _when(test: int, value: int, then: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Run `then` if the test holds, else jump over it."""
    return (_op(test, value, 0, len(then)), *then)


def _unless(test: int, value: int, then: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return (_op(test, value, len(then), 0), *then)
