"""A bundle: a trained ranker as files.

    manifest.json       version, training watermark, metrics, sha256 of the others
    spec.yaml           the spec
    model.safetensors   the network's weights, float32
    features.json       vocabularies and statistics of the features
    state.safetensors   rows of ids, and the feature state at the watermark
    golden.json         requests with the predictions that loading must reproduce

No file contains code. Reading verifies every byte and recomputes the golden predictions.

Shape letters: C candidates, T tasks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ranker.bundles.manifest import FORMAT_VERSION, Manifest, sha256
from ranker.errors import BundleError, UserError
from ranker.features.encoder import Encoder, EncoderState
from ranker.features.values import FeatureValue
from ranker.labels.natural_units import natural_units
from ranker.networks.model import RankingModel
from ranker.spec import RankerSpec
from ranker.spec_file import dump_spec, parse_spec

MANIFEST: Final = "manifest.json"
SPEC: Final = "spec.yaml"
MODEL: Final = "model.safetensors"
FEATURES: Final = "features.json"
STATE: Final = "state.safetensors"
GOLDEN: Final = "golden.json"
FILES: Final = (SPEC, MODEL, FEATURES, STATE, GOLDEN)
TOLERANCE: Final = 1e-3
"""Largest relative difference of a golden prediction, because processors round differently."""


class Request(BaseModel):
    """A request as the encoder reads it.

    Attributes:
        time_ms: When it is made, Unix epoch; the feature state is read as of then.
        request: Values of the user, query and context columns.
        candidates: For each candidate, values of the candidate and pair columns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_ms: int
    request: dict[str, FeatureValue]
    candidates: list[dict[str, FeatureValue]]


class Golden(Request):
    """A request with the predictions that the bundle must reproduce: (C, T) in natural units."""

    predictions: list[list[float]]


GOLDENS: Final = TypeAdapter(list[Golden])


@dataclass(frozen=True)
class Bundle:
    """A verified ranker that is ready to predict."""

    manifest: Manifest
    spec: RankerSpec
    encoder: Encoder
    model: RankingModel

    def predict(
        self,
        request: Mapping[str, FeatureValue],
        candidates: Sequence[Mapping[str, FeatureValue]],
        *,
        time_ms: int = 0,
    ) -> NDArray[np.float64]:
        """Predict every head for every candidate, with the bundle's feature state.

        Args:
            request: Values of the user, query and context columns; an absent column is missing.
            candidates: For each of C candidates, values of the candidate and pair columns.
            time_ms: Time of the request, Unix epoch in milliseconds; only features that learn from the stream
                read it.

        Returns:
            (C, T) float64 in natural units, in the order of the spec's tasks.

        Raises:
            FeatureError: A value has the wrong type; the error names the column and the candidate's row.
        """
        return predict(self.encoder, self.model, request, candidates, time_ms=time_ms)


def predict(
    encoder: Encoder,
    model: RankingModel,
    request: Mapping[str, FeatureValue],
    candidates: Sequence[Mapping[str, FeatureValue]],
    *,
    time_ms: int = 0,
) -> NDArray[np.float64]:
    """Predict with an encoder and a model; see `Bundle.predict`."""
    with torch.inference_mode():
        encoded = encoder.encode_request(request, candidates, time_ms=time_ms).to(model.device)
        return natural_units(model(encoded), model.spec.tasks)


def pack(
    manifest: Manifest, encoder: Encoder, model: RankingModel, requests: Sequence[Request]
) -> dict[str, bytes]:
    """Serialise a trained ranker.

    Args:
        manifest: The manifest without checksums and digest, which are filled in. A hash of the contents is
            appended to its `model_version`.
        encoder: The encoder with its state.
        model: The network in evaluation mode.
        requests: Golden requests, whose predictions are computed here.

    Returns:
        The content of every file by its name.
    """
    golden = [
        Golden(
            **dict(r),
            predictions=predict(encoder, model, r.request, r.candidates, time_ms=r.time_ms).tolist(),
        )
        for r in requests
    ]
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    contents = {
        SPEC: dump_spec(model.spec).encode(),
        MODEL: save_tensors(tensors),
        FEATURES: encoder.state().model_dump_json().encode(),
        STATE: safetensors.numpy.save(encoder.arrays()),
        GOLDEN: json.dumps([g.model_dump(mode="json") for g in golden]).encode(),
    }
    files = {name: sha256(content) for name, content in contents.items()}
    version = f"{manifest.model_version}-{sha256(json.dumps(files, sort_keys=True).encode())[:8]}"
    sealed = manifest.model_copy(update={"files": files, "model_version": version}).sealed()
    return {**contents, MANIFEST: sealed.to_json()}


