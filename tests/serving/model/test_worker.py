import asyncio
import threading
from contextlib import contextmanager
from time import perf_counter
from types import SimpleNamespace

import pytest

from ranker.errors import DeadlinePassedError, EvictedError, ModelError
from serving.http.deadline import NO_DEADLINE
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime
from serving.model.worker import ModelWorker


class Recorder:
    """Stands in for a model: notes its batches, gives each query its own name, and fails where told to."""

    def __init__(self):
        self.batches = []
        self.threads = set()

    def predict(self, queries):
        self.batches.append([query.name for query in queries])
        self.threads.add(threading.current_thread().name)
        if any(query.name == "bad" for query in queries):
            raise RuntimeError("out of memory")
        return [EvictedError(1) if query.name == "evicted" else query.name for query in queries]


def query(name, candidates=1):
    return SimpleNamespace(name=name, candidate_ids=["v"] * candidates)


@contextmanager
def working(batch_candidates=10, metrics=None, service_time=None):
    worker = ModelWorker(1, batch_candidates, metrics or Metrics(frozenset()), service_time or ServiceTime())
    try:
        yield worker
    finally:
        worker.close()


class Held:
    """Keeps the thread of a worker busy until it is let go, so that what comes meanwhile waits."""

    def __init__(self, worker):
        self._let_go = threading.Event()
        self._began = threading.Event()
        self._job = asyncio.ensure_future(worker.call(self._hold))

    def _hold(self):
        self._began.set()
        assert self._let_go.wait(60)

    async def __aenter__(self):
        await asyncio.to_thread(self._began.wait, 60)

    async def __aexit__(self, *_):
        await asyncio.sleep(0)  # those that were started have submitted
        self._let_go.set()
        await self._job


def rank_together(worker, jobs, *, meanwhile=None):
    """Submit (model, query[, deadline[, place]]) while the thread is busy; return the outcomes."""

    async def run():
        async with Held(worker):
            tasks = [
                asyncio.ensure_future(worker.predict(model, one, *rest or (NO_DEADLINE,)))
                for model, one, *rest in jobs
            ]
            await asyncio.sleep(0)
            if meanwhile is not None:
                meanwhile(tasks)
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


def results(outcomes):
    return [outcome[0] if isinstance(outcome, tuple) else type(outcome) for outcome in outcomes]


def test_those_that_wait_are_ranked_together_in_the_thread_of_the_model():
    model = Recorder()
    with working() as worker:
        outcomes = rank_together(worker, [(model, query("a")), (model, query("b")), (model, query("c"))])
    assert results(outcomes) == ["a", "b", "c"]
    assert model.batches == [["a", "b", "c"]]
    assert model.threads == {"model"}
    assert all(waited_s > 0 for _, waited_s in outcomes)


def test_a_batch_is_as_large_as_its_candidates_allow():
    model = Recorder()
    sizes = {"a": 4, "b": 6, "c": 1, "d": 25, "e": 9, "f": 2}
    with working(batch_candidates=10) as worker:
        rank_together(worker, [(model, query(name, size)) for name, size in sizes.items()])
    assert model.batches == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


def test_a_batch_is_of_one_model_and_nobody_is_overtaken():
    old, new = Recorder(), Recorder()
    with working() as worker:
        jobs = [(old, query("a")), (old, query("b")), (new, query("c")), (old, query("d"))]
        assert results(rank_together(worker, jobs)) == ["a", "b", "c", "d"]
    assert old.batches == [["a", "b"], ["d"]]
    assert new.batches == [["c"]]


def test_what_is_too_late_is_not_begun():
    model, metrics = Recorder(), Metrics(frozenset())
    with working(metrics=metrics) as worker:
        now = perf_counter()
        jobs = [
            (model, query("a"), now + 60),
            (model, query("late"), now - 1),
            (model, query("b"), NO_DEADLINE),
        ]
        assert results(rank_together(worker, jobs)) == ["a", DeadlinePassedError, "b"]
    assert model.batches == [["a", "b"]]
    assert 'watchnext_rejects_total{reason="deadline"} 0.0' in metrics.exposition().decode()  # the answer is
    assert "watchnext_queue_requests 0.0" in metrics.exposition().decode()


@pytest.mark.parametrize("deadline_s", [-1.0, 0.001])
def test_what_is_refused_teaches_nothing_of_the_pace(deadline_s):
    """A client whose timeouts nobody could keep must not make others' requests be begun too late."""
    service_time = ServiceTime()
    service_time.record(1, 1, 10.0)
    expected_s = service_time.expected_s(100)
    with working(service_time=service_time) as worker:
        deadlines = [perf_counter() + deadline_s for _ in range(50)]
        jobs = [(Recorder(), query("a"), deadline) for deadline in deadlines]
        assert set(results(rank_together(worker, jobs))) == {DeadlinePassedError}
    assert service_time.expected_s(100) == expected_s


