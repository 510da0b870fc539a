"""``FileData`` where it was before :mod:`algoperf_lightning.data` was a package, for those who import it from here."""

from algoperf_lightning.data.file_data import TINY_MARKER, FileData

__all__ = ["TINY_MARKER", "FileData"]
