"""Submissions that break a rule each, by the row of ``docs/rules.md`` that they belong to.

Those with a text in ``seen`` are noticed in the run, by a warning that begins so. The others are not: what they do is
in the row's last column.
"""

import builtins
import dataclasses
import gc
import os
import subprocess
import sys
import threading
import time

import numpy
import torch
from rule_cases import Cheat
from torch import nn
from torch.overrides import TorchFunctionMode

from algoperf_lightning import streams
from algoperf_lightning.record_checksum import Ledger

CHEATS = []


def cheat(row, at="configure_optimizers", seen=""):
    """Register a function as what a cheat does at a moment."""

    def register(function):
        kind = type(function.__name__, (Cheat,), {"act": function, "__module__": __name__})
        kind.row, kind.seen, kind.moment = row, seen, at
        CHEATS.append(kind)
        return function

    return register


def workload_of(self):
    return self.view._workload


# The model


@cheat("model", seen="The model's structure changed during the run: dropout extra")
def adds_dropout(self):
    self.model.add_module("extra", nn.Dropout(0.5))


@cheat("model", at="before_evaluation", seen="The model's structure changed during the run: module late")
def adds_a_layer_for_an_evaluation(self):
    self.model.late = nn.Identity()


@cheat("model", at="training_step", seen="The model's structure changed during the run: buffer mean")
def adds_a_buffer(self):
    self.model.register_buffer("mean", torch.zeros(3))


@cheat("model", at="training_step")
def sets_a_plain_attribute_of_a_layer(self):
    next(module for module in self.model.modules() if isinstance(module, nn.Linear)).scale = 2.0


# Hooks


@cheat("hooks", at="before_evaluation", seen="A hook or a forward pass changed during the run: forward_hook 0 of (all)")
def answers_by_a_hook(self):
    self.model.register_forward_hook(lambda module, inputs, outputs: outputs * 0)


@cheat("hooks", seen="A hook or a forward pass changed during the run: forward of (all) was replaced")
def replaces_the_forward_pass_of_an_object(self):
    forward = self.model.forward
    self.model.forward = lambda *args: forward(*args)


@cheat("hooks", at="training_step", seen="A hook or a forward pass changed during the run: forward of head was")
def replaces_the_forward_pass_of_a_class(self):
    forward = nn.Linear.forward
    nn.Linear.forward = lambda module, inputs: forward(module, inputs)


@cheat("hooks", seen="The interpreter changed during the run: torch's global forward hook")
def registers_a_global_hook(self):
    self.handle = nn.modules.module.register_module_forward_hook(lambda module, inputs, outputs: None)


@cheat("hooks")
def replaces_what_a_forward_pass_calls(self):
    linear = nn.functional.linear
    nn.functional.linear = lambda *args, **kwargs: linear(*args, **kwargs)


# Parameters while the clock stands


def move_parameters(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)


@cheat("parameters", seen="Parameters or buffers changed in configure_optimizers")
def trains_before_the_start(self):
    move_parameters(self.model)


@cheat("parameters", at="before_evaluation", seen="Parameters or buffers changed during an evaluation")
def changes_parameters_within_an_evaluation(self):
    self.model.register_forward_pre_hook(lambda module, inputs: move_parameters(module))


@cheat("parameters", at="state_dict", seen="Parameters or buffers changed while a checkpoint was made")
def changes_parameters_while_saving(self):
    move_parameters(self.model)


@cheat("parameters")
def keeps_trained_parameters_aside_for_the_first_step(self):
    self.aside = [parameter.detach().clone() * 0.5 for parameter in self.model.parameters()]


# Time


@cheat("time", seen="configure_optimizers took 60.0 s")
def works_before_the_start(self):
    self.clock.advance(60.0)


@cheat("time")
def works_a_second_before_the_start(self):
    self.clock.advance(1.0)


# Loss and metric


@cheat("loss", seen="The workload changed during the run: evaluate was replaced")
def replaces_the_evaluation(self):
    workload = workload_of(self)
    workload.evaluate = workload.evaluate


@cheat("loss", at="init", seen="Methods were replaced before the run")
def replaces_the_evaluation_before_the_run(self):
    from algoperf_lightning.classification import ClassificationWorkload

    evaluate = ClassificationWorkload.evaluate
    ClassificationWorkload.evaluate = lambda workload, batch, metrics: evaluate(workload, batch, metrics)


@cheat("loss")
def replaces_what_the_metric_calls(self):
    from torchmetrics import Metric

    reset = Metric.reset
    Metric.reset = lambda metric: reset(metric)


# Data


@cheat("data", seen="The data pipeline changed during the run: EvaluationBatches.__len__ was replaced")
def evaluates_less(self):
    streams.EvaluationBatches.__len__ = lambda batches: 1


@cheat("data", at="init", seen="Methods were replaced before the run: EvaluationBatches.__len__")
def evaluates_less_from_the_start(self):
    length = streams.EvaluationBatches.__len__
    streams.EvaluationBatches.__len__ = lambda batches: length(batches)


@cheat("data", at="training_step", seen="The data pipeline changed during the run: seed was")
def draws_other_data(self):
    workload_of(self).data.seed = 12


@cheat("data", at="training_step")
def replaces_examples_in_memory(self):
    for loader in workload_of(self).trainer.val_dataloaders:
        loader._dataset.examples = loader._dataset.examples


