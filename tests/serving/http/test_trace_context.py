import pytest

from serving.http.trace_context import TraceContext

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


def context(*values):
    return TraceContext.of([(b"host", b"x"), *((b"traceparent", value.encode()) for value in values)])


def test_a_trace_is_carried_on_with_a_part_of_our_own():
    found = context(VALID)
    assert (found.trace_id, found.parent_id, found.flags) == (TRACE, PARENT, "01")
    version, trace_id, span_id, flags = found.header.split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id == found.span_id != PARENT
    assert len(span_id) == 16
    assert context(VALID).span_id != found.span_id


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        VALID.upper(),
        VALID[:-1],
        f"{VALID}-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{TRACE}-{PARENT}-01more",
        f"00-{TRACE}-{PARENT}-0g",
        f"{VALID}\nX",
    ],
)
def test_what_is_no_trace_is_ignored(value):
    assert context(value) is None


def test_two_traces_are_none():
    assert context() is None
    assert context(VALID, VALID) is None


@pytest.mark.parametrize("rest", ["", "-what-comes-later"])
def test_a_later_version_is_read_as_far_as_it_is_known(rest):
    assert context(f"cc-{TRACE}-{PARENT}-00{rest}").trace_id == TRACE


def test_the_answer_and_only_that_of_who_sent_one_has_the_trace(client):
    traced = client.get("/healthz", headers={"traceparent": VALID})
    assert traced.headers["traceresponse"] == traced.headers["traceparent"]
    assert traced.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert PARENT not in traced.headers["traceparent"]
    for headers in ({}, {"traceparent": "00-x"}):
        assert not {"traceparent", "traceresponse"} & set(client.get("/healthz", headers=headers).headers)
    refused = client.post("/v1/rank", content=b"{", headers={"traceparent": VALID})
    assert refused.status_code >= 400
    assert TRACE in refused.headers["traceresponse"]
