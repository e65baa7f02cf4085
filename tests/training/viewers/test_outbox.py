import pytest

from ranker.errors import UserError, WatchnextError
from tests.serving.waiting import wait_until
from tests.training.viewers.fake_service import fake_service
from training.service_client import AwayError, ServiceClient
from training.viewers.behaviour import Due
from training.viewers.outbox import Outbox


def event(name: str, after_s: float = 0.0) -> Due:
    return Due(after_s, {"event_id": name})


def test_events_are_sent_when_they_are_due() -> None:
    with fake_service() as service, Outbox(ServiceClient(service.url)) as outbox:
        outbox.add([event("later", 0.4), event("now"), event("much later", 3600)])
        wait_until(lambda: outbox.sent == 2, "two events")
        assert [sent["event_id"] for sent in service.events] == ["now", "later"]
        assert outbox.waiting == 1
    assert [sent["event_id"] for sent in service.events] == ["now", "later", "much later"]


@pytest.mark.parametrize("status", [503, 500])
def test_a_call_that_fails_is_sent_again_as_it_was(status: int) -> None:
    with fake_service() as service, Outbox(ServiceClient(service.url)) as outbox:
        service.failing = [status, status]
        outbox.add([event("a"), event("b")])
        wait_until(lambda: outbox.sent == 2, "the third try")
    assert [sent["event_id"] for sent in service.events] == ["a", "b"] * 3
    assert (outbox.retries, outbox.rejected) == (2, 0)


def test_what_is_refused_is_not_sent_again() -> None:
    with fake_service() as service, Outbox(ServiceClient(service.url)) as outbox:
        service.failing = [422]
        outbox.add([event("a")])
        wait_until(lambda: outbox.rejected == 1, "the refusal")
    assert len(service.events) == 1


def test_leaving_does_not_wait_for_a_service_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.viewers.outbox.LAST_S", 0.2)
    with fake_service() as service:
        service.away = float("inf")
        with Outbox(ServiceClient(service.url)) as outbox:
            outbox.add([event("a")])
            wait_until(lambda: outbox.retries > 0, "a try")
    assert outbox.sent == 0


def test_errors_say_whether_to_try_again() -> None:
    with fake_service() as service:
        client = ServiceClient(service.url)
        service.failing = [503, 422]
        with pytest.raises(AwayError, match="/v1/events answered 503"):
            client.call("POST", "/v1/events", {"events": []})
        with pytest.raises(WatchnextError, match="/v1/events answered 422"):
            client.call("POST", "/v1/events", {"events": []})
        client.close()
    with pytest.raises(AwayError, match="expected an answer, found Connection"):
        client.call("POST", "/v1/events", {"events": []})
    with pytest.raises(UserError, match=r"--url: expected a URL such as http://127.0.0.1:8000, found 'here'"):
        ServiceClient("here")
