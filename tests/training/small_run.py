"""A small run: 400 rows."""

import io
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from tests.ranker.small_spec import SMALL_SPEC, random_records
from tests.training.record_source import RecordSource
from training.run import RunConfig, RunResult, run

RECORDS = random_records(400)  # the spec saves every 64 rows and learns 32 at a time
TIMES = RECORDS.column("time_ms").to_numpy()


def config(folder: Path, records: pa.RecordBatch = RECORDS, **other: object) -> RunConfig:
    return RunConfig(SMALL_SPEC, RecordSource(records), str(folder), **other)  # type: ignore[arg-type]


def start(config: RunConfig) -> RunResult:
    return run(config, Console(file=io.StringIO()))


def weights(result: RunResult) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in result.trainer.model.state_dict().items()}


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
