import pytest

from load_tests.point_in_time import HONEST, LEAKING, measure


@pytest.mark.parametrize("planted", HONEST)
def test_what_was_not_known_at_the_time_tells_the_model_nothing(planted: str) -> None:
    figures = measure(HONEST[planted])

    for found in (figures.progressive, figures.held_out):
        assert found.low < 0.5 < found.high


@pytest.mark.parametrize("planted", LEAKING)
def test_the_same_model_does_use_it_where_the_state_gives_it_away(planted: str) -> None:
    figures = measure(LEAKING[planted])

    for found in (figures.progressive, figures.held_out):
        assert found.low > 0.65
