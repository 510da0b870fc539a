"""Cheats by the process: threads and processes beside it, the interpreter, settings and the environment."""

import builtins
import gc
import os
import subprocess
import sys
import threading
import time

import numpy
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .registered import cheat


@cheat("beside", seen="Threads or processes changed during the run: a thread of wait")
def works_in_a_thread(self):
    self.done = threading.Event()
    threading.Thread(target=wait, args=(self.done,), daemon=True).start()


def wait(done):
    done.wait(20)


@cheat("beside", seen="Threads or processes changed during the run: a thread of")
def works_in_a_pool(self):
    from concurrent.futures import ThreadPoolExecutor

    self.done = threading.Event()
    ThreadPoolExecutor(1).submit(wait, self.done)


@cheat("beside", at="training_step", seen="Threads or processes changed during the run: a thread of sleep")
def sleeps_in_a_thread(self):
    threading.Thread(target=time.sleep, args=(3,), daemon=True).start()


@cheat("beside", seen="Threads or processes changed during the run: the process 'sleep 20'")
def works_in_a_process(self):
    self.process = subprocess.Popen(["sleep", "20"])


@cheat("beside", at="training_step", seen="Threads or processes changed during the run: a copy of this process")
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
