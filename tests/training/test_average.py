import torch

from training.average import WeightAverage


def follow(decay: float, values: list[float]) -> tuple[WeightAverage, torch.Tensor]:
    """An average of a parameter that starts at 100 and takes these values."""
    parameter = torch.full((2,), 100.0)
    average = WeightAverage([parameter], decay)
    for value in values:
        parameter.fill_(value)
        average.update()
    return average, parameter


def test_the_weights_before_training_are_forgotten_at_once() -> None:
    average, _ = follow(0.98, [3.0])
    assert average.average[0].tolist() == [3.0, 3.0]


def test_after_many_steps_a_step_keeps_the_decay() -> None:
    average, parameter = follow(0.5, [1.0] * 50)
    parameter.fill_(2.0)
    average.update()
    assert average.average[0].tolist() == [1.5, 1.5]


def test_without_decay_the_last_weights_are_the_average() -> None:
    average, _ = follow(0.0, [1.0, 5.0, 2.0])
    assert average.average[0].tolist() == [2.0, 2.0]


def test_the_average_is_in_place_only_while_applied() -> None:
    average, parameter = follow(0.9, [1.0, 2.0])
    with average.applied():
        assert torch.equal(parameter, average.average[0])
        assert parameter[0] != 2
    assert parameter.tolist() == [2.0, 2.0]


def test_a_loaded_average_goes_on_as_the_saved_one() -> None:
    (ours, our_parameter), (theirs, their_parameter) = follow(0.9, [1.0, 4.0, 2.0]), follow(0.9, [])
    theirs.load_state_dict({name: tensor.clone() for name, tensor in ours.state_dict().items()})
    for average, parameter in ((ours, our_parameter), (theirs, their_parameter)):
        parameter.fill_(7.0)
        average.update()
    assert torch.equal(ours.average[0], theirs.average[0])
