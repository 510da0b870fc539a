"""Cheats by what a run measures: time, loss and metric, data, the workload's numbers, the clock and the record."""

import dataclasses
import gc
import time

import torch

from algoperf_lightning.data import streams
from algoperf_lightning.records.checksum import Ledger

from .registered import cheat, workload_of


@cheat("time", seen="configure_optimizers took 60.0 s")
def works_before_the_start(self):
    self.clock.advance(60.0)


@cheat("time")
def works_a_second_before_the_start(self):
    self.clock.advance(1.0)


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
