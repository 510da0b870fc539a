"""Batches of fastmri: slices undersampled, transformed to images, and normalised."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError, naming_damage
from algoperf_lightning.data.damage import Damaged
from algoperf_lightning.data.examples import Batch, Draws, Examples

from .masks import EVALUATION_SEED, kept_columns, stateless_uniforms
from .reading import SliceReader
from .transform import normalise, undersampled_image


class Slices(Examples):
    """Slices of volumes: undersampled, transformed to images, and normalised.

    Args:
        reader: Reads the slices.
        rows: Indices of the slices of this split in the reader, shape ``(N,)``.
        mask_seed: Gives each slice its own mask; None for the common mask of evaluations.
        damaged: Creates the error for a file that cannot be read.
    """

    def __init__(
        self,
        reader: SliceReader,
        rows: NDArray[np.int64],
        mask_seed: int | None,
        damaged: Damaged = DamagedError,
    ) -> None:
        self.reader = reader
        self.rows = rows
        self.mask_seed = mask_seed
        self._damaged = damaged

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.rows)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return slices; :class:`~algoperf_lightning.workloads.FastMRI` describes the batch.

        Masks do not depend on the position: as in the benchmark, a slice has the same mask in every pass.

        Raises:
            DataNotFoundError: If a slice cannot be read, or has no contrast.
        """
        with naming_damage(self._damaged):
            return self._read(self.rows[indices])

    def _read(self, numbers: NDArray[np.int64]) -> Batch:
        places = [self.reader.find(number) for number in numbers.tolist()]
        uniforms = self._uniforms(numbers, max(volume.kspace[2] for volume, _ in places))
        shape = places[0][0].target[1:]
        images = {name: np.empty((len(numbers), *shape), np.float32) for name in ("inputs", "targets")}
        scalars = {name: np.empty(len(numbers), np.float32) for name in ("mean", "std", "volume_max")}
        for row, (volume, number) in enumerate(places):
            kspace, target = self.reader.read(volume, number)
            image = undersampled_image(kspace, kept_columns(volume.kspace[2], uniforms[row]), shape)
            mean, std = normalise(image, target, images["inputs"][row], images["targets"][row])
            if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
                path = self.reader.folder / volume.name
                raise DamagedError(path, "finite values, not all 0", f"slice {number} has others")
            scalars["mean"][row], scalars["std"][row], scalars["volume_max"][row] = mean, std, volume.maximum
        return {name: torch.from_numpy(values) for name, values in {**images, **scalars}.items()}

    def _uniforms(self, numbers: NDArray[np.int64], count: int) -> NDArray[np.float32]:
        if self.mask_seed is None:
            one = stateless_uniforms(np.array([EVALUATION_SEED], dtype=np.int64), count)
            return np.broadcast_to(one, (len(numbers), count))
        return stateless_uniforms(np.stack([np.full_like(numbers, self.mask_seed), numbers], axis=1), count)
