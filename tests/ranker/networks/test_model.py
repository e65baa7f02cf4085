"""What every network must do, whatever its way of sharing between tasks."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ranker.features.batch import Encoded
from ranker.features.encoder import Encoder
from ranker.features.sides import Group, Side
from ranker.networks.model import RankingModel, TrainingOutputs
from ranker.networks.sharing.registry import kind_names
from tests.ranker.networks.random_model import SHAPES, build
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of, shown_to, small_spec

ENCODER = Encoder(SMALL_SPEC)
ENCODER.encode_examples(random_records(100, seed=1), observe=True)
RECORDS = random_records(300, seed=2)
ENCODED = ENCODER.encode_examples(RECORDS)
REQUEST, CANDIDATES = request_of(RECORDS, 5)
TASKS = len(SMALL_SPEC.tasks)


@pytest.fixture(params=kind_names())
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    sizes: dict[str, Any] = request.param
    return sizes


@pytest.fixture
def model(kind: str) -> RankingModel:
    return build(small_spec(kind=kind))


def training_outputs(model: RankingModel, encoded: Encoded) -> TrainingOutputs:
    return model.training_outputs(encoded, model.embedding.gather(model.embedding.rows(encoded)))


def with_bias(bias: Tensor | None) -> Encoded:
    return replace(ENCODED, bias=bias)


def test_every_row_has_an_output_for_every_task(kind: str, shape: dict[str, Any]) -> None:
    model = build(small_spec(kind=kind, **shape))

    outputs = [
        model(ENCODED),
        model(ENCODER.encode_request(REQUEST, CANDIDATES)),
        training_outputs(model, ENCODED).logit,
        training_outputs(model, ENCODED).prediction,
    ]

    for output in outputs:
        assert output.shape == (300, TASKS)
        assert output.dtype == torch.float32
        assert output.isfinite().all()
        assert (output.std(dim=0) > 0).all()


def test_no_candidates_have_no_predictions(kind: str, shape: dict[str, Any]) -> None:
    assert build(small_spec(kind=kind, **shape))(ENCODER.encode_request(REQUEST, [])).shape == (0, TASKS)


def test_position_is_ignored_when_ranking(model: RankingModel) -> None:
    expected = model(ENCODED)
    bias = ENCODED.bias
    assert bias is not None

    for other in (None, torch.zeros_like(bias), bias.roll(1, dims=0)):
        torch.testing.assert_close(model(with_bias(other)), expected, rtol=0, atol=0)


def test_position_matters_in_training_to_the_heads_that_ask_for_it(model: RankingModel) -> None:
    bias = ENCODED.bias
    assert bias is not None
    ranked = training_outputs(model, with_bias(torch.zeros_like(bias)))

    shown = training_outputs(model, ENCODED)

    torch.testing.assert_close(shown.prediction, ranked.prediction, rtol=0, atol=0)
    changed = (shown.logit != ranked.logit).any(dim=0)
    assert changed.tolist() == [task.position_bias for task in SMALL_SPEC.tasks]
    assert model.position is not None
    torch.testing.assert_close((shown.logit - ranked.logit)[:, :2], model.position(bias), rtol=0, atol=1e-5)


def test_without_a_head_that_asks_there_is_no_position_tower(kind: str) -> None:
    tasks = tuple(task.model_copy(update={"position_bias": False}) for task in SMALL_SPEC.tasks)
    model = build(small_spec(kind=kind).model_copy(update={"tasks": tasks}))

    assert model.position is None
    torch.testing.assert_close(training_outputs(model, ENCODED).logit, model(ENCODED))


def test_a_prediction_does_not_depend_on_company(kind: str, shape: dict[str, Any]) -> None:
    model = build(small_spec(kind=kind, **shape))
    together = model(ENCODER.encode_request(REQUEST, CANDIDATES))
    in_a_batch = model(ENCODER.encode_examples(shown_to(RECORDS, 5)))

    torch.testing.assert_close(in_a_batch, together, rtol=0, atol=1e-5)
    for place in (0, 7, 299):
        alone = model(ENCODER.encode_request(REQUEST, [CANDIDATES[place]]))
        torch.testing.assert_close(alone[0], together[place], rtol=0, atol=1e-5)
    backwards = model(ENCODER.encode_request(REQUEST, CANDIDATES[:100][::-1]))
    torch.testing.assert_close(backwards.flip(0), together[:100], rtol=0, atol=1e-5)


def test_a_request_may_have_no_features_of_its_candidates(kind: str, shape: dict[str, Any]) -> None:
    features = SMALL_SPEC.side(Side.USER, Side.CONTEXT, Side.BIAS)
    spec = small_spec(kind=kind, **shape).model_copy(update={"features": features})
    model, encoder = build(spec), Encoder(spec)

    outputs = model(encoder.encode_request(REQUEST, CANDIDATES[:3]))

    torch.testing.assert_close(outputs, model(encoder.encode_request(REQUEST, [{}])).expand(3, -1))


@pytest.mark.parametrize("training", [False, True])
def test_what_is_scored_in_training_is_what_ranking_predicts(
    kind: str, shape: dict[str, Any], training: bool
) -> None:
    model = build(small_spec(kind=kind, gate_dropout=0.5, position_dropout=0.5, **shape))
    ranked = model(ENCODED)

    outputs = training_outputs(model.train(training), ENCODED)

    torch.testing.assert_close(outputs.prediction, ranked, rtol=0, atol=1e-5)
    torch.testing.assert_close(model(ENCODED), ranked, rtol=0, atol=0)
    assert not outputs.prediction.requires_grad
    assert outputs.logit.requires_grad


def test_learning_goes_through_the_gathered_rows_alone(kind: str, shape: dict[str, Any]) -> None:
    model = build(small_spec(kind=kind, **shape)).train()
    few = ENCODER.encode_examples(RECORDS.slice(0, 6))
    rows = model.embedding.rows(few)
    gathered = {width: part.requires_grad_() for width, part in model.embedding.gather(rows).items()}

    model.training_outputs(few, gathered).logit.square().sum().backward()

    for width, part in gathered.items():
        assert part.grad is not None
        assert part.grad.shape == (len(rows[width]), width)
        assert part.grad.any(dim=1).all()
    assert all(table.grad is None for table in model.embedding.tables.values())


def test_every_dense_parameter_learns(kind: str, shape: dict[str, Any]) -> None:
    model = build(small_spec(kind=kind, gate_dropout=0.0, **shape)).train()

    training_outputs(model, ENCODED).logit.square().sum().backward()

    dense = model.dense_parameters()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in dense)
    tables = list(model.embedding.tables.values())
    assert len(dense) + len(tables) == len(list(model.parameters()))


def test_the_linear_part_leads_from_the_input_to_every_head(kind: str) -> None:
    model = build(small_spec(kind=kind))
    assert model.network.linear is not None
    torch.nn.init.zeros_(model.network.towers.output.weight)
    torch.nn.init.zeros_(model.network.towers.output.bias)
    inputs = model.embedding.inputs(ENCODED, model.embedding.gather(model.embedding.rows(ENCODED)))

    torch.testing.assert_close(model(ENCODED), model.network.linear.linear(torch.cat(inputs, dim=1)))


def test_the_linear_part_can_be_left_out(kind: str) -> None:
    with_linear, without = build(small_spec(kind=kind)), build(small_spec(kind=kind, linear=False))

    width = sum(ENCODER.layout.input_width(group) for group in Group)
    assert without.network.linear is None
    assert with_linear.multiplications - without.multiplications == width * TASKS


def test_half_precision_changes_predictions_little(model: RankingModel) -> None:
    exact = training_outputs(model, ENCODED)

    with torch.autocast("cpu", torch.bfloat16):
        coarse = training_outputs(model, ENCODED)

    assert coarse.logit.dtype == coarse.prediction.dtype == torch.float32
    torch.testing.assert_close(coarse.prediction, exact.prediction, rtol=0.05, atol=0.1)


def test_the_multiplications_of_a_small_network_are_counted_right() -> None:
    model = RankingModel(small_spec(kind="mmoe", shared=(12,), experts=3, expert=(8, 6), tower=(5,)))
    width = (4 + 4 + 3 + 2 + 4 + 4 + 2 + 2 + 2) + (4 + 4 + 4 + 2) + (2 + 2 + 4)

    shared = width * 12
    experts, gates, mixing = 12 * 3 * 8 + 3 * 8 * 6, 12 * 4 * 3, 4 * 3 * 6
    towers = 4 * (6 * 5 + 5)
    linear = width * 4
    assert model.multiplications == shared + experts + gates + mixing + towers + linear
