"""Target attention alone, and in the network that it is part of."""

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from ranker.features.sides import Group
from ranker.networks.attention import HIDDEN, ActivationUnit
from ranker.networks.model import RankingModel
from ranker.networks.sharing.registry import kind_names
from tests.ranker.networks.attending import NOW_MS, attending_encoder, attending_spec
from tests.ranker.networks.random_model import build
from tests.ranker.small_spec import random_records, request_of, shown_to, small_spec

WIDTH, LENGTH = 5, 7
HISTORIES, ROWS = 3, 8
SPEC = attending_spec()
ENCODER = attending_encoder(SPEC)
RECORDS = random_records(60, seed=2)
ENTRIES = torch.randn(HISTORIES, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))
THERE = torch.arange(LENGTH) < torch.tensor([[LENGTH], [0], [2]])
CANDIDATES = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(2))
HISTORY = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


@pytest.fixture
def unit() -> ActivationUnit:
    torch.manual_seed(0)
    return ActivationUnit(WIDTH, LENGTH)


def test_entries_are_weighted_by_what_a_network_makes_of_both_their_product_and_difference(
    unit: ActivationUnit,
) -> None:
    of_entry, of_candidate, of_product, of_difference = torch.randn(4, WIDTH, HIDDEN)
    with torch.no_grad():
        unit.entry.copy_(of_entry + of_difference)
        unit.candidate.weight.copy_((of_candidate - of_difference).T)
        unit.product.copy_(of_product)
    first = torch.cat([of_entry, of_candidate, of_product, of_difference])

    expected = torch.zeros(ROWS, WIDTH)
    for row, candidate in enumerate(CANDIDATES):
        for place, entry in enumerate(ENTRIES[HISTORY[row]]):
            if THERE[HISTORY[row], place]:
                seen = torch.cat([entry, candidate, entry * candidate, entry - candidate])
                expected[row] += unit.output((seen @ first + unit.candidate.bias).relu()) * entry

    torch.testing.assert_close(unit(ENTRIES, THERE, CANDIDATES, HISTORY), expected)


def test_an_empty_history_is_zero_and_harmless(unit: ActivationUnit) -> None:
    entries = ENTRIES.clone().requires_grad_()

    pooled = unit(entries, THERE, CANDIDATES, HISTORY)
    pooled.square().sum().backward()

    assert (pooled[HISTORY == 1] == 0).all()
    assert (pooled[HISTORY != 1] != 0).any(dim=1).all()
    assert entries.grad is not None
    assert torch.equal(entries.grad.any(dim=2), THERE)
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in unit.parameters())


def test_what_stands_behind_the_last_entry_does_not_matter(unit: ActivationUnit) -> None:
    expected = unit(ENTRIES, THERE, CANDIDATES, HISTORY)
    others = torch.where(THERE.unsqueeze(2), ENTRIES, 1e3)
    longer = torch.cat([others, others], dim=1), torch.cat([THERE, torch.zeros_like(THERE)], dim=1)

    torch.testing.assert_close(unit(others, THERE, CANDIDATES, HISTORY), expected)
    torch.testing.assert_close(unit(*longer, CANDIDATES, HISTORY), expected)


def test_the_order_of_entries_and_the_company_of_a_row_do_not_matter(unit: ActivationUnit) -> None:
    expected = unit(ENTRIES, THERE, CANDIDATES, HISTORY)

    backwards = unit(ENTRIES.flip(1), THERE.flip(1), CANDIDATES, HISTORY)
    each = [
        unit(ENTRIES[h : h + 1], THERE[h : h + 1], CANDIDATES[r : r + 1], torch.tensor([0]))
        for r, h in enumerate(HISTORY.tolist())
    ]
    own = unit(ENTRIES[HISTORY], THERE[HISTORY], CANDIDATES, torch.arange(ROWS))

    for found in (backwards, torch.cat(each), own):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_interest_adds_up_and_begins_as_the_mean_of_a_full_history(unit: ActivationUnit) -> None:
    torch.nn.init.zeros_(unit.output.weight)

    pooled = unit(ENTRIES, THERE, CANDIDATES, HISTORY)

    torch.testing.assert_close(pooled, (ENTRIES * THERE.unsqueeze(2)).sum(dim=1)[HISTORY] / LENGTH)


def predictions(model: RankingModel, records: pa.RecordBatch, row: int, places: slice) -> Tensor:
    request, candidates = request_of(records, row)
    return model(ENCODER.encode_request(request, candidates[places], time_ms=NOW_MS))


@pytest.mark.parametrize("kind", kind_names())
def test_a_log_a_request_and_a_candidate_alone_get_the_same_prediction(kind: str) -> None:
    model = build(attending_spec(kind=kind))
    row = 5
    together = predictions(model, RECORDS, row, slice(None))
    shown = shown_to(RECORDS, row)
    times = shown.schema.get_field_index("time_ms")
    shown = shown.set_column(times, "time_ms", pa.array([NOW_MS] * len(shown), pa.int64()))

    torch.testing.assert_close(model(ENCODER.encode_examples(shown)), together, rtol=0, atol=1e-5)
    for place in (0, 7, 59):
        alone = predictions(model, RECORDS, row, slice(place, place + 1))
        torch.testing.assert_close(alone[0], together[place], rtol=0, atol=1e-5)
    backwards = predictions(model, RECORDS, row, slice(None, None, -1))
    torch.testing.assert_close(backwards.flip(0), together, rtol=0, atol=1e-5)
    assert predictions(model, RECORDS, row, slice(0, 0)).shape == (0, together.shape[1])


def test_learning_reaches_the_entries_their_ages_and_the_candidates() -> None:
    model = build(SPEC).train()
    encoded = ENCODER.encode_examples(RECORDS)
    rows = model.embedding.rows(encoded)
    gathered = {width: copies.requires_grad_() for width, copies in model.embedding.gather(rows).items()}

    model.training_outputs(encoded, gathered).logit.square().sum().backward()

    copies = gathered[4]
    assert copies.grad is not None
    used = list(zip(rows[4].tolist(), copies.grad.any(dim=1).tolist(), strict=True))
    behind = len(used)
    for history in reversed(encoded.groups[Group.PAIR].attended):
        there = history.there.flatten().tolist()
        assert any(there)
        assert not all(there)
        parts = (
            (history.candidates.tolist(), history.there.any(dim=1)[history.history].tolist()),
            (history.ages.flatten().tolist(), there),
            (history.entries.flatten().tolist(), there),
        )
        for expected_rows, learned in parts:
            before = behind - len(expected_rows)
            assert used[before:behind] == list(zip(expected_rows, learned, strict=True))
            behind = before


def test_its_weights_are_dense_ones_and_its_multiplications_are_counted() -> None:
    model, without = build(SPEC), build(small_spec())
    width, lengths = 4, (6, 4)

    dense = {id(parameter) for parameter in model.dense_parameters()}
    units = list(model.embedding.attention.parameters())
    assert len(units) == 2 * 6
    assert dense.issuperset(id(parameter) for parameter in units)
    attention = sum((n + 2) * width * HIDDEN + n * (HIDDEN + width) for n in lengths)
    wider = 3 * width * (12 + len(SPEC.tasks))
    assert model.multiplications - without.multiplications == attention + wider
