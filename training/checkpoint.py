"""A checkpoint: everything that a run needs to go on as if it had never stopped, in one file.

The file is a safetensors file: model, optimisers, feature state, metrics and random state as tensors, the
rest (which run it is, its offset in the source, the vocabularies) as JSON in its header, with a digest of all
that. So what was learned and how far the source was read always belong together. The file is written beside
the old one and then renamed.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ranker.errors import CheckpointError
from ranker.event_times import time_text
from ranker.features.encoder import EncoderState
from ranker.files.whole import replacing
from ranker.gate_spec import GateSpec
from ranker.spec import RankerSpec
from ranker.spec_file import dump_spec
from training.loop import TrainingLoop
from training.sources.base import Offset
from training.spec_difference import differences

FORMAT = 6
"""Raised whenever an older watchnext could not go on from what a newer one writes, or the reverse."""


class RunIdentity(BaseModel):
    """Which run this is: what must be the same for it to go on.

    Attributes:
        source: Name of the source.
        since_ms: The run's first event time; None for no bound.
        until_ms: The first event time after the run; None for no bound.
        seed: Of the run.
        spec: As YAML.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    since_ms: int | None
    until_ms: int | None
    seed: int
    spec: str

    @classmethod
    def of(
        cls, spec: RankerSpec, *, source: str, since_ms: int | None, until_ms: int | None, seed: int
    ) -> Self:
        """The identity of a run that learns this spec; which bundles are held back may change meanwhile."""
        learned = spec.model_copy(update={"training": spec.training.model_copy(update={"gate": GateSpec()})})
        return cls(source=source, since_ms=since_ms, until_ms=until_ms, seed=seed, spec=dump_spec(learned))


class Reached(BaseModel):
    """How far a run has come.

    Attributes:
        rows: Examples learned from.
        watermark_ms: Event time of the newest of them; None before the first.
        offset: Where the source goes on after them; None before the first.
        source: The source's name, which a checkpoint keeps with the run.
    """

    model_config = ConfigDict(extra="forbid")

    rows: int
    watermark_ms: int | None
    offset: Offset | None
    source: str = Field("", exclude=True)


def save(path: Path, loop: TrainingLoop, run: RunIdentity) -> None:
    """Write a checkpoint, replacing the one at `path` in one step.

    Args:
        path: The file.
        loop: What to save, with its trainer.
        run: Which run it is.

    Raises:
        FileError: It cannot be written, such as on a full disk; the one at `path` stays.
    """
    trainer = loop.trainer
    reached = Reached(rows=trainer.rows, watermark_ms=trainer.watermark_ms, offset=loop.offset)
    header = {
        "format": str(FORMAT),
        "run": run.model_dump_json(),
        "reached": reached.model_dump_json(),
        "encoder": trainer.encoder.state().model_dump_json(),
    }
    tensors = {name: tensor.contiguous() for name, tensor in _tensors(loop).items()}
    digest = _digest(header, tensors)
    with replacing(path) as fresh:
        save_file(tensors, fresh, metadata={**header, "digest": digest})


def restore(
    path: Path,
    loop: TrainingLoop,
    run: RunIdentity,
    *,
    anew: str = "train without --resume",
    earlier_source: str | None = None,
) -> Reached:
    """Bring a fresh loop to where a checkpoint was written.

    Args:
        path: The file.
        loop: A fresh loop, with a fresh trainer of the same spec and seed.
        run: The run that is to go on.
        anew: How to start anew, for messages.
        earlier_source: Name of another source whose run may go on as this one; None for none.

    Returns:
        How far it had come, and in which source.

    Raises:
        CheckpointError: The file is damaged, of another format or of another run; the message says in what.
    """
    header, tensors = _read(path, anew)
    try:
        found_run = RunIdentity.model_validate_json(header["run"])
        reached = Reached.model_validate_json(header["reached"])
        encoder = EncoderState.model_validate_json(header["encoder"])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint, found {' '.join(str(error).split())}"
        ) from error
    learned_ms = reached.watermark_ms
    if run.until_ms is not None and learned_ms is not None and run.until_ms <= learned_ms:
        raise CheckpointError(
            f"{path}: expected an end after what was learned, which is up to {time_text(learned_ms)}, "
            f"found until_ms {run.until_ms} ({time_text(run.until_ms)})"
        )
    for field in RunIdentity.model_fields.keys() - {"until_ms"}:  # a later end takes nothing back
        expected, found = getattr(run, field), getattr(found_run, field)
        if expected != found and not (field == "source" and found == earlier_source):
            differs = f"expected {field} {expected!r}, found {found!r}"
            if field == "spec":
                differs = "; ".join(map(str, differences(yaml.safe_load(expected), yaml.safe_load(found))))
            raise CheckpointError(f"{path}: is of another run: {differs}; {anew} to start anew")
    trainer = loop.trainer
    trainer.encoder.load(encoder)
    _load_tensors(loop, tensors)
    trainer.rows, trainer.watermark_ms, loop.offset = reached.rows, reached.watermark_ms, reached.offset
    return reached.model_copy(update={"source": found_run.source})


