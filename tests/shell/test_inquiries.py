"""Criteria of a service's own: what a Prometheus or any program answers, and what none of them should."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from strangers import dead_url, http, stranger

from anew.core.measures import Asked
from anew.model import Criterion, Sample
from anew.shell.inquiries import Inquiry
from anew.shell.sources import Unread

KEY = "web-g2/orders"


def own(url: str, patience: float = 5.0) -> Inquiry:
    return Inquiry(Asked(KEY, Criterion("orders", http=url)), patience)


def metric(url: str) -> Inquiry:
    return Inquiry(Asked(KEY, Criterion("orders", "", f"{url}/base/", 'done{group="web-g2"}', "lost")))


def vector(*values: object) -> str:
    result = [{"metric": {"n": str(n)}, "value": [1.5, value]} for n, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def prometheus(answers: Mapping[str, str], head: str) -> bytes:
    asked = urlsplit(head.split()[1])
    assert asked.path == "/base/api/v1/query"
    return http(answers[parse_qs(asked.query)["query"][0]])


def test_what_came_since_the_first_answer_is_new() -> None:
    said = {"good": 1000, "bad": 400}
    with stranger(lambda _: http(json.dumps(said))) as one:
        inquiry = own(f"{one.url}/web-g2?a=b")
        assert inquiry.read() == {KEY: Sample(0, 0)}
        said |= {"good": 1010, "bad": 402}
        assert inquiry.read() == {KEY: Sample(12, 2)}
        said["good"] = 507  # a part of the sum is missing
        assert inquiry.read() == {KEY: Sample(0, 0)}
        said["good"] = 1012  # and there again: its past is no news
        assert inquiry.read() == {KEY: Sample(2, 0)}


def test_the_results_of_a_query_are_summed_and_none_is_nothing() -> None:
    answers = {'done{group="web-g2"}': vector(), "lost": vector()}
    with stranger(lambda head: prometheus(answers, head)) as one:
        inquiry = metric(one.url)
        with pytest.raises(Unread, match="no result for either query"):
            inquiry.read()
        answers['done{group="web-g2"}'] = vector("5", "2")
        assert inquiry.read() == {KEY: Sample(7, 0)}
        answers["lost"] = json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1.5, "3"]}})
        assert inquiry.read() == {KEY: Sample(3, 3)}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(""), "no count"),
        (http("[]"), "no count"),
        (http("[" * 100_000), "no count"),
        (http('{"good": 1}'), "'bad' is missing"),
        (http('{"good": true, "bad": 0}'), "no number"),
        (http('{"good": "1", "bad": 0}'), "no number"),
        (http('{"good": -1, "bad": 0}'), "is no count"),
        (http('{"good": NaN, "bad": 0}'), "is no count"),
        (http('{"good": 1e300, "bad": 0}'), "is no count"),
        (http('{"error": "ill"}', "500 Oh"), "status 500, ill"),
        (http("<html>", "302 Found"), "status 302"),
        (b"\x00\xff", "no HTTP"),
    ],
)
def test_what_is_no_answer_is_no_evidence(answer: bytes, why: str) -> None:
    with stranger(lambda _: answer) as one, pytest.raises(Unread, match=why):
        own(one.url).read()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http("{}"), "'status' is missing"),
        (http('{"status": "error", "error": "parse error"}', "400 Bad"), "status 400, parse error"),
        (http('{"status": "success", "data": {"resultType": "matrix", "result": []}}'), "a matrix, and no vector"),
        (http('{"status": "success", "data": {"resultType": "vector", "result": [{}]}}'), "'value' is missing"),
        (http(vector("NaN")), "'nan' is no count|'NaN' is no count"),
        (http(vector(None)), "'None' is no count"),
        (http(vector("-3")), "'-3' is no count"),
    ],
)
def test_what_no_prometheus_answers_is_no_evidence(answer: bytes, why: str) -> None:
    with stranger(lambda _: answer) as one, pytest.raises(Unread, match=why):
        metric(one.url).read()


def test_one_that_hangs_or_is_dead_is_no_evidence() -> None:
    with stranger(lambda _: None) as one, pytest.raises(Unread, match="timed out"):
        own(one.url, 0.3).read()
    with pytest.raises(Unread, match="refused"):
        own(dead_url()).read()
