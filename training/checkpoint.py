"""A checkpoint: everything that a run needs to go on as if it had never stopped, in one file.

The file is a safetensors file: model, optimisers, random state and metric state as tensors, the rest (spec,
encoder, position in the source) as JSON in its header, with a digest of all that. It is written beside the
old one and then renamed.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ranker.errors import CheckpointError
from ranker.features.encoder import EncoderState
from ranker.spec_file import dump_spec
from training.trainer import Trainer

FORMAT = 2


class Position(BaseModel):
    """Which run this is, and how far it has come.

    Attributes:
        source: Name of the source.
        since_ms: The run's first event time; None for no bound.
        until_ms: The first event time after the run; None for no bound.
        seed: Of the run.
        spec: As YAML.
        rows: Examples learned from.
        watermark_ms: Event time of the newest of them.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    source: str
    since_ms: int | None
    until_ms: int | None
    seed: int
    spec: str
    rows: int = 0
    watermark_ms: int | None = None


def save(path: Path, trainer: Trainer, run: Position) -> None:
    """Write a checkpoint, replacing the one at `path` in one step.

    Args:
        path: The file.
        trainer: What to save.
        run: Which run it is; its position is taken from the trainer.
    """
    position = run.model_copy(update={"rows": trainer.rows, "watermark_ms": trainer.watermark_ms})
    header = {"position": position.model_dump_json(), "encoder": trainer.encoder.state().model_dump_json()}
    tensors = {name: tensor.contiguous() for name, tensor in _tensors(trainer).items()}
    fresh = path.with_name(path.name + ".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, fresh, metadata={**header, "digest": _digest(header, tensors)})
    sync(fresh)
    os.replace(fresh, path)
    sync(path.parent)


def restore(path: Path, trainer: Trainer, run: Position) -> Position:
    """Bring a fresh trainer to where a checkpoint was written.

    Args:
        path: The file.
        trainer: A fresh trainer of the same spec and seed.
        run: The run that is to go on.

    Returns:
        The checkpoint's position.

    Raises:
        CheckpointError: The file is damaged, or it is of another run; the message says in what.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        position = Position.model_validate_json(header["position"])
        encoder = EncoderState.model_validate_json(header["encoder"])
        digest = header.pop("digest")
    except (SafetensorError, KeyError, ValidationError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint, found {' '.join(str(error).split())}"
        ) from error
    if digest != _digest(header, tensors):
        raise CheckpointError(
            f"{path}: expected digest {digest}, found {_digest(header, tensors)}: the file was changed"
        )
    for field in ("format", "source", "since_ms", "until_ms", "seed", "spec"):
        expected, found = getattr(run, field), getattr(position, field)
        if expected != found:
            raise CheckpointError(
                f"{path}: is of another run: expected {field} {expected!r:.120}, found {found!r:.120}; "
                "train without --resume to start anew"
            )
    trainer.encoder.load(encoder)
    _load_tensors(trainer, tensors)
    trainer.rows, trainer.watermark_ms = position.rows, position.watermark_ms
    return position


def new_run(
    trainer: Trainer, *, source: str, since_ms: int | None, until_ms: int | None, seed: int
) -> Position:
    """The position of a run that has not begun."""
    return Position(
        source=source, since_ms=since_ms, until_ms=until_ms, seed=seed, spec=dump_spec(trainer.spec)
    )


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    parts: dict[str, Mapping[str, Any]] = {
        "model": trainer.model.state_dict(),
        "sparse": trainer.sparse.state(),
        "average": trainer.average.state(),
        "metrics": _as_tensors(trainer.metrics.state()),
        "correction": _as_tensors(trainer.correction.state()),
        "features": _as_tensors(trainer.encoder.arrays()),
        "random": {"cpu": torch.get_rng_state()},
    }
    if trainer.device.type == "cuda":
        parts["random"] = {**parts["random"], "cuda": torch.cuda.get_rng_state(trainer.device)}
    tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    for place, state in trainer.dense.state_dict()["state"].items():
        tensors |= {f"dense/{place}/{name}": tensor for name, tensor in state.items()}
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


def _load_tensors(trainer: Trainer, tensors: Mapping[str, Tensor]) -> None:
    trainer.model.load_state_dict(_part(tensors, "model"))
    trainer.sparse.load(_part(tensors, "sparse"))
    trainer.average.load(_part(tensors, "average"))
    trainer.metrics.load_state(_as_arrays(_part(tensors, "metrics")))
    trainer.correction.load(_as_arrays(_part(tensors, "correction")))
    trainer.encoder.load_arrays(_as_arrays(_part(tensors, "features")))
    dense = trainer.dense.state_dict()
    dense["state"] = {
        int(place): _part(tensors, f"dense/{place}") for place in _places(_part(tensors, "dense"))
    }
    trainer.dense.load_state_dict(dense)
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


def _places(names: Iterable[str]) -> set[str]:
    return {name.split("/")[0] for name in names}
