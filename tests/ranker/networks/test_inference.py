"""The serving form computes what the network does, for every way of sharing between tasks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ranker.features.batch import Encoded
from ranker.features.encoder import Encoder
from ranker.features.kinds.cross import CrossFeature
from ranker.features.sides import Group
from ranker.networks.inference import InferenceModel, SideOutput
from ranker.networks.sharing.registry import kind_names
from ranker.spec import RankerSpec
from tests.ranker.networks.attending import NOW_MS, attending_encoder, attending_spec
from tests.ranker.networks.random_model import SHAPES, build
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of, small_spec

RECORDS = random_records(300, seed=2)


def encoder_of(spec: RankerSpec) -> Encoder:
    encoder = Encoder(spec)
    encoder.encode_examples(random_records(100, seed=1), observe=True)
    return encoder


def encoded(spec: RankerSpec, place: int, count: int = 40) -> Encoded:
    request, candidates = request_of(RECORDS, place)
    return encoder_of(spec).encode_request(request, candidates[:count])


def parts(prepared: InferenceModel, inputs: Encoded) -> tuple[SideOutput, SideOutput, SideOutput]:
    request, candidates, pairs = (prepared.side_output(group, inputs.groups[group]) for group in Group)
    return request, prepared.for_storage(candidates), pairs


def outputs(prepared: InferenceModel, inputs: Encoded) -> Tensor:
    request, candidates, pairs = parts(prepared, inputs)
    return prepared.outputs(request, [candidates], pairs if prepared.has_pairs else None)


@pytest.mark.parametrize("kind", kind_names())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_float32_it_is_the_network(kind: str, shape: dict[str, Any]) -> None:
    spec = small_spec(kind=kind, **shape)
    model, inputs = build(spec), encoded(spec, 5)

    torch.testing.assert_close(outputs(InferenceModel.of(model), inputs), model(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", kind_names())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_candidates_attend_to_a_history_as_in_the_network(kind: str, shape: dict[str, Any]) -> None:
    spec = attending_spec(kind=kind, **shape)
    encoder, (request, candidates) = attending_encoder(spec), request_of(RECORDS, 5)
    model, inputs = build(spec), encoder.encode_request(request, candidates[:40], time_ms=NOW_MS)

    found = outputs(InferenceModel.of(model), inputs)

    torch.testing.assert_close(found, model(inputs), rtol=1e-5, atol=1e-5)
    assert all(history.there.any() for history in inputs.groups[Group.PAIR].attended)


@pytest.mark.parametrize("kind", kind_names())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_bfloat16_it_is_near(kind: str, shape: dict[str, Any]) -> None:
    spec = small_spec(kind=kind, **shape)
    model, inputs = build(spec), encoded(spec, 5)

    found = outputs(InferenceModel.of(model, torch.bfloat16), inputs)

    assert found.dtype == torch.float32
    expected = model(inputs)
    assert (found - expected).abs().mean() < 0.01 * expected.std()


def test_without_pair_features_no_pairs_are_asked_for() -> None:
    sides = tuple(f for f in SMALL_SPEC.features if not isinstance(f, CrossFeature) and f.side != "pair")
    spec = SMALL_SPEC.model_copy(update={"features": sides})
    model, inputs = build(spec), encoded(spec, 5)
    prepared = InferenceModel.of(model)

    assert not prepared.has_pairs
    torch.testing.assert_close(outputs(prepared, inputs), model(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", kind_names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_request_is_computed_the_same_among_others(kind: str, dtype: torch.dtype) -> None:
    spec = small_spec(kind=kind)
    prepared = InferenceModel.of(build(spec), dtype)
    inputs = [encoded(spec, place, count) for place, count in ((5, 40), (7, 1), (11, 13))]
    each = [parts(prepared, one) for one in inputs]

    together = prepared.outputs(
        SideOutput(torch.cat([p[0].hidden for p in each]), torch.cat([p[0].linear for p in each])),
        [p[1] for p in each],
        SideOutput(torch.cat([p[2].hidden for p in each]), torch.cat([p[2].linear for p in each])),
    )

    alone = torch.cat([outputs(prepared, one) for one in inputs])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", kind_names())
@pytest.mark.parametrize("count", [1, 40, 64, 65])
def test_on_cuda_it_is_the_network_whatever_the_number_of_candidates(kind: str, count: int) -> None:
    spec = small_spec(kind=kind)
    model, inputs = build(spec), encoded(spec, 5, count)
    expected = model(inputs)

    found = outputs(InferenceModel.of(model.to("cuda")), inputs)

    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


def test_the_network_that_it_was_made_from_is_left_alone() -> None:
    model, inputs = build(SMALL_SPEC), encoded(SMALL_SPEC, 5)
    before = model(inputs)

    outputs(InferenceModel.of(model, torch.bfloat16), inputs)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model(inputs), before, rtol=0, atol=0)