def test_an_estimate_that_would_keep_all_out_is_tried_again(monkeypatch):
    """One slow batch must not refuse every later request for ever."""
    service_time = ServiceTime()
    service_time.record(1, 1, 1e6)
    with working(service_time=service_time) as worker:
        assert results(rank_together(worker, [(Recorder(), query("a"), perf_counter() + 60)])) == [
            DeadlinePassedError
        ]
        monkeypatch.setattr("serving.http.service_time.STALE_S", 0.0)
        assert results(rank_together(worker, [(Recorder(), query("a"), perf_counter() + 60)])) == ["a"]


def test_who_has_the_lowest_place_is_first_and_equals_in_their_order():
    model = Recorder()
    jobs = [("a", 1000.0), ("b", 20.0), ("c", 1000.0), ("d", 10.0)]
    with working(batch_candidates=10) as worker:
        rank_together(worker, [(model, query(name, 10), NO_DEADLINE, place) for name, place in jobs])
    assert model.batches == [["d"], ["b"], ["a"], ["c"]]


def test_a_failing_request_fails_alone(caplog):
    model = Recorder()
    with working() as worker:
        jobs = [(model, query("a")), (model, query("bad")), (model, query("b"))]
        assert results(rank_together(worker, jobs)) == ["a", ModelError, "b"]
        assert asyncio.run(worker.predict(model, query("after"), NO_DEADLINE))[0] == "after"
    assert model.batches == [["a", "bad", "b"], ["a"], ["bad"], ["b"], ["after"]]
    assert "out of memory" in caplog.text


def test_an_error_that_concerns_one_request_reaches_it_alone():
    model = Recorder()
    with working() as worker:
        jobs = [(model, query("a")), (model, query("evicted"))]
        assert results(rank_together(worker, jobs)) == ["a", EvictedError]
    assert model.batches == [["a", "evicted"]]


def test_who_has_left_is_not_ranked():
    model = Recorder()
    with working() as worker:
        jobs = [(model, query("a")), (model, query("left"))]
        outcomes = rank_together(worker, jobs, meanwhile=lambda tasks: tasks[1].cancel())
    assert results(outcomes) == ["a", asyncio.CancelledError]
    assert model.batches == [["a"]]


def test_jobs_run_between_batches_and_give_what_they_found():
    model = Recorder()
    order = []

    async def run(worker):
        async with Held(worker):
            ranked = asyncio.ensure_future(worker.predict(model, query("a", 10), NO_DEADLINE))
            then = asyncio.ensure_future(worker.predict(model, query("b", 10), NO_DEADLINE))
            jobs = [
                asyncio.ensure_future(worker.call(lambda: order.append(list(model.batches)))),
                asyncio.ensure_future(worker.call(lambda: order.append(list(model.batches)))),
                asyncio.ensure_future(worker.call(lambda: 17)),
            ]
            await asyncio.sleep(0)
        return await asyncio.gather(ranked, then, *jobs)

    with working() as worker:
        assert asyncio.run(run(worker))[4] == 17
    assert order == [[], [["a"]]]  # neither waits for all of the other


def test_a_failing_job_reaches_who_asked_for_it_and_nobody_else():
    def fail():
        raise ValueError("no")

    async def run(worker):
        with pytest.raises(ValueError, match="no"):
            await worker.call(fail)
        return await worker.predict(Recorder(), query("a"), NO_DEADLINE)

    with working() as worker:
        assert asyncio.run(run(worker))[0] == "a"


def test_closing_finishes_what_was_submitted():
    model = Recorder()

    async def run(worker):
        async with Held(worker):
            tasks = [
                asyncio.ensure_future(worker.predict(model, query(str(i), 10), NO_DEADLINE)) for i in range(5)
            ]
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(asyncio.to_thread(worker.close))
            await asyncio.sleep(0.05)
            assert not closing.done()
        await closing
        return await asyncio.gather(*tasks)

    worker = ModelWorker(1, 10, Metrics(frozenset()), ServiceTime())
    assert [name for name, _ in asyncio.run(run(worker))] == ["0", "1", "2", "3", "4"]


def test_batches_are_counted():
    metrics = Metrics(frozenset())
    with working(metrics=metrics) as worker:
        rank_together(worker, [(Recorder(), query("a", 4))])
    exposed = metrics.exposition().decode()
    assert "watchnext_batch_requests_count 1.0" in exposed
    assert "watchnext_batch_candidates_sum 4.0" in exposed
