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
from torch.utils._python_dispatch import TorchDispatchMode

from algoperf_lightning.data import streams
from algoperf_lightning.records.checksum import Ledger

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


class HalvedParameter(nn.Parameter):
    """Of the same shape and type as the one that it replaces."""


@cheat("model", seen="The model's structure changed during the run: parameter head.weight was")
def replaces_a_parameter_by_one_of_another_class(self):
    self.model.head.weight = HalvedParameter(self.model.head.weight.detach())


@cheat("model", at="training_step", seen="The model's structure changed during the run: parameter head.weight was")
def changes_the_class_of_a_parameter(self):
    self.model.head.weight.__class__ = HalvedParameter


@cheat("model", seen="The model's structure changed during the run: module head was replaced")
def changes_the_class_of_a_layer(self):
    self.model.head.__class__ = type("Linear", (nn.Linear,), {})


@cheat("model", at="training_step", seen="The model's modes changed during the run: training of (all) was True and")
def leaves_the_model_in_evaluation_mode(self):
    self.model.train(False)


@cheat("model", at="training_step", seen="The model's modes changed during the run: training of head was True and")
def leaves_a_layer_in_evaluation_mode(self):
    self.model.head.eval()


@cheat("model", at="training_step")
def trains_in_evaluation_mode_between_two_looks(self):
    self.model.eval()
    self.model.train()


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


@cheat("hooks", at="training_step", seen="A hook or a forward pass changed during the run: forward of head was")
def replaces_the_code_of_a_forward_pass(self):
    self.function, self.code = nn.Linear.forward, nn.Linear.forward.__code__
    function = self.function
    function.__code__ = other_forward.__code__


@cheat("hooks", at="init", seen="Methods were replaced before the run: Linear.forward")
def replaces_the_code_of_a_forward_pass_before_the_run(self):
    self.function, self.code = nn.Linear.forward, nn.Linear.forward.__code__
    self.function.__code__ = other_forward.__code__


def other_forward(self, input):
    from torch.nn.functional import linear

    return linear(input, self.weight, self.bias)


@cheat("hooks", seen="A hook or a forward pass changed during the run: state_dict_pre_hook 0 of (all) was added")
def works_when_a_checkpoint_is_made(self):
    self.model.register_state_dict_pre_hook(lambda module, prefix, keep_vars: None)


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


@cheat("data", seen="The data pipeline changed during the run: EvaluationBatches.__len__ was replaced")
def evaluates_less_by_code(self):
    self.function = streams.EvaluationBatches.__len__
    self.code = self.function.__code__
    self.function.__code__ = (lambda self: 1).__code__


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


@cheat("clock", at="init", seen="A clock was replaced before the run: torch.cuda.synchronize")
def does_not_wait_for_the_device_from_the_start(self):
    self.function, self.code = torch.cuda.synchronize, torch.cuda.synchronize.__code__
    self.function.__code__ = (lambda device=None: None).__code__


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


class Dispatches(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))

    def remove(self):
        self.__exit__(None, None, None)


@cheat("interpreter", seen="The interpreter changed during the run: torch's dispatch mode 0 was added")
def intercepts_every_kernel_of_torch(self):
    self.handle = Dispatches().__enter__()


@cheat("interpreter", at="training_step", seen="The interpreter changed during the run: sys.setswitchinterval was")
def keeps_other_threads_waiting(self):
    sys.setswitchinterval(10.0)


@cheat("interpreter", at="training_step", seen="The interpreter changed during the run: threading.setprofile was")
def profiles_the_threads_that_will_be(self):
    threading.setprofile(lambda frame, event, argument: None)


@cheat("interpreter", seen="The interpreter changed during the run: gc.callbacks[0] was added")
def works_when_memory_is_freed(self):
    gc.callbacks.append(other_work)


def other_work(phase, info):
    """Do something."""


@cheat("interpreter", seen="The interpreter changed during the run: os.sched_setaffinity was")
def moves_to_one_processor(self):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


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


def sets(text, change, at="training_step"):
    """Register a cheat that changes a setting and leaves it so."""

    def act(self):
        change()

    act.__name__ = f"sets_{text.replace('.', '_').partition('(')[0]}"
    cheat("settings", at=at, seen=f"A global setting changed during the run: {text} was")(act)


sets("torch.is_autocast_enabled('cpu')", lambda: torch.autocast("cpu", torch.bfloat16).__enter__())
sets("torch.is_autocast_enabled('cpu')", lambda: torch.set_autocast_enabled("cpu", True), at="configure_optimizers")
sets("torch.is_autocast_enabled('cuda')", lambda: torch.set_autocast_enabled("cuda", True))
sets("torch.get_autocast_dtype('cpu')", lambda: torch.set_autocast_dtype("cpu", torch.float16))
sets("torch.set_flush_denormal", lambda: torch.set_flush_denormal(True))
sets("torch.are_deterministic_algorithms_enabled()", lambda: torch.use_deterministic_algorithms(True))
sets("torch.get_default_dtype()", lambda: torch.set_default_dtype(torch.float64))
sets("torch.backends.cudnn.benchmark", lambda: setattr(torch.backends.cudnn, "benchmark", True))
sets("torch.backends.cudnn.deterministic", lambda: setattr(torch.backends.cudnn, "deterministic", True))
sets("torch.backends.mkldnn.set_flags", lambda: torch.backends.mkldnn.set_flags(False))
sets("torch.autograd.set_multithreading_enabled", lambda: torch._C._set_multithreading_enabled(False))


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
