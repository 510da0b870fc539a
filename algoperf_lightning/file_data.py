"""The previous module of ``FileData``, now in :mod:`algoperf_lightning.data`; kept for existing imports."""

from algoperf_lightning.data.file_data import TINY_MARKER, FileData

__all__ = ["TINY_MARKER", "FileData"]
