"""What every kind of network must do; a kind's test inherits it and names a network of the kind.

Shape letters: B rows, T tasks.
"""

from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ranker.bundles.bundle import pack, unpack
from ranker.bundles.manifest import Manifest
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.networks.inference import InferenceModel
from ranker.networks.match_multiplications import match_multiplications, multiplications
from ranker.networks.sharing.base import HeadOutputs, Network, NetworkSpec
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.spec import RankerSpec
from ranker.spec_file import dump_spec, parse_spec
from tests.ranker.networks.random_model import build
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of
from training.publish import golden_requests
from training.trainer import Trainer

WIDTHS = (9, 7, 4)
ROWS, TASKS = 6, 3
RECORDS = random_records(96, seed=2)


class NetworkContract:
    """The tests of every kind."""

    network: ClassVar[NetworkSpec]
    """Small, and with whatever noise the kind has."""

    def made(self) -> Network:
        """One whose heads have learned something: fresh ones may give a constant."""
        torch.manual_seed(0)
        network = self.network.build(WIDTHS, TASKS)
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        return network

    @pytest.fixture
    def built(self) -> Network:
        return self.made()

    @pytest.fixture
    def sides(self) -> list[Tensor]:
        random = torch.Generator().manual_seed(1)
        return [torch.randn(ROWS, width, generator=random) for width in WIDTHS]

    @pytest.fixture
    def spec(self) -> RankerSpec:
        return SMALL_SPEC.model_copy(update={"network": self.network})

    def test_every_row_has_an_output_for_every_head(self, built: Network, sides: list[Tensor]) -> None:
        outputs: HeadOutputs = built(sides)

        for output in (outputs.train, outputs.eval):
            assert output.shape == (ROWS, TASKS)
            assert output.dtype == torch.float32
            assert (output.std(dim=0) > 0).all()

    @pytest.mark.parametrize("rows", [0, 1, ROWS])
    def test_a_side_of_one_row_holds_for_all_rows(
        self, built: Network, sides: list[Tensor], rows: int
    ) -> None:
        request, *others = sides
        each = [request[:1].expand(rows, -1), *(side[:rows] for side in others)]

        found = built.eval()([request[:1], *(side[:rows] for side in others)]).eval

        torch.testing.assert_close(found, built(each).eval, rtol=1e-5, atol=1e-6)

    def test_learning_reaches_every_parameter_and_every_side(
        self, built: Network, sides: list[Tensor]
    ) -> None:
        inputs = [side.requires_grad_() for side in sides]

        built.eval()(inputs).train.square().sum().backward()

        for tensor in (*built.parameters(), *inputs):
            assert tensor.grad is not None
            assert tensor.grad.any()

    def test_noise_is_in_what_is_learned_from_alone(self, built: Network, sides: list[Tensor]) -> None:
        ranked: HeadOutputs = built.eval()(sides)
        again: HeadOutputs = built(sides)
        learned: HeadOutputs = built.train()(sides)

        assert ranked.train is ranked.eval
        torch.testing.assert_close(again.eval, ranked.eval, rtol=0, atol=0)
        torch.testing.assert_close(learned.eval, ranked.eval, rtol=1e-5, atol=1e-6)
        assert learned.train.requires_grad
        assert learned.eval is learned.train or not learned.eval.requires_grad

    def test_the_seed_alone_decides_how_it_starts_and_its_noise(
        self, built: Network, sides: list[Tensor]
    ) -> None:
        other = self.made()

        def noisy(network: Network) -> Tensor:
            torch.manual_seed(5)
            outputs: HeadOutputs = network.train()(sides)
            return outputs.train

        torch.testing.assert_close(noisy(other), noisy(built), rtol=0, atol=0)

    def test_multiplications_are_those_of_the_products_that_torch_does(
        self, built: Network, sides: list[Tensor]
    ) -> None:
        with FlopCounterMode(display=False) as counter:
            built.eval()(sides)

        assert (
            counter.get_total_flops() == 2 * ROWS * built.multiplications
        )  # a multiplication and an addition

    def test_a_heads_constant_can_be_set_and_moved(self, built: Network, sides: list[Tensor]) -> None:
        built.eval()
        built.start_at(torch.zeros(TASKS))
        before = built(sides).eval

        built.start_at(torch.tensor([1.5, torch.nan, -2.0]))
        built.shift(torch.tensor([0.25, 0.5, 0.0]))

        expected = before + torch.tensor([1.75, 0.5, -2.0])
        torch.testing.assert_close(built(sides).eval, expected, rtol=1e-5, atol=1e-5)

    def test_it_can_be_sized_to_the_cost_of_another_kind(self) -> None:
        target = MMoESpec(shared=(32,), experts=4, expert=(64,), tower=(16,))

        found = match_multiplications(type(self.network), target, WIDTHS, TASKS)

        assert 0.98 < multiplications(found, WIDTHS, TASKS) / multiplications(target, WIDTHS, TASKS) <= 1

    @pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01)], ids=str)
    def test_it_is_served_as_it_was_trained(self, spec: RankerSpec, dtype: torch.dtype, error: float) -> None:
        model, encoder = build(spec), Encoder(spec)
        encoder.encode_examples(RECORDS, observe=True)
        encoded = encoder.encode_request(*request_of(RECORDS, 5))
        prepared = InferenceModel.of(model, dtype)

        request, candidates, pairs = (prepared.side_output(group, encoded.groups[group]) for group in Group)
        found = prepared.outputs(request, [prepared.for_storage(candidates)], pairs)

        expected = model(encoded)
        assert found.dtype == torch.float32
        assert (found - expected).abs().mean() < error * expected.std()

    def test_it_learns_and_its_bundle_predicts_the_same(self, spec: RankerSpec) -> None:
        trainer = Trainer(spec, seed=0)
        before = {name: tensor.clone() for name, tensor in trainer.model.network.state_dict().items()}
        for start in range(0, RECORDS.num_rows, 32):
            trainer.step(RECORDS.slice(start, 32))
        manifest = Manifest(
            model_version="small-1", name="small", created_ms=0, watermark_ms=0, rows=96, source="", files={}
        )
        golden = golden_requests(RECORDS, spec, 0)

        with trainer.exported():
            contents = pack(manifest, trainer.encoder, trainer.model, golden)
            expected = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        bundle = unpack(contents, where="test")  # which compares the golden predictions

        assert not any(
            torch.equal(tensor, before[name]) for name, tensor in trainer.model.network.named_parameters()
        )
        assert bundle.spec == spec == parse_spec(dump_spec(spec), where="test")
        for name, tensor in bundle.model.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
