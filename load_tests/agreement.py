"""Agreement of a network's serving form with its plain float32 forward pass, on real requests.

`python -m load_tests.agreement --data DIR` trains the preset of a log on its first nine tenths, with every
kind of network. Its requests have the viewer, query video and time of rows of the last tenth, and 500
candidates of the log's catalogue each. It compares the top 20 by score, and the predictions. Without --data
the log is the simulated world. QUICK=1 trains on the first 30,000 rows, with an mmoe alone, and compares 100
requests.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rich.console import Console

from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.events import TIME_MS
from ranker.features.batch import Encoded
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.files.whole import write_whole
from ranker.labels.natural_units import natural_units
from ranker.networks.inference import InferenceModel
from ranker.networks.match_multiplications import with_kind
from ranker.networks.sharing.registry import kind_names
from ranker.score.policy import ScorePolicy
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from training.run import RunConfig, run
from training.sources.base import Source
from training.sources.registry import open_source

RESULTS = Path(__file__).parent / "results" / "agreement.json"
TOP = 20
QUICK_ROWS = 30_000


@dataclass(frozen=True)
class Agreement:
    """The agreement over some requests.

    Attributes:
        requests: Number of requests.
        overlap: Mean share of the top 20 that both forms have in common.
        probability: Largest difference of any probability.
        relative: Largest difference of a regression head's prediction, relative to 1 + its absolute value.
    """

    requests: int
    overlap: float
    probability: float
    relative: float


def requests_of(
    source: Source, encoder: Encoder, *, since_ms: int | None, count: int, size: int
) -> Iterator[Encoded]:
    """Yield encoded requests of a log, with candidates of its catalogue.

    Args:
        source: The log.
        encoder: The bundle's encoder.
        since_ms: First event time of a request.
        count: Number of requests, drawn from the log's rows.
        size: Candidates per request.
    """
    draw = np.random.default_rng(0)
    catalogue = pa.Table.from_batches(source.videos()).combine_chunks().to_batches()[0]
    candidates = encoder.records[Group.CANDIDATE].of_batch(catalogue)
    rows = pa.Table.from_batches(source.records(4096, since_ms=since_ms)).combine_chunks()
    rows = rows.take(np.sort(draw.choice(len(rows), min(count, len(rows)), replace=False)))
    batch = rows.to_batches()[0]
    requests = encoder.records[Group.REQUEST].of_batch(batch)
    pairs = encoder.records[Group.PAIR]
    shared = pairs.shared_words(encoder.records[Group.REQUEST])
    own = pairs.shared_words(encoder.records[Group.CANDIDATE])
    for row, time_ms in enumerate(batch.column(TIME_MS).to_pylist()):
        drawn = draw.choice(len(candidates), min(size, len(candidates)), replace=False)
        words = pairs.missing(len(drawn))
        words[:, shared[0]] = requests[row, shared[1]]
        words[:, own[0]] = candidates[np.ix_(drawn, own[1])]
        yield Encoded(
            {
                Group.REQUEST: encoder.read(Group.REQUEST, requests[row : row + 1], time_ms),
                Group.CANDIDATE: encoder.read(Group.CANDIDATE, candidates[drawn]),
                Group.PAIR: encoder.read(Group.PAIR, words, time_ms),
            },
            bias=None,
        )


def agreement(bundle: Bundle, requests: Iterator[Encoded], dtype: torch.dtype) -> Agreement:
    """Compare a bundle's serving form of some type with its float32 forward pass."""
    prepared = InferenceModel.of(bundle.model, dtype)
    policy = bundle.spec.score_policies().default
    binary = np.array([task.is_probability for task in bundle.spec.tasks])
    overlaps: list[float] = []
    probability = relative = 0.0
    for encoded in requests:
        with torch.inference_mode():
            plain = natural_units(bundle.model(encoded), bundle.spec.tasks)
        served = natural_units(serve(prepared, encoded), bundle.spec.tasks)
        overlaps.append(len(best(policy, plain) & best(policy, served)) / min(TOP, len(plain)))
        gap = np.abs(plain - served)
        probability = max(probability, float(gap[:, binary].max(initial=0)))
        relative = max(relative, float((gap / (1 + np.abs(plain)))[:, ~binary].max(initial=0)))
    return Agreement(len(overlaps), float(np.mean(overlaps)), probability, relative)


def serve(prepared: InferenceModel, encoded: Encoded) -> torch.Tensor:
    """Compute outputs as the service does, with the videos' parts kept in the model's type."""
    candidate = prepared.for_storage(prepared.side_output(Group.CANDIDATE, encoded.groups[Group.CANDIDATE]))
    pairs = prepared.side_output(Group.PAIR, encoded.groups[Group.PAIR]) if prepared.has_pairs else None
    return prepared.outputs(
        prepared.side_output(Group.REQUEST, encoded.groups[Group.REQUEST]), [candidate], pairs
    )


def best(policy: ScorePolicy, predictions: NDArray[np.float64]) -> set[int]:
    """Return the indices of the top 20."""
    return set(policy.score(predictions).best(TOP).tolist())


def trained(spec: RankerSpec, source: Source, until_ms: int) -> Bundle:
    """Train on a log before a time, and return the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        run(RunConfig(spec, source, folder, until_ms=until_ms), Console(quiet=True), live=False)
        return Registry(folder).read()


def nine_tenths(source: Source) -> int:
    """Return the time of the first row after nine tenths of a log."""
    times = np.concatenate([batch.column(TIME_MS).to_numpy() for batch in source.records(65_536)])
    return int(times[len(times) * 9 // 10])


def time_after(source: Source, rows: int) -> int:
    """Return the time of a log's `rows`-th row."""
    return int(next(iter(source.records(rows))).column(TIME_MS)[-1].as_py())


def main() -> None:
    """Print and write the agreement of every kind of network in both types."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="Folder of a log; without it the simulated world.")
    parser.add_argument("--requests", type=int, default=100 if quick else 1000)
    parser.add_argument("--candidates", type=int, default=500)
    arguments = parser.parse_args()
    source = open_source(arguments.data)
    base = load_spec("kuairand" if arguments.data else "simulated")
    cut = time_after(source, QUICK_ROWS) if quick else nine_tenths(source)
    torch.set_num_threads(1)
    found = []
    for kind in ["mmoe"] if quick else kind_names():
        bundle = trained(with_kind(base, kind), source, cut)
        for dtype in (torch.float32, torch.bfloat16):
            requests = requests_of(
                source,
                bundle.encoder,
                since_ms=cut,
                count=arguments.requests,
                size=arguments.candidates,
            )
            one = agreement(bundle, requests, dtype)
            found.append({"kind": kind, "dtype": str(dtype).removeprefix("torch."), **asdict(one)})
            print(
                f"{kind} in {found[-1]['dtype']}: {one.requests} requests, overlap of the top {TOP} "
                f"{one.overlap:.4f}, largest difference of a probability {one.probability:.2e}, "
                f"of a regression head {one.relative:.2e} of 1 + its size"
            )
    if not quick:
        report = {"log": source.name.rsplit("/", 1)[-1], "found": found}
        write_whole(RESULTS, (json.dumps(report, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
