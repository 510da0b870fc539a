"""Inputs of the golden numbers of both LibriSpeech workloads, and the fill that is stronger than the sine."""

import numpy as np
import torch
from golden import _fill

from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import LibriSpeechConformer, LibriSpeechDeepSpeech
from algoperf_lightning.workloads.librispeech.conformer import Conformer
from algoperf_lightning.workloads.librispeech.deepspeech import DeepSpeech

WORKLOADS = (LibriSpeechConformer, LibriSpeechDeepSpeech)

N = np.arange(16_000, dtype=np.float64)
WAVES = torch.from_numpy(
    np.stack(
        [
            8_000 * np.sin(2 * np.pi * 440 * N / 16_000) + 2_000 * np.sin(2 * np.pi * 3_000 * N / 16_000),
            4_000 * np.sin(0.02 * N + 0.00001 * N * N) + 500 * np.cos(1.3 * N),
        ]
    )
).float()
WAVE_LENGTHS = torch.tensor([16_000, 12_000])

FEATURES = torch.from_numpy(np.sin(0.1 * np.arange(2 * 50 * 80))).float().view(2, 50, 80)
FEATURE_LENGTHS = torch.tensor([50, 37])


def labels(vocabulary):
    """Targets (2, 8) of 6 and of 4 word pieces."""
    targets = torch.zeros(2, 8, dtype=torch.int64)
    for row, length in enumerate((6, 4)):
        for j in range(length):
            targets[row, j] = 1 + (5 * j + 3 * row) % (vocabulary - 1)
    return {"targets": targets, "target_lengths": torch.tensor([6, 4])}


def fill_strong(model):
    """Set element k to 0.3 sin(1.2345 k + k mod 97)."""

    def values(name, parameter, k):
        counter = np.arange(k, k + parameter.numel())
        return 0.3 * np.sin(1.2345 * counter + counter % 97)

    _fill(model, values)


def full(workload, variant=None):
    """The model of a workload as the benchmark has it."""
    return workload(PlainSGD(), variant=variant).build_model()


def small(workload, variant=None, **changes):
    """The model of the golden numbers' tiny form, without SpecAugment."""
    size = {"vocabulary": 16, "width": 32, "frequency_masks": 0, "time_masks": 0}
    layers = {"blocks": 2, "heads": 4} if workload is LibriSpeechConformer else {"lstm_layers": 2}
    layers |= {} if workload is LibriSpeechConformer else {"feed_forward_layers": 2}
    model = {**workload.spec.of(variant=variant).model, **size, **layers, **changes}
    return (Conformer if workload is LibriSpeechConformer else DeepSpeech)(**model, dropout=0.0)


def close(tensor, expected, rtol=1e-4):
    """Whether vectors agree to ``rtol`` of the largest entry expected."""
    expected = torch.tensor(expected)
    return torch.allclose(tensor.detach(), expected, rtol=0, atol=float(rtol * expected.abs().max()))


