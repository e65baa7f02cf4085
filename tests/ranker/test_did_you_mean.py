import pytest

from ranker.did_you_mean import did_you_mean
from ranker.errors import SpecError
from ranker.spec_file import load_spec, parse_spec
from tests.training.small_commands import small


@pytest.mark.parametrize(
    ("found", "said"),
    [("usr_id", "; did you mean 'user_id'?"), ("USER_ID", "; did you mean 'user_id'?"), ("weather", "")],
)
def test_a_name_that_is_alike_is_proposed(found: str, said: str) -> None:
    assert did_you_mean(found, ["user_id", "video_id"]) == said


TWO = "[{name: user_id, side: user, kind: id}, {name: video_id, side: candidate, kind: id}%s]"


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        (small(score="{terms: [{head: clik}]}"), "click"),
        (small(features="[{name: video_id, side: candidate, kind: id, bucket: 8}]"), "buckets"),
        (small(trainin="{}"), "training"),
        (small(features=TWO % ", {name: r, kind: rate, of: [vidio_id], labels: [click]}"), "video_id"),
        (small(features=TWO % ", {name: r, kind: rate, of: [video_id], labels: [clicks]}"), "click"),
        (small(features=TWO % ", {name: query_x, side: query, kind: id, shares: videoid}"), "video_id"),
    ],
)
def test_mistakes_in_a_spec_say_what_was_meant(spec: str, meant: str) -> None:
    with pytest.raises(SpecError, match=rf"did you mean '{meant}'\?"):
        parse_spec(spec, where="spec.yaml")


def test_a_preset_that_is_alike_is_proposed() -> None:
    with pytest.raises(SpecError, match=r"did you mean 'kuairand'\?"):
        load_spec("kuai_rand")


def test_very_long_names_are_not_compared() -> None:
    assert did_you_mean("a" * 100, ["a" * 99]) != ""
    assert did_you_mean("a" * 101, ["a" * 99]) == ""
