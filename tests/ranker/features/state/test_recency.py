import numpy as np

from tests.ranker.features.state.small_state import Machine, one, together

T = 10**12


def test_an_age_is_that_of_the_last_sighting_and_missing_if_there_was_none() -> None:
    rows = [
        one(T, user_id="u"),
        one(T, user_id="v"),
        one(T + 1_500, user_id="u"),
        one(T + 2_000, user_id="u"),
    ]

    found = Machine().replay(together(*rows))["user_age"][:, 0]

    np.testing.assert_array_equal(found, [np.nan, np.nan, 1.5, 0.5])


def test_the_age_of_a_pair_is_that_of_the_pair() -> None:
    pairs = [("u", "a"), ("u", "b"), ("v", "a"), ("u", "a"), ("u", None)]
    rows = [one(T + 1000 * n, user_id=u, author_id=a) for n, (u, a) in enumerate(pairs)]

    found = Machine().replay(together(*rows))["user_author_age"][:, 0]

    np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, 3, np.nan])


def test_of_a_list_the_item_seen_last_counts() -> None:
    rows = [one(T + 1000 * n, tags=tags) for n, tags in enumerate([["x"], ["y"], ["x", "y"], []])]

    found = Machine().replay(together(*rows))["tag_age"][:, 0]

    np.testing.assert_array_equal(found, [np.nan, np.nan, 1, np.nan])


def test_an_age_needs_no_feedback() -> None:
    machine = Machine()
    machine.observe(one(T, user_id="u"))

    assert machine.look_up(one(T + 3_000, user_id="u"))["user_age"].tolist() == [[3.0]]


def test_the_time_since_a_column_is_never_negative_and_missing_where_it_is() -> None:
    rows = [one(T, uploaded_ms=uploaded) for uploaded in (T - 2_500, T + 9, None)]

    np.testing.assert_array_equal(Machine().replay(together(*rows))["upload_age"][:, 0], [2.5, 0, np.nan])


def test_the_pair_not_seen_for_longest_is_forgotten_first() -> None:
    authors = ["a", "b", "c", "a", "d"]  # there is room for three
    rows = [one(T + n, user_id="u", author_id=author) for n, author in enumerate(authors)]
    machine = Machine()
    machine.replay(together(*rows, one(T + 10)))

    found = machine.look_up(together(*(one(T + 10, user_id="u", author_id=a) for a in "abcd")))[
        "user_author_age"
    ]

    np.testing.assert_allclose(found[:, 0], [0.007, np.nan, 0.008, 0.006], rtol=1e-6)
