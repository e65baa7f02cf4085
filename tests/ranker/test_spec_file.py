from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ranker.errors import SpecError
from ranker.spec import RankerSpec
from ranker.spec_file import dump_spec, load_spec, parse_spec, preset_names
from tests.ranker.small_spec import SMALL_SPEC, SMALL_YAML


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_survive_writing(name: str) -> None:
    spec = load_spec(name)

    assert spec.name == name
    assert parse_spec(dump_spec(spec), where="dumped") == spec


def test_the_named_presets_ship() -> None:
    assert {"kuairand", "simulated"} <= set(preset_names())


def test_a_spec_survives_writing() -> None:
    assert parse_spec(dump_spec(SMALL_SPEC), where="dumped") == SMALL_SPEC


def test_a_spec_with_policies_survives_writing() -> None:
    policies = "policies: {short: {terms: [{head: like}]}, kids: {combine: sum, terms: [{head: rating}]}}\n"
    spec = parse_spec(SMALL_YAML + policies, where="with policies")

    assert list(spec.policies) == ["short", "kids"]
    assert parse_spec(dump_spec(spec), where="dumped") == spec


def test_a_spec_without_policies_is_written_as_before_there_were_any() -> None:
    """A run goes on from a checkpoint, and another build reads a bundle, by this text."""
    assert "policies" not in dump_spec(SMALL_SPEC)


@given(
    values=st.lists(st.text(max_size=5) | st.integers(), min_size=1, unique_by=str),
    weight=st.floats(allow_nan=False, allow_infinity=False),
)
@example(values=["one\x85line", "off", "07", 7, "\u2028", " "], weight=1e-5)
def test_values_and_weights_survive_writing_exactly(values: list[str | int], weight: float) -> None:
    document = SMALL_SPEC.model_dump(exclude_unset=True)
    document["features"][10]["values"] = values
    document["score"]["terms"][0]["weight"] = weight
    spec = RankerSpec.model_validate(document)

    assert parse_spec(dump_spec(spec), where="dumped") == spec


def test_a_spec_is_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(SMALL_YAML, encoding="utf-8")

    assert load_spec(str(path)) == SMALL_SPEC


def test_a_mistake_in_a_file_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: 3", encoding="utf-8")

    with pytest.raises(SpecError, match=r"my\.yaml: "):
        load_spec(str(path))


def test_an_absent_file_is_named() -> None:
    with pytest.raises(SpecError, match=r"nowhere/my\.yaml: expected a spec, found no such file"):
        load_spec("nowhere/my.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(b"name: \xff\xfe")

    with pytest.raises(SpecError, match=r"my\.yaml: expected UTF-8"):
        load_spec(str(path))


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"preset \(.*kuairand.*simulated.*\), found 'youtube'"):
        load_spec("youtube")


def test_a_gate_is_written_if_it_is_another_than_the_usual_one() -> None:
    assert " gate:" not in dump_spec(SMALL_SPEC)
    for gate, expected in (("off", "off"), ("'off'", "off"), ("{psi: 0.5}", {"psi": 0.5})):
        text = SMALL_YAML.replace("checkpoint_rows: 64}", f"checkpoint_rows: 64, gate: {gate}}}")
        spec = parse_spec(text, where="with a gate")
        found = spec.training.gate
        assert (found if isinstance(found, str) else found.model_dump(exclude_unset=True)) == expected
        assert parse_spec(dump_spec(spec), where="dumped") == spec
    with pytest.raises(SpecError, match="training: 'gate' expects no true or false, found true"):
        parse_spec(SMALL_YAML.replace("rows: 64}", "rows: 64, gate: on}"), where="with a gate")
