import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ranker.bundles.bundle import (
    FEATURES,
    FILES,
    GOLDEN,
    MANIFEST,
    MODEL,
    SPEC,
    pack,
    predict,
    unpack,
)
from ranker.bundles.manifest import FORMAT_VERSION, Manifest
from ranker.errors import BundleError, FeatureError
from ranker.features.encoder import Encoder
from ranker.labels.natural_units import natural_units
from tests.ranker.bundles.small_bundle import (
    CANDIDATES,
    GOLDEN_REQUEST,
    REQUEST,
    packed,
    ranker,
    resealed,
    version_of,
)
from tests.ranker.small_spec import SMALL_SPEC, random_records

CONTENTS = packed(seed=1)
ALL_FILES = (MANIFEST, *FILES)


def refusal(contents: dict[str, bytes]) -> str:
    with pytest.raises(BundleError) as error:
        unpack(contents, where="folder")
    return str(error.value)


def manifest(**changed: Any) -> bytes:
    """The manifest's file with some keys changed and all else left alone."""
    return json.dumps({**json.loads(CONTENTS[MANIFEST]), **changed}).encode()


def test_a_bundle_predicts_what_was_packed_bit_for_bit() -> None:
    encoder, model = ranker(seed=1)

    bundle = unpack(CONTENTS, where="folder")

    assert bundle.spec == SMALL_SPEC
    assert bundle.encoder.state() == encoder.state()
    assert {n: a.tolist() for n, a in bundle.encoder.arrays().items()} == {
        n: a.tolist() for n, a in encoder.arrays().items()
    }
    found = bundle.predict(REQUEST, CANDIDATES)
    np.testing.assert_array_equal(found, predict(encoder, model, REQUEST, CANDIDATES))
    assert found.shape == (12, 4)
    assert (found.std(axis=0) > 0).all()


def test_predictions_are_in_natural_units() -> None:
    encoder, model = ranker(seed=1)
    with torch.inference_mode():
        outputs = model(encoder.encode_request(REQUEST, CANDIDATES))

    expected = natural_units(outputs, SMALL_SPEC.tasks)

    np.testing.assert_array_equal(unpack(CONTENTS, where="folder").predict(REQUEST, CANDIDATES), expected)


def test_a_bundle_that_is_read_learns_nothing() -> None:
    bundle = unpack(CONTENTS, where="folder")

    assert not bundle.model.training
    assert not any(parameter.requires_grad for parameter in bundle.model.parameters())


def test_a_bundle_can_be_packed_again_unchanged() -> None:
    bundle = unpack(CONTENTS, where="folder")

    assert {name: CONTENTS[name] for name in FILES} == {name: packed(seed=1)[name] for name in FILES}
    assert bundle.manifest == Manifest.model_validate_json(CONTENTS[MANIFEST])


def test_a_wrong_value_is_refused_as_the_callers_mistake() -> None:
    with pytest.raises(FeatureError, match=r"duration_s: .* in row 1"):
        unpack(CONTENTS, where="folder").predict({}, [{}, {"duration_s": "long"}])


def test_the_version_tells_different_contents_apart() -> None:
    assert version_of(CONTENTS).startswith("small-1-")
    assert version_of(CONTENTS) != version_of(packed(seed=2))


def test_no_file_holds_code() -> None:
    for name in FILES:
        assert b"pickle" not in CONTENTS[name]
        assert not CONTENTS[name].startswith((b"PK", b"\x80"))


@settings(max_examples=300)
@given(st.sampled_from(ALL_FILES), st.data(), st.integers(1, 255))
def test_one_changed_byte_is_refused_with_the_file_named(name: str, data: st.DataObject, change: int) -> None:
    content = bytearray(CONTENTS[name])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= change

    assert f"folder/{name}: expected " in refusal({**CONTENTS, name: bytes(content)})


@pytest.mark.parametrize("space", [b"\t", b"\n", b"\r"])
def test_even_another_white_space_in_the_manifest_is_a_change(space: bytes) -> None:
    content = CONTENTS[MANIFEST].replace(b" ", space, 1)

    assert "folder/manifest.json: expected digest " in refusal({**CONTENTS, MANIFEST: content})


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_truncated_file_is_refused_with_its_name(name: str) -> None:
    assert f"folder/{name}: expected " in refusal({**CONTENTS, name: CONTENTS[name][:-1]})


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_missing_file_is_refused_with_its_name(name: str) -> None:
    rest = {other: content for other, content in CONTENTS.items() if other != name}

    assert refusal(rest).startswith(f"folder: expected a file {name}, found ")


def test_no_files_are_refused() -> None:
    assert refusal({}) == "folder: expected a file manifest.json, found none"