# Of the small models with FEATURES: fill, workload, variant, training, mean and standard deviation of logits, losses
# of both examples, norm of the gradient of their sum / 10, first logits.
# fmt: off
SMALL = (
    ("sine", "conformer", None, False, -0.000213208, 0.0635397, [25.6076, 19.6153], 3.8078,
     [0.00403028, 0.0533517, 0.0909584, 0.0931149, 0.0527053, -0.0125223, -0.0698399, -0.0925972]),
    ("sine", "conformer", "attention_temperature", False, -0.000187887, 0.0635273, [25.607, 19.6153], 3.80848,
     [0.00423986, 0.0535286, 0.091044, 0.0930807, 0.0525627, -0.012726, -0.0700371, -0.0927227]),
    ("sine", "conformer", "layernorm", False, -0.00830575, 0.0678195, [24.935, 19.8095], 3.84664,
     [-0.0548367, -0.0930556, -0.09726, -0.0579807, 0.00950332, 0.0723045, 0.100497, 0.0854068]),
    ("sine", "conformer", "gelu", False, -0.000213239, 0.0635389, [25.6076, 19.6153], 3.8078,
     [0.00402909, 0.053351, 0.0909585, 0.0931157, 0.0527065, -0.012521, -0.069839, -0.092597]),
    ("strong", "conformer", None, False, -0.173746, 1.77515, [34.9828, 16.7294], 9.63097,
     [1.22377, -0.0125307, -1.42637, -3.67131, 2.08643, -0.719429, 0.24733, -1.41986]),
    ("strong", "conformer", "attention_temperature", False, -0.170833, 1.74849, [35.4061, 16.5194], 10.7495,
     [1.09679, -0.0484812, -1.35949, -3.61166, 2.04014, -0.721056, 0.195438, -1.35675]),
    ("strong", "conformer", "layernorm", False, -0.0450741, 0.753652, [24.1483, 23.9253], 6.00498,
     [-1.10871, 0.0318696, -0.101729, 0.531618, 0.72502, -1.21592, 0.586635, -0.794555]),
    ("strong", "conformer", "gelu", False, -0.174591, 1.7965, [35.4498, 16.8148], 10.0627,
     [1.18146, 0.0409437, -1.48324, -3.72092, 2.0957, -0.686013, 0.319124, -1.47877]),
    ("strong", "conformer", None, True, -0.175415, 1.76689, [35.052, 16.4894], 9.59223,
     [1.35682, 0.0116136, -1.63454, -3.37697, 2.34584, -0.837094, 0.0674555, -1.59619]),
    ("sine", "deepspeech", None, False, -0.0742071, 0.250785, [25.4888, 20.0917], 4.52648,
     [-0.0840389, -0.256423, -0.355398, -0.341248, -0.207435, 0.00690863, 0.225143, 0.363656]),
    ("sine", "deepspeech", "tanh", False, -0.043771, 0.2011, [25.2594, 19.7354], 3.05685,
     [-0.0411749, -0.19563, -0.296833, -0.304328, -0.204401, -0.0249489, 0.168956, 0.301768]),
    ("sine", "deepspeech", "no_resnet", False, -0.0702009, 0.244405, [25.3493, 20.213], 6.21016,
     [-0.0666877, -0.252383, -0.366009, -0.362992, -0.233103, -0.014172, 0.215639, 0.368879]),
    ("sine", "deepspeech", "norm_and_spec_aug", False, -0.000100087, 0.0187205, [25.2511, 19.7252], 1.06692,
     [0.00508046, 0.0124385, 0.00941336, -0.0084891, -0.0300218, -0.0368087, -0.0197685, 0.0115941]),
    ("sine", "deepspeech", None, True, -0.0441723, 0.165565, [25.2082, 19.8428], 3.11923,
     [-0.0643457, -0.187955, -0.260856, -0.251978, -0.153034, 0.00840324, 0.173236, 0.275557]),
    ("strong", "deepspeech", None, False, -0.0476121, 1.19471, [24.9366, 17.0262], 6.61307,
     [0.222751, 0.0989486, 0.580533, -0.922888, 0.929033, -0.67048, -0.387719, -0.0846844]),
    ("strong", "deepspeech", "tanh", False, -0.00500155, 1.16699, [26.035, 15.9688], 6.06327,
     [0.408722, -0.150602, 0.139627, -0.818269, 1.00759, -0.0563717, -0.63507, 0.118779]),
    ("strong", "deepspeech", "no_resnet", False, -0.0338175, 1.46566, [30.3176, 21.0352], 5.35957,
     [-0.175424, 1.55001, -0.79436, -2.42903, 1.42775, 0.494459, 0.894098, -1.82834]),
    ("strong", "deepspeech", "norm_and_spec_aug", False, 0.0274468, 0.681611, [21.7336, 26.8328], 9.901,
     [-0.691845, 0.130394, 0.282002, 0.634191, 0.226559, -0.648085, 0.48859, -0.655332]),
    ("strong", "deepspeech", None, True, -0.0381316, 1.33455, [27.3948, 15.5359], 13.9943,
     [0.875358, -0.0320384, 0.831518, -1.59732, 1.74646, -0.491784, -0.644645, -0.433275]),
)
# fmt: on
