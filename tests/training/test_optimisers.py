import numpy as np
import pytest
import torch

from ranker.features.layout import Layout
from ranker.networks.embedding import FusedEmbedding
from tests.ranker.small_spec import SMALL_SPEC
from training.optimisers import EPSILON, RowwiseAdagrad

RATE, DAMPING, BATCH_ROWS = 0.3, 0.5, 20
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")],
    ),
]


def tables(device: str = "cpu") -> FusedEmbedding:
    torch.manual_seed(0)
    return FusedEmbedding(Layout(SMALL_SPEC), scale=0.1).to(device)


def gathered_with_gradients(
    embedding: FusedEmbedding, seed: int, *, least: int = 0
) -> tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]]:
    """Random rows of every table from `least` on, many of them repeated, with random gradients."""
    random = torch.Generator().manual_seed(seed)
    rows, gathered = {}, {}
    for width, table in embedding.tables.items():
        drawn = torch.randint(least, min(least + 9, len(table)), (40,), generator=random)
        rows[int(width)] = drawn.to(table.device)
    for width, copies in embedding.gather(rows).items():
        copies.grad = torch.randn(copies.shape, generator=random).to(copies.device)
        gathered[width] = copies
    return rows, gathered


@pytest.mark.parametrize("device", DEVICES)
def test_steps_equal_a_loop_over_rows(device: str) -> None:
    embedding = tables(device)
    optimiser = RowwiseAdagrad(embedding, RATE, DAMPING)
    expected = {w: table.detach().cpu().double().numpy() for w, table in embedding.tables.items()}
    squares = {w: np.full(len(table), DAMPING) for w, table in expected.items()}

    for seed in range(4):
        rows, gathered = gathered_with_gradients(embedding, seed)
        optimiser.step(rows, gathered, BATCH_ROWS)
        for width, copies in gathered.items():
            assert copies.grad is not None
            sums: dict[int, np.ndarray] = {}
            for row, gradient in zip(rows[width].tolist(), copies.grad.cpu().double().numpy(), strict=True):
                sums[row] = sums.get(row, 0) + gradient * BATCH_ROWS
            for row, gradient in sums.items():
                squares[str(width)][row] += np.mean(gradient**2)
                scale = RATE / (np.sqrt(squares[str(width)][row]) + EPSILON)
                expected[str(width)][row] -= scale * gradient

    for width, table in embedding.tables.items():
        np.testing.assert_allclose(table.detach().cpu().numpy(), expected[width], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(optimiser.squares[int(width)].cpu().numpy(), squares[width], rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_outside_the_batch_keep_their_bytes(device: str) -> None:
    embedding = tables(device)
    optimiser = RowwiseAdagrad(embedding, RATE, DAMPING)
    optimiser.step(*gathered_with_gradients(embedding, 0), BATCH_ROWS)
    before = {width: table.clone() for width, table in embedding.tables.items()}
    squares = {str(width): sums.clone() for width, sums in optimiser.squares.items()}

    rows, gathered = gathered_with_gradients(embedding, 1, least=4)
    optimiser.step(rows, gathered, BATCH_ROWS)

    for width, table in embedding.tables.items():
        outside = torch.ones(len(table), dtype=torch.bool, device=table.device)
        outside[rows[int(width)]] = False
        assert outside.any()
        assert torch.equal(table[outside], before[width][outside])
        assert torch.equal(optimiser.squares[int(width)][outside], squares[width][outside])
        assert (table[~outside] != before[width][~outside]).any(dim=1).all()


@pytest.mark.parametrize(("damping", "step"), [(0.0, RATE), (0.1**2 * 3, RATE / 2), (100.0, RATE * 0.01)])
def test_damping_shortens_the_first_step_of_small_gradients(damping: float, step: float) -> None:
    embedding = tables()
    before = embedding.tables["4"].clone()
    copies = embedding.gather({4: torch.tensor([7])})[4]
    copies.grad = torch.full_like(copies, 0.1 / BATCH_ROWS)

    RowwiseAdagrad(embedding, RATE, damping).step({4: torch.tensor([7])}, {4: copies}, BATCH_ROWS)

    torch.testing.assert_close(
        before[7] - embedding.tables["4"][7], torch.full((4,), step), rtol=1e-3, atol=1e-6
    )


def test_a_row_without_gradient_stays_where_it_is() -> None:
    embedding = tables()
    before = embedding.tables["4"].clone()
    copies = embedding.gather({4: torch.tensor([7])})[4]
    copies.grad = torch.zeros_like(copies)

    RowwiseAdagrad(embedding, RATE, DAMPING).step({4: torch.tensor([7])}, {4: copies}, BATCH_ROWS)

    assert torch.equal(embedding.tables["4"], before)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_that_start_anew_are_as_if_there_had_been_no_step(device: str) -> None:
    embedding = tables(device)
    optimiser = RowwiseAdagrad(embedding, RATE, DAMPING)
    optimiser.step(*gathered_with_gradients(embedding, 0), BATCH_ROWS)
    before = {width: table.clone() for width, table in embedding.tables.items()}
    squares = {str(width): sums.clone() for width, sums in optimiser.squares.items()}

    optimiser.start_anew({4: torch.tensor([3, 5, 3])}, 60)

    assert not embedding.tables["4"][[3, 5]].any()
    assert optimiser.squares[4][[3, 5]].tolist() == [DAMPING, DAMPING]
    for width, table in embedding.tables.items():
        kept = torch.ones(len(table), dtype=torch.bool)
        kept[[3, 5] if width == "4" else []] = False
        assert torch.equal(table[kept], before[width][kept])
        assert torch.equal(optimiser.squares[int(width)][kept], squares[width][kept])


def test_a_loaded_state_goes_on_as_the_saved_one() -> None:
    first, second = tables(), tables()
    ours, theirs = RowwiseAdagrad(first, RATE, DAMPING), RowwiseAdagrad(second, RATE, DAMPING)
    ours.step(*gathered_with_gradients(first, 0), BATCH_ROWS)
    ours.start_anew({4: torch.tensor([3])}, 60)
    theirs.load_state_dict(ours.state_dict())
    second.load_state_dict(first.state_dict())
    for embedding, optimiser in ((first, ours), (second, theirs)):
        optimiser.step(*gathered_with_gradients(embedding, 1), BATCH_ROWS, 20)

    for width, table in first.tables.items():
        assert torch.equal(table, second.tables[width])
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name])


@pytest.mark.parametrize(("number", "learned"), [(None, True), (61, True), (60, False), (20, False)])
def test_rows_of_a_batch_that_was_encoded_before_they_were_given_away_stay(
    number: int | None, learned: bool
) -> None:
    embedding = tables()
    optimiser = RowwiseAdagrad(embedding, RATE, DAMPING)
    optimiser.start_anew({4: torch.tensor([3, 5])}, 60)
    copies = embedding.gather({4: torch.tensor([3, 7, 5])})[4]
    copies.grad = torch.ones_like(copies)

    optimiser.step({4: torch.tensor([3, 7, 5])}, {4: copies}, BATCH_ROWS, number)

    assert embedding.tables["4"][7].ne(0).all()
    assert bool(embedding.tables["4"][[3, 5]].any()) == learned
    assert bool((optimiser.squares[4][[3, 5]] > DAMPING).any()) == learned
