"""The one thread that runs models, so that the event loop stays free and a batch has one model version.

Waiting requests for the same model are ranked together, up to a number of candidates, as soon as the thread
is free: no request waits for a batch to fill. Who has the lowest place is first; see `http/fair_shares.py`.
"""

import asyncio
import heapq
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from typing import Any, Final, TypeVar

import torch

from ranker.errors import DeadlinePassedError, ModelError
from ranker.score.terms import Floats
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime, cost_of
from serving.model.encoded_request import EncodedRequest
from serving.model.served_model import ServedModel

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class _RankJob:
    """A request that waits to be ranked.

    Attributes:
        deadline: See `serving/http/deadline.py`.
        future: Its predictions, and the seconds that it waited.
    """

    model: ServedModel
    request: EncodedRequest
    deadline: float
    future: "Future[tuple[Floats, float]]" = field(default_factory=Future)
    submitted: float = field(default_factory=perf_counter)


@dataclass(frozen=True)
class _CallJob:
    """Other work for the thread, such as changing resident videos, done between two batches."""

    function: Callable[[], Any]
    future: "Future[Any]" = field(default_factory=Future)


class ModelWorker:
    """Runs models in a thread of its own.

    Args:
        threads: Threads that torch may use for one matrix product.
        batch_candidates: Candidates that are ranked together; a request that has more is ranked alone.
        metrics: Counts batches, and the requests that wait.
        service_time: Updated with the time of every batch.
    """

    def __init__(
        self, threads: int, batch_candidates: int, metrics: Metrics, service_time: ServiceTime
    ) -> None:
        self._threads = threads
        self._batch_candidates = batch_candidates
        self._metrics = metrics
        self._service_time = service_time
        self._rank_jobs: list[tuple[float, int, _RankJob]] = []  # a heap, by place and arrival
        self._number: Final = count()
        self._call_jobs: deque[_CallJob] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    async def predict(
        self, model: ServedModel, request: EncodedRequest, deadline: float, place: float = 0.0
    ) -> tuple[Floats, float]:
        """Predict for one request's candidates.

        Args:
            model: Predicts.
            request: The request.
            deadline: It is not begun if it would be done later; see `serving/http/deadline.py`.
            place: It goes before those that wait with a higher one.

        Returns:
            (C, T) predictions in natural units, and the seconds that the request waited for its turn.

        Raises:
            DeadlinePassedError: The deadline passed before its turn, or would pass before its end.
            EvictedError: Its videos have to be fetched again.
            ModelError: The model failed.
        """
        job = _RankJob(model, request, deadline)
        with self._changed:
            heapq.heappush(self._rank_jobs, (place, next(self._number), job))
            self._metrics.queue(len(self._rank_jobs))
            self._changed.notify()
        return await asyncio.wrap_future(job.future)

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function in the thread, between two batches, and return what it returns."""
        job = _CallJob(function)
        with self._changed:
            self._call_jobs.append(job)
            self._changed.notify()
        result: T = await asyncio.wrap_future(job.future)
        return result

    def close(self) -> None:
        """Finish what was submitted, and stop the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while True:
            with self._changed:
                while not (self._rank_jobs or self._call_jobs or self._closing):
                    self._changed.wait()
                if not self._rank_jobs and not self._call_jobs:
                    return
                call_job = self._call_jobs.popleft() if self._call_jobs else None
                batch = self._next_batch()
            if call_job is not None and call_job.future.set_running_or_notify_cancel():
                _settle(call_job.future, call_job.function)
            if batch:
                self._rank(batch)

    def _next_batch(self) -> list[_RankJob]:
        """The next request and those after it of the same model, as far as there is room."""
        batch: list[_RankJob] = []
        room = self._batch_candidates
        while self._rank_jobs:
            _, _, job = self._rank_jobs[0]
            if batch and (job.model is not batch[0].model or len(job.request.candidate_ids) > room):
                break
            heapq.heappop(self._rank_jobs)
            batch.append(job)
            room -= len(job.request.candidate_ids)
        if batch:
            self._metrics.queue(len(self._rank_jobs))
        return batch

    def _rank(self, batch: list[_RankJob]) -> None:
        now = perf_counter()
        punctual: list[_RankJob] = []
        candidates, cost = 0, 0.0
        for job in batch:
            if not job.future.set_running_or_notify_cancel():
                continue  # the client has disconnected
            job_candidates = len(job.request.candidate_ids)
            job_cost = cost_of(job_candidates)
            if now + self._service_time.expected_s(cost + job_cost) > job.deadline:
                waited = (now - job.submitted) * 1000
                job.future.set_exception(
                    DeadlinePassedError(f"the request waited {waited:.0f} ms for its turn")
                )
                continue
            punctual.append(job)
            candidates += job_candidates
            cost += job_cost
        if punctual:
            self._metrics.batch(len(punctual), candidates)
            self._attempt(punctual, now)
            self._service_time.record(len(punctual), candidates, perf_counter() - now)

    def _attempt(self, batch: list[_RankJob], began: float) -> None:
        try:
            results = batch[0].model.predict([job.request for job in batch])
        except Exception as error:
            if len(batch) > 1:  # rank each alone, so that only the request that fails gets the error
                for job in batch:
                    self._attempt([job], began)
                return
            logger.error(
                "the model failed on a request of %d candidates: %r",
                len(batch[0].request.candidate_ids),
                error,
                exc_info=logger.isEnabledFor(logging.DEBUG),
            )
            batch[0].future.set_exception(ModelError(repr(error)))
            return
        for job, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result((result, began - job.submitted))


def _settle(future: "Future[T]", function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
