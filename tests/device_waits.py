"""Finds waits for the device in steps of a run: on a GPU torch raises at them, on the CPU we see what would wait."""

import dataclasses
import warnings
from contextlib import contextmanager

import lightning as L
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from algoperf_lightning.callbacks import BudgetProgressBar, TimeBudget, TrialRecorder

WAITING = {
    "caspr_adaptive": "eigenvalues, and whether the roots are finite",
    "lawa_ema": "snapshots on the host",
    "lawa_queue": "snapshots on the host",
    "librispeech_conformer": "lengths on the host, for the CTC loss",
    "librispeech_deepspeech": "lengths on the host, for the CTC loss",
    "shampoo": "eigenvalues, and whether the roots are finite",
}
"""Registered submissions and workloads that wait for the device in some steps, and for what."""

_ATEN = torch.ops.aten
_WAITING_OPERATIONS = {
    _ATEN._local_scalar_dense.default,
    _ATEN._ctc_loss.Tensor,
    _ATEN._ctc_loss.default,
    _ATEN._linalg_check_errors.default,
    _ATEN._linalg_eigh.default,
    _ATEN._linalg_svd.default,
    _ATEN._unique2.default,
    _ATEN.bincount.default,
    _ATEN.equal.default,
    _ATEN.is_nonzero.default,
    _ATEN.linalg_eig.default,
    _ATEN.masked_select.default,
    _ATEN.nonzero.default,
    _ATEN.repeat_interleave.Tensor,
    _ATEN.unique_consecutive.default,
}
_INDEXING = {_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default, _ATEN._index_put_impl_.default}
_TO_HOST = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}
_FROM_HOST = {torch.tensor, torch.as_tensor}


class WaitError(AssertionError):
    """Something waits for the device."""


class _OnDevice:
    """Knows which tensors of a run on the CPU would be on a GPU: model, batches, and what is made of them."""

    def __init__(self):
        self._storages = {}

    def add(self, tensor):
        storage = StorageWeakRef(tensor.untyped_storage())  # as long as it lives, no other storage has its number
        self._storages[storage.cdata] = storage

    def holds(self, tensor):
        return tensor.untyped_storage()._cdata in self._storages


class _Operations(TorchDispatchMode):
    """Raises at operations that wait, if their arguments are on the device."""

    def __init__(self, device):
        super().__init__()
        self.device, self.raising = device, False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [each for each in tree_iter((args, kwargs)) if isinstance(each, torch.Tensor)]
        on_device = [tensor for tensor in tensors if self.device.holds(tensor)]
        if on_device and self.raising and self._waits(function, args):
            raise WaitError(f"{function} waits for the device")
        made = function(*args, **kwargs)
        if on_device:
            for each in tree_iter((made, [args[0]] if function._schema.is_mutable else [])):
                if isinstance(each, torch.Tensor):
                    self.device.add(each)
        return made

    def _waits(self, function, args):
        """Whether an operation waits; indexing does for masks, and for numbers that are put in from the host."""
        if function not in _INDEXING:
            return function in _WAITING_OPERATIONS
        indices, *values = args[1:3]
        masks = [index for index in indices if index is not None and index.dtype in (torch.bool, torch.uint8)]
        return bool(masks) or any(not value.ndim and not self.device.holds(value) for value in values)


class _Functions(TorchFunctionMode):
    """Raises at what copies between host and device, which is no operation where both are the CPU."""

    def __init__(self, device):
        super().__init__()
        self.device, self.raising = device, False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.raising:
            if function in _TO_HOST and self.device.holds(args[0]):
                raise WaitError(f"{function.__name__} waits for the device")
            if function is torch.Tensor.to and self.device.holds(args[0]) and _names_cpu(args[1:], kwargs):
                raise WaitError("to('cpu') waits for the device")
            if function in _FROM_HOST and isinstance(kwargs.get("device"), torch.device):  # that of another tensor
                raise WaitError(f"{function.__name__}(..., device=...) copies from the host, and waits: use torch.full")
        return function(*args, **kwargs)


def _names_cpu(args, kwargs):
    """Whether the CPU is named by a string: one that is taken from another tensor would be the GPU."""
    return any(isinstance(each, str) and each == "cpu" for each in (*args, kwargs.get("device")))


class _StepsBetween(L.Callback):
    """Raises at waits from the end of step 2 to the beginning of the last step, which the clock waits for."""

    def __init__(self, steps, finder):
        self.steps, self.finder = steps, finder

    def on_train_start(self, trainer, workload):
        self.finder.add(workload.network.state_dict())

    def on_train_batch_start(self, trainer, workload, batch, batch_idx):
        self.finder.add(batch)
        if trainer.global_step >= self.steps - 1:
            self.finder.raises(False)

    def on_train_batch_end(self, trainer, *args):
        self.finder.raises(2 <= trainer.global_step < self.steps - 1)

    def on_exception(self, *args):
        self.finder.raises(False)


class _OfTorch:
    """Lets torch raise at waits."""

    @contextmanager
    def watching(self):
        try:
            yield
        finally:
            self.raises(False)

    def raises(self, on):
        torch.cuda.set_sync_debug_mode("error" if on else "default")

    def add(self, tensors):
        """Do nothing: torch knows what is on the device."""


class _OfOurs:
    """Raises at what would wait if the model and the batches of a run on the CPU were on a GPU."""

    def __init__(self):
        self._device = _OnDevice()
        self._modes = _Operations(self._device), _Functions(self._device)

    @contextmanager
    def watching(self):
        operations, functions = self._modes
        with operations, functions:
            yield

    def raises(self, on):
        for mode in self._modes:
            mode.raising = on

    def add(self, tensors):
        for each in tree_iter(tensors):
            if isinstance(each, torch.Tensor):
                self._device.add(each)


def make_steps_without_waits(workload, folder, device="cpu", steps=8, **options):
    """Train a workload for some steps, all callbacks included, none of which may wait for the device.

    The first two steps and the last are left out, as are readings of the clock and evaluations, which have to wait.

    Raises:
        WaitError: If a step on the CPU would wait for a GPU.
        RuntimeError: If a step on a GPU waits for it.
    """
    finder = _OfTorch() if device == "cuda" else _OfOurs()
    # What is done at times is done in these steps.
    workload.spec = dataclasses.replace(workload.spec, step_hint=20)
    if hasattr(workload.submission, "precondition_frequency"):
        workload.submission.precondition_frequency = 5
    clock = TimeBudget(budget=1e9, eval_period=1e9, clock=lambda: 0.0)  # nothing becomes due
    trainer = L.Trainer(
        callbacks=[clock, TrialRecorder(folder / "trial"), BudgetProgressBar(), _StepsBetween(steps, finder)],
        max_steps=steps,
        default_root_dir=folder,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_model_summary=False,
        **options,
    )
    with finder.watching(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(workload)
    assert clock.result.steps == steps
