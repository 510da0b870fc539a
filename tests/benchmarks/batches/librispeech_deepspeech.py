from batches.librispeech_conformer import BATCH, make_batch  # the same shapes

__all__ = ["BATCH", "make_batch"]
