"""Tensors of one batch or request, as the encoder makes them and the network takes them.

Shape letters: R rows of a group (1 for a request's own features, B in training, C candidates), N numbers,
S single-valued features of one width, M ids in all bags of a feature, H histories, E entries of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from ranker.features.sides import Group


@dataclass(frozen=True)
class Bag:
    """A bag of ids for every row of a group.

    Attributes:
        rows: (M,) int64, rows of the fused table, bag after bag.
        offsets: (R,) int64, where each bag starts.
        width: Width of the embeddings, which names the table.
    """

    rows: Tensor
    offsets: Tensor
    width: int


@dataclass(frozen=True)
class AttendedHistory:
    """What every row of a group attends to; rows one after the other with the same history share it.

    Attributes:
        entries: (H, E) int64, rows of the fused table: what is remembered, the newest first.
        ages: (H, E) int64, rows of the fused table: how long ago that was.
        there: (H, E) bool, false where there are fewer entries; what stands there instead is of no meaning.
        history: (R,) int64, which history is the row's.
        candidates: (R,) int64, rows of the fused table: what attends.
        width: Width of the embeddings, which names the table.
    """

    entries: Tensor
    ages: Tensor
    there: Tensor
    history: Tensor
    candidates: Tensor
    width: int

    def to(self, device: torch.device) -> "AttendedHistory":
        """The same history on another device."""
        return AttendedHistory(
            self.entries.to(device),
            self.ages.to(device),
            self.there.to(device),
            self.history.to(device),
            self.candidates.to(device),
            self.width,
        )


@dataclass(frozen=True)
class GroupInputs:
    """The features of one group.

    Attributes:
        count: R.
        singles: For each width, (R, S) int64 rows of the fused table of that width.
        bags: One a feature of kind `ids`, then one a history that is mean-pooled.
        numbers: (R, 2 N) float32: standardised values (0 where missing), then indicators of missing ones.
        attended: Histories that the candidates attend to, of group PAIR alone.
    """

    count: int
    singles: dict[int, Tensor]
    bags: tuple[Bag, ...]
    numbers: Tensor
    attended: tuple[AttendedHistory, ...] = ()

    def to(self, device: torch.device) -> "GroupInputs":
        """The same inputs on another device."""
        return GroupInputs(
            self.count,
            {width: rows.to(device) for width, rows in self.singles.items()},
            tuple(Bag(b.rows.to(device), b.offsets.to(device), b.width) for b in self.bags),
            self.numbers.to(device),
            tuple(history.to(device) for history in self.attended),
        )


@dataclass(frozen=True)
class Encoded:
    """All features of a training batch or of a request.

    Attributes:
        groups: The inputs of each group; in training all have B rows, in a request the first has one.
        bias: (B, number of bias features) int64 categories, 0 where missing; None when ranking.
    """

    groups: dict[Group, GroupInputs]
    bias: Tensor | None

    def to(self, device: torch.device) -> "Encoded":
        """The same inputs on another device."""
        bias = None if self.bias is None else self.bias.to(device)
        return Encoded({group: inputs.to(device) for group, inputs in self.groups.items()}, bias)

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, for a checkpoint: `GROUP/PART/...`, with the number of each bag and history."""
        found = {} if self.bias is None else {"bias": self.bias}
        for group, inputs in self.groups.items():
            parts = {"numbers": inputs.numbers}
            parts |= {f"singles/{i}/{width}": rows for i, (width, rows) in enumerate(inputs.singles.items())}
            kinds: dict[str, tuple[Bag | AttendedHistory, ...]] = {
                "bags": inputs.bags,
                "attended": inputs.attended,
            }
            for kind, several in kinds.items():
                for number, one in enumerate(several):
                    names = [field.name for field in fields(one) if field.name != "width"]
                    parts |= {f"{kind}/{number}/{one.width}/{name}": getattr(one, name) for name in names}
            found |= {f"{group}/{name}": tensor for name, tensor in parts.items()}
        return found

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What `tensors` was given of."""
        groups = {}
        for group in Group:
            found = {n.removeprefix(f"{group}/"): t for n, t in tensors.items() if n.startswith(f"{group}/")}
            numbers = found.pop("numbers")
            parts: dict[str, dict[tuple[int, int], dict[str, Tensor]]] = {}
            for name, tensor in found.items():
                kind, number, width, *part = name.split("/")
                parts.setdefault(kind, {}).setdefault((int(number), int(width)), {})["".join(part)] = tensor
            singles, bags, attended = (
                sorted(parts.get(kind, {}).items(), key=lambda one: one[0])
                for kind in ("singles", "bags", "attended")
            )
            groups[group] = GroupInputs(
                len(numbers),
                {width: rows[""] for (_, width), rows in singles},
                tuple(Bag(width=width, **named) for (_, width), named in bags),
                numbers,
                tuple(AttendedHistory(width=width, **named) for (_, width), named in attended),
            )
        return cls(groups, tensors.get("bias"))