def test_a_file_from_another_bundle_is_refused() -> None:
    assert f"folder/{MODEL}: expected sha256 " in refusal({**CONTENTS, MODEL: packed(seed=2)[MODEL]})


@pytest.mark.parametrize("name", FILES)
def test_every_files_sha256_is_compared(name: str) -> None:
    """Also where what the file says is the same: white space, or the order of tensors."""
    content = CONTENTS[name] + b"\n" if name in (SPEC, FEATURES, GOLDEN) else packed(seed=2)[name] + b"\0"

    assert refusal({**CONTENTS, name: content}).startswith(f"folder/{name}: expected sha256 ")


@pytest.mark.parametrize("more", [{}, {"signature": "something that this version does not know"}])
def test_a_newer_format_asks_for_an_upgrade(more: dict[str, str]) -> None:
    newer = manifest(format_version=FORMAT_VERSION + 1, **more)

    assert refusal({**CONTENTS, MANIFEST: newer}) == (
        f"folder/manifest.json: expected format version {FORMAT_VERSION}, "
        f"found {FORMAT_VERSION + 1}; upgrade watchnext to read this bundle"
    )


def test_an_older_format_asks_for_another_training() -> None:
    assert refusal({**CONTENTS, MANIFEST: manifest(format_version=FORMAT_VERSION - 1)}) == (
        f"folder/manifest.json: expected format version {FORMAT_VERSION}, found {FORMAT_VERSION - 1}: "
        "made by an older watchnext; train it again"
    )


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{", manifest(signature="x")])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    assert "folder/manifest.json: expected a manifest, found " in refusal({**CONTENTS, MANIFEST: content})


@pytest.mark.parametrize("changed", [{"rows": 51}, {"parent": "other"}, {"digest": ""}, {"metrics": {}}])
def test_a_manifest_that_was_edited_is_refused(changed: dict[str, Any]) -> None:
    message = refusal({**CONTENTS, MANIFEST: manifest(**changed)})

    assert "folder/manifest.json: expected digest " in message
    assert message.endswith("the manifest was changed")


@pytest.mark.parametrize("name", [MODEL, FEATURES])
def test_contents_that_do_not_recompute_the_golden_predictions_are_refused(name: str) -> None:
    swapped = resealed({**CONTENTS, name: packed(seed=2)[name]})

    message = refusal(swapped)

    assert "folder/golden.json: request 0: expected predictions [[" in message
    assert "found [[" in message


def test_one_weight_that_changed_a_little_is_refused() -> None:
    tensors = load_tensors(CONTENTS[MODEL])
    tensors["network.towers.output.bias"][2] += 0.01

    message = refusal(resealed({**CONTENTS, MODEL: save_tensors(tensors)}))

    assert "folder/golden.json: request 0" in message


def test_another_processors_rounding_is_accepted() -> None:
    golden = json.loads(CONTENTS[GOLDEN])
    golden[0]["predictions"] = [[p * (1 + 1e-5) for p in row] for row in golden[0]["predictions"]]

    unpack(resealed({**CONTENTS, GOLDEN: json.dumps(golden).encode()}), where="folder")


def test_a_model_of_nan_is_refused() -> None:
    encoder, model = ranker(seed=1)
    torch.nn.init.constant_(model.network.towers.output.bias, torch.nan)
    manifest = Manifest.model_validate_json(CONTENTS[MANIFEST])

    contents = pack(manifest, encoder, model, [GOLDEN_REQUEST])

    assert "folder/golden.json: request 0: expected predictions [[nan, " in refusal(contents)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (SPEC, b"name: small"),
        (SPEC, CONTENTS[SPEC].replace(b"- 12", b"- 13")),
        (MODEL, b"no tensors"),
        (MODEL, save_tensors({"other": torch.zeros(1)})),
        (FEATURES, b"{}"),
        (GOLDEN, b'[{"request": {}}]'),
        (GOLDEN, b"7"),
    ],
)
def test_contents_that_do_not_fit_together_are_refused(name: str, content: bytes) -> None:
    assert content != CONTENTS[name]

    message = refusal(resealed({**CONTENTS, name: content}))

    assert message.startswith("folder: expected a bundle's files, found ")


def test_training_goes_on_after_packing_without_changing_the_bundle() -> None:
    encoder, model = ranker(seed=1)
    contents = packed(seed=1)
    bundle = unpack(contents, where="folder")
    before = bundle.predict(REQUEST, CANDIDATES)

    encoder.encode_examples(random_records(50, seed=9), observe=True)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)

    np.testing.assert_array_equal(bundle.predict(REQUEST, CANDIDATES), before)
    assert Encoder(SMALL_SPEC).state() != bundle.encoder.state()
