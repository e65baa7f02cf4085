import numpy as np
import pytest

from ranker.spec import RankerSpec
from tests.ranker.features.state.small_state import Machine, one, one_wait, together

T = 10**12
HOUR_MS = 3_600_000


def with_rates(**changes: object) -> RankerSpec:
    """All waits 0, the rates of users changed, and none drawn towards them."""
    spec = one_wait(0)
    features = (f.model_copy(update=changes) if f.name == "user_rates" else f for f in spec.features)
    return spec.model_copy(update={"features": tuple(f for f in features if f.name != "user_tab_rates")})


def test_a_rate_is_smoothed_towards_that_of_everything() -> None:
    machine = Machine(with_rates(half_lives=(3600.0,), prior_strength=4.0))
    rows = [one(T, {"click": 1.0}, user_id="u"), one(T, {"click": 0.0}, user_id="v")]
    machine.replay(together(*rows, one(T + 1)))

    known = machine.look_up(together(one(T, user_id="u"), one(T, user_id="w"), one(T)))["user_rates"]

    prior = (1 + 0.5) / (2 + 1)
    odds = [(rate / (1 - rate)) for rate in ((1 + 4 * prior) / (1 + 4), prior, prior)]
    np.testing.assert_allclose(known[:, 0], np.log(odds), atol=1e-6)
    np.testing.assert_allclose(known[:, 2], [np.log(2), 0, 0], rtol=1e-6)


def test_a_row_counts_half_after_each_half_life() -> None:
    machine = Machine(with_rates(half_lives=(2.0, 3600.0)))
    machine.replay(together(one(T, {"click": 1.0}, user_id="u"), one(T + 1)))

    counts = [
        np.expm1(machine.look_up(one(T + later, user_id="u"))["user_rates"][0, [2, 5]]).tolist()
        for later in (0, 2_000, HOUR_MS, 2 * HOUR_MS)
    ]

    expected = [[1, 1], [0.5, 2 ** (-2 / 3600)], [0, 0.5], [0, 0.25]]
    np.testing.assert_allclose(counts, expected, rtol=1e-5, atol=1e-6)


def test_the_prior_stands_still_while_nothing_is_learned() -> None:
    machine = Machine(with_rates(half_lives=(2.0,)))
    machine.replay(together(*(one(T, {"click": 1.0}, user_id="u") for _ in range(100)), one(T + 1)))

    soon, late = (machine.look_up(one(T + ms, user_id="v"))["user_rates"] for ms in (1, 10 * HOUR_MS))

    np.testing.assert_array_equal(soon, late)
    assert soon[0, 0] > 3


def test_a_regression_label_is_counted_as_it_is_learned() -> None:
    machine = Machine(with_rates(half_lives=(3600.0,), prior_strength=1e-6))
    rows = [one(T, {"watch_time": seconds}, user_id="u") for seconds in (3.0, 15.0)]
    machine.replay(together(*rows, one(T + 1)))

    known = machine.look_up(one(T, user_id="u"))["user_rates"]

    assert known[0, 1] == pytest.approx((np.log(4) + np.log(16)) / 2, rel=1e-4)


def test_what_is_known_of_a_lists_items_is_added_up() -> None:
    machine = Machine(one_wait(0))
    machine.replay(together(*(one(T, {"click": 1.0}, tags=tags) for tags in (["x"], ["x", "y"])), one(T + 1)))

    counts = machine.look_up(together(*(one(T, tags=t) for t in (["x"], ["y"], ["x", "y"], []))))["tag_rates"]

    np.testing.assert_allclose(np.expm1(counts[:, 1]), [2, 1, 3, 0], rtol=1e-6)


def test_a_rate_is_drawn_towards_that_of_a_part_of_its_key() -> None:
    machine = Machine(one_wait(0))
    rows = [one(T, {"click": 1.0, "watch_time": 9.0}, user_id="u", tab="a") for _ in range(50)]
    machine.replay(together(*rows, one(T + 1)))

    known = machine.look_up(one(T, user_id="u", tab="never seen"))

    of_user, of_pair = known["user_rates"][0, 3:], known["user_tab_rates"][0]  # both of an hour
    np.testing.assert_allclose(of_pair[[1, 0]], of_user[[0, 1]], rtol=1e-4)
    assert of_pair[2] == 0


def test_labels_that_are_always_the_same_give_finite_numbers() -> None:
    machine = Machine(one_wait(0))
    always = {"click": 1.0, "watch_time": 0.0, "like": 0.0, "skip": 1.0}
    for number in range(100):
        rows = [one(T + number, always, user_id="u", video_id="v", tab="a", tags=["x"])] * 100
        known = machine.replay(together(*rows))

    for name in ("user_rates", "video_rates", "tag_rates", "user_tag_rates", "user_tab_rates"):
        assert np.isfinite(known[name]).all(), name


def test_a_pair_that_was_not_seen_for_longest_is_forgotten_first() -> None:
    machine = Machine(with_rates(capacity=2, half_lives=(3600.0,)))
    users = ["a", "b", "a", "c"]
    rows = [one(T + place, {"click": 1.0}, user_id=user) for place, user in enumerate(users)]
    machine.replay(together(*rows, one(T + 10)))

    counts = machine.look_up(together(*(one(T, user_id=user) for user in "abc")))["user_rates"][:, 2]

    np.testing.assert_array_equal(counts > 0, [True, False, True])


def test_feedback_that_arrives_late_counts_as_of_its_impression() -> None:
    machine, direct = Machine(with_rates(half_lives=(60.0,))), Machine(with_rates(half_lives=(60.0,)))
    early, late = one(T, {"click": 1.0}, user_id="u"), one(T + 60_000, {"click": 0.0}, user_id="u")
    machine.learn(late)
    machine.learn(early)
    direct.learn(early)
    direct.learn(late)

    found = machine.look_up(one(T + 90_000, user_id="u"))["user_rates"]

    np.testing.assert_allclose(found, direct.look_up(one(T + 90_000, user_id="u"))["user_rates"], rtol=1e-6)
