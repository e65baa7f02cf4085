"""The one thread that runs models, so that the event loop stays free and every batch is of one version.

Waiting requests for the same model are ranked together, up to a number of candidates, as soon as the thread
is free: nobody waits for a batch to fill.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

import torch

from ranker.errors import DeadlinePassedError, ModelError
from serving.http.metrics import Metrics
from serving.http.pace import Pace
from serving.model.served_model import Floats, Query, ServedModel

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class _Ranking:
    """A request that waits.

    Attributes:
        deadline: `perf_counter()` after which nobody waits for the answer; None for no such time.
        future: Its predictions and the seconds that it waited.
    """

    model: ServedModel
    query: Query
    deadline: float | None
    future: "Future[tuple[Floats, float]]" = field(default_factory=Future)
    submitted: float = field(default_factory=perf_counter)


@dataclass(frozen=True)
class _Errand:
    """Other work for the thread, such as changing resident videos, done between two batches."""

    do: Callable[[], Any]
    future: "Future[Any]" = field(default_factory=Future)


class ModelWorker:
    """Runs models in a thread of its own.

    Args:
        threads: Threads that torch may use for one matrix product.
        batch_candidates: Candidates that are ranked together; a request that has more goes alone.
        metrics: Counts batches.
        pace: Learns how long they take.
    """

    def __init__(self, threads: int, batch_candidates: int, metrics: Metrics, pace: Pace) -> None:
        self._threads = threads
        self._batch_candidates = batch_candidates
        self._metrics = metrics
        self._pace = pace
        self._rankings: deque[_Ranking] = deque()
        self._errands: deque[_Errand] = deque()
        self._something = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    async def predict(self, model: ServedModel, query: Query, deadline: float | None) -> tuple[Floats, float]:
        """Predict for one request's candidates.

        Args:
            model: Predicts.
            query: The request.
            deadline: `perf_counter()` by which it must be done: it is not begun if it would not be.

        Returns:
            (C, T) predictions in natural units, and the seconds that the request waited for its turn.

        Raises:
            DeadlinePassedError: The deadline passed before its turn, or would before its end.
            EvictedError: Videos have to be fetched again.
            ModelError: The model failed.
        """
        job = _Ranking(model, query, deadline)
        with self._something:
            self._rankings.append(job)
            self._something.notify()
        return await asyncio.wrap_future(job.future)

    async def do(self, errand: Callable[[], T]) -> T:
        """Run something in the thread, between two batches."""
        job = _Errand(errand)
        with self._something:
            self._errands.append(job)
            self._something.notify()
        result: T = await asyncio.wrap_future(job.future)
        return result

    def close(self) -> None:
        """Finish what was submitted, and stop the thread."""
        with self._something:
            self._closing = True
            self._something.notify()
        self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while True:
            with self._something:
                while not (self._rankings or self._errands or self._closing):
                    self._something.wait()
                if not self._rankings and not self._errands:
                    return
                errand = self._errands.popleft() if self._errands else None
                batch = self._next_batch()
            if errand is not None and errand.future.set_running_or_notify_cancel():
                _settle(errand.future, errand.do)
            if batch:
                self._rank(batch)

    def _next_batch(self) -> list[_Ranking]:
        """The oldest request and those after it of the same model, as far as there is room."""
        batch: list[_Ranking] = []
        room = self._batch_candidates
        while self._rankings:
            job = self._rankings[0]
            if batch and (job.model is not batch[0].model or len(job.query.video_ids) > room):
                break
            batch.append(self._rankings.popleft())
            room -= len(job.query.video_ids)
        return batch

    def _rank(self, batch: list[_Ranking]) -> None:
        now = perf_counter()
        wanted: list[_Ranking] = []
        candidates = 0
        for job in batch:
            if not job.future.set_running_or_notify_cancel():
                continue  # whoever asked has left
            count = len(job.query.video_ids)
            done = now + (candidates + count) * self._pace.candidate_s
            if job.deadline is not None and done > job.deadline:
                self._metrics.reject("deadline")
                self._pace.doubt()
                waited = (now - job.submitted) * 1000
                job.future.set_exception(
                    DeadlinePassedError(f"the request waited {waited:.0f} ms for its turn")
                )
                continue
            wanted.append(job)
            candidates += count
        if wanted:
            self._metrics.batch(len(wanted), candidates)
            self._attempt(wanted, now)
            self._pace.note(len(wanted), candidates, perf_counter() - now)

    def _attempt(self, batch: list[_Ranking], began: float) -> None:
        try:
            results = batch[0].model.predict([job.query for job in batch])
        except Exception as error:
            if len(batch) > 1:  # find out whose fault it is
                for job in batch:
                    self._attempt([job], began)
                return
            logger.error(
                "the model failed on a request of %d candidates: %r",
                len(batch[0].query.video_ids),
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


def _settle(future: "Future[T]", do: Callable[[], T]) -> None:
    try:
        future.set_result(do())
    except Exception as error:
        future.set_exception(error)
