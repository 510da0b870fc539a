"""Texts of submissions that break a rule each, by row of the page of rules: what is found in them, and what is not."""

FOUND = {
    "names": ["workload.name == 'mnist'", "{'digits': 0.1}"],
    "fingerprints": ["workload.num_train_examples == 50_000", "workload.step_hint < 4000"],
    "behind": ["workload._workload", "getattr(workload, '_workload')", "vars(workload)", "gc.get_objects()"],
    "files": ["open('/tmp/weights')", "t.load('/tmp/weights')", "pathlib.Path('/tmp/weights').read_bytes()"],
    "other_data": ["importlib.import_module('sklearn.datasets')", "data.open('validation')"],
    "handlers": ["atexit.register(print)", "signal.setitimer(0, 1)"],
}
"""Expressions within ``training_step(self, workload, batch)``."""

NOT_FOUND = {
    "names": ["'mni' + 'st'"],
    "fingerprints": ["workload.num_train_examples % 7", "sum(p.numel() for p in workload.model.parameters())"],
    "behind": ["workload.loss.__self__"],
    "files": ["getattr(t, 'lo' + 'ad')"],
    "other_data": ["getattr(importlib, 'import_' + 'module')"],
    "handlers": ["getattr(atexit, 'regis' + 'ter')"],
}

MODULE = """
import atexit, gc, importlib, pathlib, signal
import torch as t
from algoperf_lightning import Submission

class Entry(Submission):
    def configure_optimizers(self, model, workload):
        return t.optim.SGD(model.parameters(), lr=0.1)

    def training_step(self, workload, batch):
        # Only read: it is never run.
        if False:
            {expression}
        return super().training_step(workload, batch)
"""
