"""The listening TCP sockets of this machine, asked of the kernel by netlink.

Source  sock_diag(7). The text file /proc/net/tcp tells the same, but to find the end of what listens, its reader must
        walk through all connections there are: measured, 10 ms against 0.2 ms.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from anew.model import Seconds

SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
REQUEST_ALL = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
ERROR, DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
LISTENING = 1 << 10  # TCP_LISTEN, as a set of states
PATIENCE: Seconds = 1.0
HEAD = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ASKED = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, extensions, states, any address
PORT = struct.Struct("!4xH")  # in inet_diag_msg: the port after family, state, timer and retransmissions
OWNER = struct.Struct("=64xII")  # in the same: uid and inode after the address, expiry and both queues


def listening(family: socket.AddressFamily) -> Iterator[tuple[int, int, int]]:
    """Yield port, inode and uid of every socket of a family that listens.

    Raises  OSError where the kernel does not answer such questions.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as one:
        one.settimeout(PATIENCE)
        size = HEAD.size + ASKED.size
        one.send(HEAD.pack(size, BY_FAMILY, REQUEST_ALL, 1, 0) + ASKED.pack(family, socket.IPPROTO_TCP, 0, LISTENING))
        while True:
            data, at = one.recv(1 << 16), 0
            while at < len(data):
                length, kind, *_ = HEAD.unpack_from(data, at)
                if kind == DONE:
                    return
                if kind == ERROR:
                    code = -struct.unpack_from("=i", data, at + HEAD.size)[0]
                    raise OSError(code, os.strerror(code))
                (port,) = PORT.unpack_from(data, at + HEAD.size)
                uid, inode = OWNER.unpack_from(data, at + HEAD.size)
                yield port, inode, uid
                at += (length + 3) & ~3
