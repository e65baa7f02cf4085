"""Telling Redis how this process stands, and metrics how the trainers do."""

import asyncio
import logging
import os
import socket
from time import time
from typing import Any, Final

import redis.asyncio

from ranker.store.keys import service_reports_key, trainer_reports_key
from ranker.store.reports import ServiceReport, parse_trainer_reports
from serving.http.metrics import Metrics
from serving.sync.cancellation import cancel_and_wait
from serving.sync.hot_swap import HotSwap

logger = logging.getLogger(__name__)

REPORT_S: Final = 1.0
"""How often a report is written."""


class Reporter:
    """Writes a report every second, and reads those of trainers; while Redis is away, nothing.

    Args:
        client: A client of the store.
        models: Has the model that ranks.
        metrics: Gets what trainers say.
    """

    def __init__(self, client: redis.asyncio.Redis, models: HotSwap, metrics: Metrics) -> None:
        self._client = client
        self._models = models
        self._metrics = metrics
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Report in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Report no more, and take the report away."""
        await cancel_and_wait(self._task)
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.hdel(service_reports_key(), self._name)
                await pipeline.execute()
        except (redis.RedisError, OSError) as error:
            logger.debug("the report of this process stays: %s", error)

    async def _run(self) -> None:
        while True:
            try:
                await self._report()
            except (redis.RedisError, OSError) as error:
                logger.debug("nobody is told how this process stands: %s", error)
            await asyncio.sleep(REPORT_S)

    async def _report(self) -> None:
        model, now_s = self._models.model, time()
        watermark_ms, state_ms = model.manifest.watermark_ms, model.state.watermark_ms
        if watermark_ms is not None:
            self._metrics.watch.model_age(now_s - watermark_ms / 1000)
        report = ServiceReport(
            at_ms=round(now_s * 1000),
            model_version=model.manifest.model_version,
            watermark_ms=watermark_ms,
            state_age_s=None if state_ms is None else max(0.0, now_s - state_ms / 1000),
            refused_version=self._models.refused,
        )
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hset(service_reports_key(), self._name, report.model_dump_json())
            pipeline.hgetall(trainer_reports_key())
            _, found = await pipeline.execute()
        trainers: dict[bytes, Any] = found
        self._metrics.watch.trainers(parse_trainer_reports(trainers), now_s)
