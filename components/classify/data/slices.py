"""The slices of many patients: in memory as far as they fit, read from their files beyond."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from components.classify.data.samples import Samples

IN_MEMORY_BYTES = 4 * 1024**3
"""What one set of patients keeps in memory: 4,400 patients of the paper's five 128 x 128 slices."""


class PatientSlices:
    """Image slices of patients, [n, slices, 3, y, x] float32, of which the first are in memory.

    Args:
        samples: where they lie.
        rows: the patients, as row numbers of `samples`.
        device: where slices are wanted.
        in_memory: bytes to keep there; whoever does not fit is read whenever asked for.

    Raises:
        BadInput: an image is missing or unlike the others (when it is read).
    """

    def __init__(
        self,
        samples: Samples,
        rows: np.ndarray,
        device: torch.device,
        in_memory: int | None = None,
    ) -> None:
        self.samples, self.rows, self.device = samples, rows, device
        budget = IN_MEMORY_BYTES if in_memory is None else in_memory
        kept = min(len(rows), budget // (4 * int(np.prod(samples.shape))))
        self._kept = torch.from_numpy(samples.images(rows[:kept])).to(device)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, patients: slice) -> Tensor:
        """All slices of consecutive patients: [k, slices, 3, y, x]."""
        if patients.indices(len(self))[1] <= len(self._kept):
            return self._kept[patients]
        return torch.from_numpy(self.samples.images(self.rows[patients])).to(self.device)

    def gather(self, patient: Tensor, which: Tensor) -> Tensor:
        """One slice a row, [b, 3, y, x].

        Args:
            patient: int64 [b], positions in `rows`.
            which: int64 [b], the slice of each, 0-based.
        """
        here = patient < len(self._kept)
        found = self._kept.new_empty((len(patient), *self._kept.shape[2:]))
        kept = self._kept[patient[here].to(self.device), which[here].to(self.device)]
        found[here.to(self.device)] = kept
        if not here.all():
            asked = zip(self.rows[patient[~here].numpy()], which[~here].tolist(), strict=True)
            read = np.stack([self.samples.image_slice(int(row), w) for row, w in asked])
            found[~here.to(self.device)] = torch.from_numpy(read).to(self.device)
        return found
