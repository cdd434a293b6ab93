"""What HAProxy tells, where it is not as plain as it looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from anew.edge.sockets import Master, Worker

HEADER = "# pxname,svname,scur,stot,econ,hrsp_5xx,srv_abrt,mode,status,last_chk,uweight,addr,\n"
ROWS = (
    'web-g1,s1,0,7,1,2,3,http,DOWN,"Layer7 wrong status, code: 503, info: ""busy, try later""",5,127.0.0.1:20001,\n'
    "web-g1,BACKEND,1,9,0,4,2,http,UP,,0,,\n\n"
)
TABLE = """# table: _judged, type: string, size:10000, used:1
0x55b96b3eb828: key=web-g1 use=0 exp=0 shard=0 gpc0=8 gpc1=4 gpc2=1

"""


class Told(Master):
    """A master that answers one thing."""

    answer = HEADER + ROWS + TABLE

    def tell(self, worker: Worker, *commands: str) -> str:
        return self.answer


def test_an_answer_with_commas_moves_no_other_cell(tmp_path: Path) -> None:
    worker = Worker(1, is_old=False, identity="1.1", master=1, socket=tmp_path, is_retired=False)
    server, backend = Told(tmp_path / "haproxy.sock").rows(worker)
    assert (server.server, server.address, server.weight, server.requests) == ("s1", "127.0.0.1:20001", 5, 7)
    assert (server.failures, server.is_open) == (5, True)
    assert (backend.server, backend.in_flight, backend.requests, backend.failures) == ("", 1, 9, 6)
    assert (server.judged, backend.judged) == ((0, 0, 0), (8, 6, 1))


def test_a_worker_without_tables_and_one_that_ends_while_it_answers(tmp_path: Path) -> None:
    worker = Worker(1, is_old=False, identity="1.1", master=1, socket=tmp_path, is_retired=False)
    told = Told(tmp_path / "haproxy.sock")
    told.answer = HEADER + ROWS + "No such table\n\n"
    assert [(row.requests, row.judged) for row in told.rows(worker)] == [(7, (0, 0, 0)), (9, (0, 0, 0))]
    told.answer = HEADER + ROWS + TABLE[:-1]
    with pytest.raises(ConnectionError, match="has ended"):
        told.rows(worker)
