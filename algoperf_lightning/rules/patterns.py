"""Names and calls for which the source code of a submission is searched."""

from __future__ import annotations

import re

FINGERPRINTS = frozenset(
    ("num_train_examples", "step_hint", "budget", "eval_period", "validation_target", "test_target", "metric")
)
"""Attributes of a workload's view that would identify workloads if they were compared with a constant."""

FORBIDDEN = {
    "_workload": "accesses objects behind the view of the workload",
    "lightning_module": "accesses the workload itself",
    "datamodule": "accesses the data",
    "eval_batch_size": "changes the evaluation batch size, which belongs to the benchmark",
    "get_eval_batch_size": "sets an evaluation batch size, which belongs to the benchmark",
    "eval_dataloader": "uses the evaluation data",
    "evaluation_batches": "uses the evaluation data",
    "training_batches": "opens the training data other than through select_batch",
    "gi_frame": "reads the frames of other code",
    "f_locals": "reads the frames of other code",
    "f_back": "reads the frames of other code",
}

# Types of batches and examples in memory open no split.
DATA = re.compile(
    r"algoperf_lightning\.(workloads?|data(?!\.(examples\.)?(Batch|Examples|TensorExamples)$)|file_data"
    r"|get_workload|get_spec|find_workload|(registry|plugins)\.(get_workload|get_spec|find_workload\w*))(\..*)?"
    r"|(torchvision|torchaudio|torch_geometric|sklearn)\.datasets(\..*)?|(datasets|tensorflow_datasets|ogb)(\..*)?"
)

USES = {
    "a global setting": (
        r"torch\.(set_\w+|use_deterministic_algorithms|backends\.(\w+\.)*(set|enable|allow|preferred)_\w+)"
        r"|os\.(putenv|unsetenv)|os\.environ\.(update|setdefault|pop|clear|popitem)"
    ),
    "a thread": (
        r"threading\.(Thread|Timer|setprofile|settrace)|_thread\.start_\w+|asyncio\..*"
        r"|concurrent\.futures\.(.*\.)?ThreadPoolExecutor|multiprocessing\.(pool\.ThreadPool|dummy\..*)"
    ),
    "another process": (
        r"subprocess\.\w+|os\.(fork|forkpty|system|popen|spawn\w+|exec\w+|posix_spawnp?)|pty\.\w+"
        r"|concurrent\.futures\.(.*\.)?ProcessPoolExecutor"
        r"|(torch\.)?multiprocessing\.(Process|Pool|get_context|spawn|start_processes|Manager)"
    ),
    "code that runs at exit or on a signal": r"atexit\.\w+|signal\.\w+|weakref\.finalize",
    "objects or frames of other code": (
        r"gc\.(get_objects|get_referrers|get_referents|callbacks(\..*)?)|sys\.(_getframe|_current_frames|modules)"
        r"|sys\.(settrace|setprofile)|inspect\.(currentframe|stack|trace)|ctypes\..*"
    ),
    "the network": (
        r"socket\.\w+|urllib\.request\.\w+|http\.client\.\w+|requests\.\w+|huggingface_hub\..*|torch\.hub\..*"
    ),
    "text that is executed as code": r"(exec|eval|runpy\.\w+)",
}
USED = {what: re.compile(pattern) for what, pattern in USES.items()}

READS = re.compile(
    r"open|(io|os|gzip|bz2|lzma|codecs)\.open|os\.(listdir|scandir|walk)|glob\.i?glob"
    r"|torch\.(load|from_file|jit\.load|serialization\.load|UntypedStorage\.from_file)"
    r"|numpy\.(load|loadtxt|genfromtxt|fromfile|memmap|lib\.format\.open_memmap)|pandas\.read_\w+"
    r"|(pickle|marshal|joblib|json|cloudpickle|dill)\.load|shelve\.open|sqlite3\.connect|mmap\.mmap"
    r"|safetensors(\.\w+)*\.(load_file|load_model|safe_open)|h5py\.File|pyarrow\..*|soundfile\.\w+|PIL\.Image\.open"
)
READING_METHODS = frozenset(("open", "read_text", "read_bytes", "iterdir", "glob", "rglob"))
