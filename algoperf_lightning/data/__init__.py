"""Data of workloads: location, reading, and order of the examples.

Import the names that workload authors need from this package. Its modules are internal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.utilities.lazy_names import lazy_names

if TYPE_CHECKING:
    from algoperf_lightning.data.archives import ARCHIVE_ERRORS, read_gzip, unpack
    from algoperf_lightning.data.damage import DamagedError, naming_damage
    from algoperf_lightning.data.data_dir import DATA_DIR_VARIABLE, resolve_data_dir
    from algoperf_lightning.data.downloads import DownloadError, checksum, download
    from algoperf_lightning.data.examples import Batch, Draws, Examples, Order, Permutations, TensorExamples
    from algoperf_lightning.data.file_data import FileData
    from algoperf_lightning.data.streams import EvaluationBatches, Loader, TrainingBatches, TrainingStream
    from algoperf_lightning.data.workload_data import (
        EVALUATION_SPLITS,
        DataExistError,
        DataNotFoundError,
        WorkloadData,
    )

# Lazy imports: the data directory can be resolved without importing torch.
_HOME = {
    "ARCHIVE_ERRORS": "archives",
    "Batch": "examples",
    "DATA_DIR_VARIABLE": "data_dir",
    "DamagedError": "damage",
    "DataExistError": "workload_data",
    "DataNotFoundError": "workload_data",
    "DownloadError": "downloads",
    "Draws": "examples",
    "EVALUATION_SPLITS": "workload_data",
    "EvaluationBatches": "streams",
    "Examples": "examples",
    "FileData": "file_data",
    "Loader": "streams",
    "Order": "examples",
    "Permutations": "examples",
    "TensorExamples": "examples",
    "TrainingBatches": "streams",
    "TrainingStream": "streams",
    "WorkloadData": "workload_data",
    "checksum": "downloads",
    "download": "downloads",
    "naming_damage": "damage",
    "read_gzip": "archives",
    "resolve_data_dir": "data_dir",
    "unpack": "archives",
}

__all__ = [
    "ARCHIVE_ERRORS",
    "DATA_DIR_VARIABLE",
    "EVALUATION_SPLITS",
    "Batch",
    "DamagedError",
    "DataExistError",
    "DataNotFoundError",
    "DownloadError",
    "Draws",
    "EvaluationBatches",
    "Examples",
    "FileData",
    "Loader",
    "Order",
    "Permutations",
    "TensorExamples",
    "TrainingBatches",
    "TrainingStream",
    "WorkloadData",
    "checksum",
    "download",
    "naming_damage",
    "read_gzip",
    "resolve_data_dir",
    "unpack",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
