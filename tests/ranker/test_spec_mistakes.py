"""A mistake in a spec is answered with its key, what was expected and what was found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import SpecError
from ranker.spec_file import parse_spec
from tests.ranker.small_spec import SMALL_YAML

LINES = SMALL_YAML.splitlines()
SYMBOLS = [*"{}[]:,-&*!%@`'\"#|>?~", "x", "- "]


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as error:
        parse_spec(text, where="ranker.yaml")
    return str(error.value)


def changed(old: str, new: str) -> str:
    assert SMALL_YAML.count(old) == 1
    return SMALL_YAML.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "buckets: 48, dim: 4}",
            "bucket: 48, dim: 4}",
            "features > 0 ('user_id'): expected the keys kind, name, side, column, buckets, dim, shares, "
            "capacity, admission_threshold, expire_after, found 'bucket'; did you mean 'buckets'?",
        ),
        (
            "admission_threshold: 2",
            "admit: 2",
            "features > 8 ('video_id'): 'admit' is now called 'admission_threshold'",
        ),
        (
            "expire_after: 10m",
            "expire: 10m",
            "features > 8 ('video_id'): 'expire' is now called 'expire_after'",
        ),
        (
            "kind: ids, buckets: 32",
            "kind: ids, most: 3",
            "features > 9 ('tags'): 'most' is now called 'max_items'",
        ),
        (
            "column: survey_rating",
            "label: survey_rating",
            "tasks > 3 ('rating'): 'label' is now called 'column'",
        ),
        (
            "batch_size: 32",
            "batch_size: true",
            "training: 'batch_size' expects no true or false, found true",
        ),
        (
            "buckets: 48, dim: 4}",
            f"buckets: {10**40}, dim: 4}}",
            "features > 0 ('user_id'): 'buckets' expects numbers below 2^63, found one of 41 digits",
        ),
        (
            "{head: click, weight: 0.5}",
            "click",
            "score > terms > 0: expected a mapping, found 'click'",
        ),
        (
            "expire_after: 10m",
            "expire_after: 1.0e+300",
            "features > 8 ('video_id') > expire_after: Input should be less than or equal to 3153600000, "
            "found 1e+300",
        ),
        (
            "name: like, group: satisfaction, kind: binary",
            "name: like, group: satisfaction, kind: ordinal",
            "tasks > 2 ('like') > kind: expected one of 'binary', 'regression', found 'ordinal'",
        ),
        (
            "experts: 3,",
            "expert_count: 3,",
            "network: expected the keys kind, position_dropout, shared, tower, linear, experts, expert, "
            "gate_dropout, found 'expert_count'",
        ),
        (
            "name: small\n",
            "name: small\nauthor: me\n",
            "expected the keys name, hash_seed, features, tasks, labels, network, training, score, "
            "policies, found 'author'",
        ),
        (
            "{head: like, offset: 1}",
            "{head: like, power: 1}",
            "score > terms > 2 ('like'): expected the keys head, weight, offset, transform, low, high, "
            "scale, found 'power'",
        ),
        (
            "combine: product",
            "combine: max",
            "score > combine: expected one of 'product', 'sum', found 'max'",
        ),
        (
            "score:\n",
            "policies: {short: {combine: sum, terms: [{head: like}, {head: click, scale: 0}]}}\nscore:\n",
            "policies > short > terms > 1 ('click') > scale: Input should be greater than 0, found 0",
        ),
        (
            "score:\n",
            "policies: {short: {terms: [{head: click, transform: logit}]}}\nscore:\n",
            "policies > short: term 'click': a logit can be negative, and product expects positive bases; "
            "use combine: sum or another transform",
        ),
        (
            "score:\n",
            "policies: {short: {terms: [{head: share}]}}\nscore:\n",
            "policy 'short' term: expected a head out of click, watch_time, like, rating, found 'share'",
        ),
        (
            "score:\n",
            "policies: {default: {terms: [{head: click}]}}\nscore:\n",
            "policies: expected names other than that of score, found 'default'",
        ),
        ("name: country", "name: user_id", "expected one each, found two features named 'user_id'"),
        (
            "shares: video_id",
            "shares: movie_id",
            "feature 'query_video_id': shares expects a feature with a table of its own "
            "(user_id, interests, video_id, tags, last_author), found 'movie_id'; did you mean 'video_id'?",
        ),
        (
            "of: [user_id, topic]",
            "of: [user_id, age]",
            "feature 'user_topic': a cross expects features of one value each (user_id, country, "
            "query_video_id, hour, video_id, topic, last_author), found 'age'",
        ),
        (
            "head: click, weight",
            "head: share, weight",
            "score term: expected a head out of click, watch_time, like, rating, found 'share'",
        ),
        (
            "side: context, kind: category",
            "side: context, kind: enum",
            "features > 7 ('hour') > kind: expected one of 'id', 'ids', 'category', 'number', 'bin', "
            "'cross', 'rate', 'history', 'age', found 'enum'",
        ),
        (
            "name: age, side: user, kind: number",
            "name: age, side: user",
            "features > 3 ('age') > kind: expected this key, found none",
        ),
        (
            "name: age, side: user",
            "name: age, side: viewer",
            "features > 3 ('age') > side: Input should be 'user', 'query', 'context', 'candidate', 'pair' "
            "or 'bias', found 'viewer'",
        ),
        ("name: age, side: user", "name: age", "features > 3 ('age') > side: expected this key, found none"),
        (
            "side: user, kind: id, buckets: 48",
            "side: user, kind: id, buckets: 0",
            "features > 0 ('user_id') > buckets: Input should be greater than 0, found 0",
        ),
        (
            "values: [1, 2, 3]",
            "values: [1, yes, 3]",
            "features > 14 ('position') > values: expected strings or whole numbers, found True; "
            "quote a string that YAML reads as something else",
        ),
        (
            "expert: [8, 6]",
            "expert: []",
            "network > expert: Tuple should have at least 1 item after validation, not 0, found []",
        ),
        (
            "transform: log1p, offset: 1",
            "transform: clip, offset: 1",
            "score > terms > 1 ('watch_time'): term 'watch_time': clip expects 'high' above 'low', "
            "found low 0.0, high None",
        ),
        (
            "name: small",
            "name: small ranker",
            "name: String should match pattern '^[A-Za-z][A-Za-z0-9_]*$', found 'small ranker'",
        ),
    ],
)
def test_a_mistake_is_answered_with_the_key_what_was_expected_and_what_was_found(
    old: str, new: str, message: str
) -> None:
    assert refusal(changed(old, new)) == f"ranker.yaml: {message}"


def test_every_mistake_is_told_at_once() -> None:
    text = changed("capacity: 24", "capacity: none").replace("batch_size: 32", "batch_size: -1")

    message = refusal(text)

    assert "features > 7 ('hour') > capacity: Input should be a valid integer" in message
    assert "; training > batch_size: Input should be greater than 0, found -1" in message


@pytest.mark.parametrize("text", ["", "null", "[]", "- a", "text", "7"])
def test_a_document_without_keys_is_refused(text: str) -> None:
    assert "expected a mapping with name, features, tasks, score, found " in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "name: [",
        "name: !!python/object/apply:os.system ['true']",
        "when: 2020-99-99",
        "n: !!int many",
        "t: !!timestamp noon",
        "b: !!bool maybe",
        "[" * 2_000,
        "name: \x00",
    ],
)
def test_what_is_no_yaml_is_refused(text: str) -> None:
    assert refusal(text).startswith("ranker.yaml: expected YAML, found ")


@pytest.mark.parametrize("text", ["&a {name: *a, features: *a}", "1: 2", "name: {1: 2}\nfeatures: [1, [2]]"])
def test_documents_of_an_odd_shape_are_refused(text: str) -> None:
    assert refusal(text).startswith("ranker.yaml: ")


@given(st.data())
def test_any_garbled_spec_is_read_or_refused(data: st.DataObject) -> None:
    line = data.draw(st.integers(0, len(LINES) - 1))
    words = data.draw(st.lists(st.sampled_from([*LINES[line].split(), *SYMBOLS])))
    text = "\n".join([*LINES[:line], " ".join(words), *LINES[line + 1 :]])

    try:
        parse_spec(text, where="ranker.yaml")
    except SpecError as refusal:
        message = str(refusal)
    else:
        return
    assert message.startswith("ranker.yaml: ")


@given(st.text() | st.text(alphabet="{}[]:,-&*!%@`'\"#|>?~ \n\tab01", max_size=30))
def test_any_text_is_refused_in_words(text: str) -> None:
    assert refusal(text).startswith("ranker.yaml: ")
