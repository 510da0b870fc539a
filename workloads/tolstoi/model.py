"""The network of tolstoi_char_rnn."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from algoperf_lightning.dropout import Dropout


class CharRnn(nn.Module):
    """An embedding, two LSTM layers and a linear layer; 284,499 parameters at full size.

    Dropout is applied to the input and to the output of each LSTM layer, with new masks at each character; between the
    two layers both are applied. The state that is passed from one character to the next has no dropout.

    Initialisation: Glorot uniform, also for the embedding and for the bias of the linear layer (treated as having as
    many inputs as outputs); biases of the LSTM 0.

    Args:
        vocabulary: Number of characters.
        width: Size of the embedding and of each layer's state.
        dropout: Dropout rate.
    """

    def __init__(self, vocabulary: int = 83, width: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm1 = SingleBiasLSTM(width, width)
        self.lstm2 = SingleBiasLSTM(width, width)
        self.dense = nn.Linear(width, vocabulary)
        self.dropout = Dropout(dropout)
        nn.init.xavier_uniform_(self.embedding.weight)
        nn.init.xavier_uniform_(self.dense.weight)
        bound = math.sqrt(6 / (2 * vocabulary))
        nn.init.uniform_(self.dense.bias, -bound, bound)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read characters, starting from a state.

        Args:
            inputs: Ids ``(B, T)``.
            state: Cells and outputs of the first layer, then of the second, ``(B, 4, width)``.

        Returns:
            Logits of the next characters, ``(B, T, vocabulary)``, and the state after the last one.
        """
        cell1, hidden1, cell2, hidden2 = state.unbind(1)
        features = self.dropout(self.embedding(inputs))
        features, cell1, hidden1 = self.lstm1(features, cell1, hidden1)
        features = self.dropout(self.dropout(features))
        features, cell2, hidden2 = self.lstm2(features, cell2, hidden2)
        logits: Tensor = self.dense(self.dropout(features))
        return logits, torch.stack([cell1, hidden1, cell2, hidden2], 1)


class SingleBiasLSTM(nn.Module):
    """TensorFlow's LSTM layer: one kernel, one bias, and 1 added to the input of the forget gate.

    With ``z = [input, output] kernel + bias``, in the order input gate, candidate, forget gate, output gate:
    ``cell = sigmoid(f + 1) cell + sigmoid(i) tanh(j)``, ``output = sigmoid(o) tanh(cell)``. torch's layer computes
    the same, but has two biases of which only the sum matters, so an optimizer would train it at twice the rate.

    Args:
        inputs: Input features.
        width: Size of the state.
    """

    forget: Tensor

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.kernel = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs + width, 4 * width)))
        self.bias = nn.Parameter(torch.zeros(4 * width))
        forget = torch.zeros(4, width)
        forget[1] = 1
        self.register_buffer("forget", forget.flatten(), persistent=False)

    def forward(self, inputs: Tensor, cell: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer over time.

        Args:
            inputs: ``(B, T, inputs)``.
            cell: State ``(B, width)``.
            hidden: Previous output, ``(B, width)``.

        Returns:
            Outputs ``(B, T, width)``, and the last cell and output.
        """
        i, j, f, o = self.kernel.T.chunk(4)
        kernel = torch.cat([i, f, j, o])  # torch's order
        i, j, f, o = self.bias.chunk(4)
        biases = [torch.cat([i, f, j, o]), self.forget]
        weights = [kernel[:, : self.inputs].contiguous(), kernel[:, self.inputs :].contiguous(), *biases]
        state = (hidden[None].contiguous(), cell[None].contiguous())
        outputs, last, cells = _run(inputs, state, weights)
        # A compiled LSTM returns states with one more axis than torch's own.
        return outputs, cells.view_as(cell), last.view_as(hidden)


def _run(inputs: Tensor, state: tuple[Tensor, Tensor], weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Run torch's own LSTM; a compiler unrolls it over time."""
    training = torch.is_grad_enabled()
    if torch.compiler.is_compiling():
        return torch.lstm(inputs, state, weights, True, 1, 0.0, training, False, True)
    with warnings.catch_warnings():
        # cuDNN copies the weights at each call; they take half a megabyte.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        return torch.lstm(inputs, state, weights, True, 1, 0.0, training, False, True)
