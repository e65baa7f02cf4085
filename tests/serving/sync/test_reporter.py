"""What a process of the service says of itself, and what its metrics say of trainers."""

import asyncio
from types import SimpleNamespace

from ranker.store.connection import connect, connect_async
from ranker.store.keys import trainer_reports_key
from ranker.store.reports import Alarm, TrainerReport, service_reports
from serving.http.metrics import Metrics
from serving.sync import reporter as module
from serving.sync.reporter import Reporter
from tests.serving.metric_value import metric_value
from tests.serving.waiting import until

MODEL = SimpleNamespace(
    manifest=SimpleNamespace(model_version="small-1", watermark_ms=1_000),
    state=SimpleNamespace(watermark_ms=2_000),
)


def reporting(url, use):
    async def main():
        metrics = Metrics(frozenset())
        client = connect_async(url, timeout_s=1)
        models = SimpleNamespace(model=MODEL, refused="small-2")
        reporter = Reporter(client, models, metrics)
        reporter.start()
        try:
            await use(metrics)
        finally:
            await reporter.stop()
            await client.aclose()

    asyncio.run(main())


def test_a_process_says_how_it_stands_until_it_ends(server):
    with connect(server.url) as client:

        async def use(metrics):
            await until(lambda: service_reports(client, 0))
            ((name, found),) = service_reports(client, 0).items()
            assert name.count(":") == 1
            assert (found.model_version, found.watermark_ms, found.refused_version) == (
                "small-1",
                1_000,
                "small-2",
            )
            assert metric_value(metrics, "watchnext_model_age_seconds") > 1e9

        reporting(server.url, use)
        assert service_reports(client, 0) == {}


def test_metrics_say_what_trainers_say(server, monkeypatch):
    monkeypatch.setattr(module, "REPORT_S", 0.01)
    alarm = Alarm(kind="gate", about="click", expected="many experts", found="one")
    report = TrainerReport(
        at_ms=1_000,
        model_version="small-1",
        watermark_ms=1_000,
        rows=5,
        learned_ms=2_000,
        held_back=("click: expected better, found worse",),
        heads={"click": {"calibration": 1.5}},
        columns={"length": {"psi": None, "missing": 0.25}},
        alarms=(alarm,),
    )
    series = 'watchnext_trainer_alarm{about="click",kind="gate",trainer="small"}'
    with connect(server.url) as client:

        async def use(metrics):
            def value(name):
                return metric_value(metrics, name)

            client.hset(trainer_reports_key(), "small", report.model_dump_json())
            await until(lambda: series in metrics.exposition().decode())
            assert value(series) == 1
            assert value('watchnext_trainer_held_back{trainer="small"}') == 1
            assert value('watchnext_trainer_learned_timestamp_seconds{trainer="small"}') == 2
            head = 'watchnext_trainer_head{figure="calibration",head="click",trainer="small"}'
            assert value(head) == 1.5
            column = 'watchnext_trainer_column{column="length",figure="missing",trainer="small"}'
            assert value(column) == 0.25
            over = report.model_copy(update={"alarms": ()})
            client.hset(trainer_reports_key(), "small", over.model_dump_json())
            await until(lambda: value(series) == 0)

        reporting(server.url, use)
        client.delete(trainer_reports_key())