def _read(path: Path, anew: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header and tensors of a checkpoint of this format, with its digest checked."""
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        digest = header.pop("digest")
    except (SafetensorError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint, found {' '.join(str(error).split())}"
        ) from error
    if header.get("format") != str(FORMAT):
        raise CheckpointError(
            f"{path}: expected a checkpoint of format {FORMAT}, "
            f"found {header.get('format', 'an older one')}; "
            f"{anew} to start anew"
        )
    if digest != _digest(header, tensors):
        raise CheckpointError(
            f"{path}: expected digest {digest}, found {_digest(header, tensors)}: the file was changed"
        )
    return header, tensors


def _tensors(loop: TrainingLoop) -> dict[str, Tensor]:
    trainer = loop.trainer
    parts: dict[str, Mapping[str, Any]] = {
        "model": trainer.model.state_dict(),
        "sparse": trainer.sparse.state_dict(),
        "average": trainer.average.state_dict(),
        "metrics": _as_tensors(trainer.metrics.state_dict()),
        "correction": _as_tensors(trainer.correction.state_dict()),
        "plausibility": _as_tensors(trainer.plausibility.state_dict()),
        "features": _as_tensors(trainer.encoder.arrays()),
        "recent": _as_tensors(_packed(loop.recent)),
        "waiting": trainer.waiting.state_dict(),
        "trained": {"heads": torch.from_numpy(trainer.trained)},
        "random": {"cpu": torch.get_rng_state()},
    }
    parts |= {name: _as_tensors(one.state_dict()) for name, one in loop.listeners.items()}
    if trainer.device.type == "cuda":
        parts["random"] = {**parts["random"], "cuda": torch.cuda.get_rng_state(trainer.device)}
    tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    for index, state in trainer.dense.state_dict()["state"].items():
        tensors |= {f"dense/{index}/{name}": tensor for name, tensor in state.items()}
    return tensors


def _digest(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """sha256 of everything that a checkpoint holds; safetensors itself keeps no checksum."""
    digest = hashlib.sha256()
    for name in sorted(header):
        digest.update(f"{name}={header[name]}\n".encode())
    for name in sorted(tensors):
        digest.update(f"{name}\n".encode())
        digest.update(tensors[name].flatten().cpu().numpy().data)
    return digest.hexdigest()


def _load_tensors(loop: TrainingLoop, tensors: Mapping[str, Tensor]) -> None:
    trainer = loop.trainer
    trainer.model.load_state_dict(_part(tensors, "model"))
    trainer.sparse.load_state_dict(_part(tensors, "sparse"))
    trainer.average.load_state_dict(_part(tensors, "average"))
    trainer.metrics.load_state_dict(_as_arrays(_part(tensors, "metrics")))
    trainer.correction.load_state_dict(_as_arrays(_part(tensors, "correction")))
    trainer.plausibility.load_state_dict(_as_arrays(_part(tensors, "plausibility")))
    trainer.encoder.load_arrays(_as_arrays(_part(tensors, "features")))
    trainer.waiting.load_state_dict(_part(tensors, "waiting"))
    trainer.trained = tensors["trained/heads"].numpy().copy()
    dense = trainer.dense.state_dict()
    indices = {name.split("/")[0] for name in _part(tensors, "dense")}
    dense["state"] = {int(index): _part(tensors, f"dense/{index}") for index in indices}
    trainer.dense.load_state_dict(dense)
    loop.recent = _unpacked(_as_arrays(_part(tensors, "recent")))
    for name, listener in loop.listeners.items():
        listener.load_state_dict(_as_arrays(_part(tensors, name)))
    random = _part(tensors, "random")
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and trainer.device.type == "cuda":
        torch.cuda.set_rng_state(random["cuda"], trainer.device)


def _as_tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _as_arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{part}/"): t for n, t in tensors.items() if n.startswith(f"{part}/")}


def _packed(records: pa.RecordBatch | None) -> dict[str, NDArray[np.uint8]]:
    """Records as bytes, which do not depend on how they were cut out of others."""
    if records is None:
        return {}
    records = records.take(pa.array(np.arange(records.num_rows)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema) as stream:
        stream.write_batch(records)
    return {"records": np.frombuffer(sink.getvalue(), np.uint8).copy()}


def _unpacked(arrays: Mapping[str, NDArray[Any]]) -> pa.RecordBatch | None:
    if "records" not in arrays:
        return None
    with pa.ipc.open_stream(arrays["records"].tobytes()) as stream:
        return stream.read_next_batch()