# Numbers


@cheat("numbers", seen="The workload's numbers changed during the run: spec: eval_batch_size was")
def chooses_the_evaluation_batch(self):
    workload = workload_of(self)
    workload.spec = dataclasses.replace(workload.spec, eval_batch_size=7)


@cheat("numbers", at="training_step", seen="The workload's numbers changed during the run: spec: validation_target")
def changes_the_target_in_place(self):
    object.__setattr__(workload_of(self).spec, "validation_target", 0.01)


@cheat("numbers", at="training_step")
def changes_a_number_between_two_looks(self):
    spec = workload_of(self).spec
    target = spec.validation_target
    object.__setattr__(spec, "validation_target", 0.01)
    object.__setattr__(spec, "validation_target", target)


# The clock


@cheat("clock", seen="A clock changed during the run: time.monotonic was replaced")
def stops_the_clock(self):
    time.monotonic = lambda: 0.0


@cheat("clock", at="init", seen="A clock was replaced before the run: time.perf_counter")
def stops_a_clock_before_the_run(self):
    time.perf_counter = lambda: 0.0


@cheat("clock", seen="A clock changed during the run: torch.cuda.synchronize was replaced")
def does_not_wait_for_the_device(self):
    torch.cuda.synchronize = lambda device=None: None


@cheat("clock", at="training_step")
def reaches_into_the_clock(self):
    clocks = [each for each in gc.get_objects() if type(each).__name__ == "SubmissionClock"]
    for each in clocks:
        each._banked = 0.0


# Beside the run


@cheat("beside", seen="What runs beside changed during the run: a thread of wait")
def works_in_a_thread(self):
    self.done = threading.Event()
    threading.Thread(target=wait, args=(self.done,), daemon=True).start()


def wait(done):
    done.wait(20)


@cheat("beside", seen="What runs beside changed during the run: a thread of")
def works_in_a_pool(self):
    from concurrent.futures import ThreadPoolExecutor

    self.done = threading.Event()
    ThreadPoolExecutor(1).submit(wait, self.done)


@cheat("beside", at="training_step", seen="What runs beside changed during the run: a thread of sleep")
def sleeps_in_a_thread(self):
    threading.Thread(target=time.sleep, args=(3,), daemon=True).start()


@cheat("beside", seen="What runs beside changed during the run: the process 'sleep 20'")
def works_in_a_process(self):
    self.process = subprocess.Popen(["sleep", "20"])


@cheat("beside", at="training_step", seen="What runs beside changed during the run: a copy of this process")
def works_in_a_copy(self):
    self.pid = os.fork()
    if not self.pid:
        time.sleep(5)
        os._exit(0)


@cheat("beside")
def works_in_a_process_that_left(self):
    subprocess.run(["sh", "-c", "sleep 5 >/dev/null 2>&1 &"], check=True)


# The interpreter


@cheat("interpreter", seen="The interpreter changed during the run: builtins.sum was replaced")
def replaces_a_builtin(self):
    add = builtins.sum
    builtins.sum = lambda *args, **kwargs: add(*args, **kwargs)


@cheat("interpreter", seen="The interpreter changed during the run: sys.setprofile")
def sets_a_profiler(self):
    sys.setprofile(lambda frame, event, argument: None)


class Intercepts(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))

    def remove(self):
        self.__exit__(None, None, None)


@cheat("interpreter", seen="The interpreter changed during the run: torch's function mode 0 was added")
def intercepts_every_function_of_torch(self):
    self.handle = Intercepts().__enter__()


@cheat("interpreter")
def replaces_a_function_of_a_library(self):
    mean = numpy.mean
    numpy.mean = lambda *args, **kwargs: mean(*args, **kwargs)


# Settings and environment


@cheat("settings", seen="A global setting changed during the run: torch.get_float32_matmul_precision() was 'highest'")
def trains_in_lower_precision(self):
    torch.set_float32_matmul_precision("medium")


@cheat("settings", at="training_step", seen="A global setting changed during the run: torch.get_num_threads() was")
def takes_more_threads(self):
    torch.set_num_threads(torch.get_num_threads() + 1)


@cheat("settings", at="training_step")
def changes_a_setting_between_two_looks(self):
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    torch.set_float32_matmul_precision(precision)


@cheat("environment", seen="The environment changed during the run: A_SECRET.")
def sets_a_variable(self):
    os.environ["A_SECRET"] = "do not show"


@cheat("environment")
def sets_a_variable_behind_python(self):
    os.putenv("A_SECRET", "do not show")


# The record


def record_of(self):
    return next(each.result for each in workload_of(self).trainer.callbacks if hasattr(each, "result"))


@cheat("record", at="training_step", seen="RecordChangedError")
def writes_the_record(self):
    record_of(self).evaluations[-1].metrics["validation/accuracy"] = 0.99


@cheat("record", at="training_step", seen="RecordChangedError")
def lowers_the_target(self):
    record_of(self).validation_target = 0.01


@cheat("record", at="training_step")
def writes_the_record_and_its_account(self):
    record = record_of(self)
    record.evaluations[-1].metrics["validation/accuracy"] = 0.99
    for each in gc.get_objects():
        if type(each) is Ledger and each._evaluations and each._evaluations[-1].step == record.evaluations[-1].step:
            each.__init__(record)
            record.checksum = each.checksum
