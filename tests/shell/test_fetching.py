"""Requests to strangers, who may be dead, slow, endless or mad."""

from __future__ import annotations

import time

import pytest
from strangers import dead_url, http, stranger

from anew.shell.fetching import LONGEST, Call, NoAnswer


def test_what_is_answered_comes_back_whole() -> None:
    with stranger(lambda _: http("hello", "404 Not Found")) as one:
        assert Call.to(f"{one.url}/a/b?c=%20d", 5.0).answer() == (404, b"hello")
        assert Call.to(one.url, 5.0, "web.shop").status() == 404
    assert one.asked[0].startswith(f"GET /a/b?c=%20d HTTP/1.0\r\nHost: 127.0.0.1:{one.port}\r\n")
    assert one.asked[1].startswith("GET / HTTP/1.0\r\nHost: web.shop\r\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed without an answer"),
        (b"hello\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no HTTP"),
        (http("5\r\nhello", "200 OK", "Transfer-Encoding: chunked"), "in parts"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * LONGEST, "more than"),
    ],
)
def test_what_is_no_answer_is_told(answer: bytes, why: str) -> None:
    with stranger(lambda _: answer) as one, pytest.raises(NoAnswer, match=why):
        Call.to(one.url, 5.0).answer()


def test_nobody_holds_us_up() -> None:
    began = time.monotonic()
    with stranger(lambda _: None) as one, pytest.raises(NoAnswer, match="timed out"):
        Call.to(one.url, 0.3).answer()
    with stranger(lambda _: http("x" * 1000), pause=0.05) as one, pytest.raises(NoAnswer, match="timed out"):
        Call.to(one.url, 0.3).answer()
    assert time.monotonic() - began < 3


def test_where_nobody_listens_that_is_told() -> None:
    with pytest.raises(NoAnswer, match="refused"):
        Call.to(dead_url(), 5.0)
    with pytest.raises(NoAnswer):
        Call.to("http://nowhere.invalid/", 5.0)
