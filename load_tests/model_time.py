"""The model's time relative to the lower bound of the processor's matrix product.

`python -m load_tests.model_time` times 500 candidates of the reference network in its bfloat16 serving form,
one bfloat16 matrix product with as many multiplications as the serving form has per candidate, and the plain
float32 forward pass. They take turns in one run, so that other load on the machine delays all alike.

Shape letters: C candidates, H width of the shared layer.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch.nn import functional

from load_tests.machine import machine
from load_tests.ranking.reference import reference_spec
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.files.whole import write_whole
from ranker.networks.inference import InferenceModel
from ranker.networks.layers import multiplications
from ranker.networks.model import RankingModel

RESULTS = Path(__file__).parent / "results" / "model_time.json"
CANDIDATES = 500
LIMIT = 1.5
"""Target for the model's time over the matrix product's time."""


def contenders(experts: int) -> tuple[dict[str, Callable[[], object]], int]:
    """Return the functions to time, and the multiplications per candidate that the serving form has left."""
    torch.manual_seed(0)
    spec = reference_spec(experts)
    encoder, model = Encoder(spec), RankingModel(spec).eval()
    encoded = encoder.encode_request({}, [{"video_id": str(index)} for index in range(CANDIDATES)])
    prepared = InferenceModel.of(model, torch.bfloat16)
    request = prepared.side_output(Group.REQUEST, encoded.groups[Group.REQUEST])
    candidates = prepared.for_storage(prepared.side_output(Group.CANDIDATE, encoded.groups[Group.CANDIDATE]))
    pairs = prepared.side_output(Group.PAIR, encoded.groups[Group.PAIR])

    first, linear = multiplications(model.network.first), multiplications(model.network.linear)  # type: ignore[arg-type]
    left = model.multiplications - first - linear
    width = prepared.hidden_width
    x_ch = torch.randn(CANDIDATES, width).bfloat16()
    weight = torch.randn(left // width, width).bfloat16()

    @torch.inference_mode()
    def plain() -> object:
        return model(encoded)

    @torch.inference_mode()
    def product() -> object:
        return functional.linear(x_ch, weight)

    served = {
        "served": lambda: prepared.outputs(request, [candidates], pairs),
        "one bfloat16 product": product,
        "plain float32": plain,
    }
    return served, left


def timed(what: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each function; the functions take turns."""
    times: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(rounds):
        for name, run in what.items():
            begun = perf_counter()
            run()
            times[name].append(perf_counter() - begun)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def main() -> None:
    """Print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    quick = os.environ.get("QUICK") == "1"
    parser.add_argument("--rounds", type=int, default=8 if quick else 60)
    arguments = parser.parse_args()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for experts in (8, 4):
            what, left = contenders(experts)
            timed(what, 3)
            medians = timed(what, arguments.rounds)
            ratio = medians["served"] / medians["one bfloat16 product"]
            results.append(
                {"threads": threads, "experts": experts, "left": left, "ratio": ratio, "seconds": medians}
            )
            shown = ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in medians.items())
            print(
                f"{threads} threads, {experts} experts, {left / 1e6:.2f}M multiplications left: {shown}; "
                f"served / product {ratio:.2f} (aim at most {LIMIT})"
            )
    if not quick:
        write_whole(
            RESULTS, (json.dumps({"machine": machine(), "results": results}, indent=2) + "\n").encode()
        )


if __name__ == "__main__":
    main()
