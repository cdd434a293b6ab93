"""What a group's backend counts for the judge, in tables of HAProxy: what it is told, and what it tells. Pure.

Everything here is of requests that came in public or from a caller; a preview counts nowhere. It is counted when the
answer begins, whoever gives it: an instance, or HAProxy itself, where none could be reached or none answered.

- `TOTALS` has an entry for each group: its trials, and how many of them were bad and how many slow. An answer is bad if
  its status is 5xx. It is slow if it began later after the request than the map `SLOW` says for its service, which is
  changed live; a service that is not in there has no slow answers.
- `CLIENTS` makes once of often, where clients are known (see `sticky`): it has an entry for each group, client and
  `CLIENT_WINDOW` in which requests came, and the first answer of each kind that is counted there is counted in
  `TOTALS`, too. A request of nobody in particular is a trial of its own. Entries leave some seconds later; if there are
  more clients than it holds, some are counted more often, and nothing worse.
- The backend's own table has an entry for each bucket of times (see `anew.core.times`), with how many answers of
  instances began that long after their request. `TIMES` is a map in which HAProxy looks for the bucket: a time is
  written as an address, and a bucket as a network.

HAProxy asks the clock of the machine once in each round of its loop; if that is set while an answer is awaited, the
time of this one is wrong. Entries of groups and of times stay as long as the worker.

Rules after a response may not count in HAProxy 2.6; fetching a counter that counts itself up is allowed there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address

from anew.core.times import buckets, highest
from anew.edge.section import PREVIEW
from anew.model import CLIENT_WINDOW, EdgeGroup

TOTALS, CLIENTS = "_judged", "_clients"
SLOW, TIMES = "_slow.map", "_times.map"
EXPIRES = f"{CLIENT_WINDOW + 5}s"  # of a client's window; an entry that a request still needs stays
MOST_CLIENTS, MOST_GROUPS, MOST_BUCKETS = 200_000, 10_000, 4096  # some 200 bytes each, made when they are needed

_TRIALS, _BAD, _LATE = range(3)
_NEVER = 1 << 62  # microseconds

_TABLES = f"""
backend {TOTALS}
  stick-table type string len 64 size {MOST_GROUPS} store gpc(3)

backend {CLIENTS}
  stick-table type binary len 8 size {MOST_CLIENTS} expire {EXPIRES} store gpc(3)
"""
_TOTAL = re.compile(r"key=(\S+) .*?\bgpc0=(\d+) gpc1=(\d+) gpc2=(\d+)")
_TIME = re.compile(r"key=(\d+) .*?\bhttp_req_cnt=(\d+)")
_TABLE = re.compile(r"# table: (\S+),[^\n]*\n")


def tables() -> str:
    """Return the tables that all groups share."""
    return _TABLES


def rules(group: EdgeGroup, *, is_sticky: bool) -> Iterator[str]:
    """Yield the lines of a group's backend that count."""
    began, is_public = "var(txn.begin)", f"unless {{ fe_name {PREVIEW} }}"
    yield f"  stick-table type integer size {MOST_BUCKETS} store http_req_cnt"
    yield f"  http-request set-var(txn.begin) date(0,us) {is_public}"
    yield f"  http-request track-sc0 str({group.name}) table {TOTALS} {is_public}"
    if is_sticky:
        key = f"str({group.name}),concat(|,txn.client),concat(|,txn.window),xxh64(0)"
        known = f"if {{ {began} -m found }} {{ var(txn.client) -m found }}"
        yield f"  http-request set-var(txn.window) {began},div({CLIENT_WINDOW * 1_000_000})"
        yield f"  http-request track-sc1 {key} table {CLIENTS} {known}"
    took = "date(0,us),sub(txn.begin)"
    yield f"  http-response track-sc2 {took},map_ip_int({TIMES})"
    yield f"  http-after-response set-var(txn.limit) str({group.service}),map_str_int({SLOW},{_NEVER})"
    yield f"  http-after-response set-var(txn.late) {took},sub(txn.limit)"
    for counter, when in ((_TRIALS, ""), (_BAD, "{ status ge 500 } "), (_LATE, "{ var(txn.late) -m int gt 0 } ")):
        yield from _counted(counter, when, is_sticky=is_sticky)


def _counted(counter: int, when: str, *, is_sticky: bool) -> Iterator[str]:
    line = f"  http-after-response set-var(txn.count) sc_inc_gpc({counter},0)"
    if is_sticky:
        yield f"{line} if {when}{{ sc_inc_gpc({counter},1) eq 1 }} or {when}!{{ sc_tracked(1) }}"
    else:
        yield f"{line} if {when}" if when else line


def times_map() -> str:
    """Return the map of all buckets: a network for each, and its highest time.

    >>> times_map().splitlines()[64], times_map().splitlines()[128]
    ('0.0.0.64/32 64', '0.0.0.128/31 129')
    """
    return "".join(f"{IPv4Address(lowest)}/{32 - more.bit_length()} {highest(lowest)}\n" for lowest, more in buckets())


def totals(answer: str) -> dict[str, tuple[int, int, int]]:
    """Return trials, bad and slow ones of each group, from what a worker shows of `TOTALS`."""
    return {one[1]: (int(one[2]), int(one[3]), int(one[4])) for one in _TOTAL.finditer(answer)}


def times(answer: str) -> dict[str, dict[int, int]]:
    """Return how many answers are in each bucket, by group, from what a worker shows of several tables."""
    parts = _TABLE.split(answer)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {group: {int(one[1]): int(one[2]) for one in _TIME.finditer(text)} for group, text in pairs}