def read_manifest(content: bytes, *, where: str) -> Manifest:
    """Parse and verify a manifest.

    Args:
        content: The bytes of `manifest.json`.
        where: The bundle's name in messages.

    Raises:
        BundleError: The content is not a manifest, was changed, or has another format.
    """
    try:
        document: Any = json.loads(content)
        found = document.get("format_version") if isinstance(document, dict) else None
        if isinstance(found, int) and found > FORMAT_VERSION:
            raise BundleError(
                f"{where}/{MANIFEST}: expected format version {FORMAT_VERSION}, found {found}; "
                "upgrade watchnext to read this bundle"
            )
        if isinstance(found, int) and found < FORMAT_VERSION:
            raise BundleError(
                f"{where}/{MANIFEST}: expected format version {FORMAT_VERSION}, found {found}: "
                "made by an older watchnext; train it again"
            )
        manifest = Manifest.model_validate(document)
    except (ValueError, ValidationError) as error:
        raise BundleError(
            f"{where}/{MANIFEST}: expected a manifest, found {' '.join(str(error).split())}"
        ) from error
    expected = manifest.expected_digest(content)
    if manifest.digest != expected:
        raise BundleError(
            f"{where}/{MANIFEST}: expected digest {expected}, found {manifest.digest}: "
            "the manifest was changed"
        )
    return manifest


def unpack(contents: Mapping[str, bytes], *, where: str) -> Bundle:
    """Verify a bundle's files and build the ranker.

    Args:
        contents: The bytes of every file by its name.
        where: The bundle's name in messages, such as the folder.

    Raises:
        BundleError: A file is missing or changed, the format is another, or a golden prediction is not
            reproduced.
    """
    missing = [name for name in (MANIFEST, *FILES) if name not in contents]
    if missing:
        raise BundleError(
            f"{where}: expected a file {missing[0]}, found {', '.join(sorted(contents)) or 'none'}"
        )
    manifest = read_manifest(contents[MANIFEST], where=where)
    for name in FILES:
        expected, found = manifest.files.get(name), sha256(contents[name])
        if expected != found:
            raise BundleError(
                f"{where}/{name}: expected sha256 {expected}, found {found}: the file was changed"
            )
    try:
        spec = parse_spec(contents[SPEC].decode(), where=f"{where}/{SPEC}")
        encoder = Encoder(spec)
        encoder.load(EncoderState.model_validate_json(contents[FEATURES]))
        encoder.load_arrays(safetensors.numpy.load(contents[STATE]))
        with torch.device("meta"):
            model = RankingModel(spec)
        model.load_state_dict(load_tensors(contents[MODEL]), assign=True)
        golden = GOLDENS.validate_json(contents[GOLDEN])
    except (UserError, SafetensorError, RuntimeError, ValueError) as error:
        raise BundleError(
            f"{where}: expected a bundle's files, found {' '.join(str(error).split())}"
        ) from error
    bundle = Bundle(manifest, spec, encoder, model.requires_grad_(False).eval())
    for index, case in enumerate(golden):
        _check_golden(bundle, case, f"{where}/{GOLDEN}: request {index}")
    return bundle


def _check_golden(bundle: Bundle, case: Golden, where: str) -> None:
    expected = np.array(case.predictions)
    found = bundle.predict(case.request, case.candidates, time_ms=case.time_ms)
    if expected.shape != found.shape or not np.allclose(found, expected, rtol=TOLERANCE, atol=1e-6):
        raise BundleError(
            f"{where}: expected predictions {expected.round(4).tolist()}, found {found.round(4).tolist()}: "
            "this build of watchnext does not compute what the model was trained to"
        )
