"""Beam search for wmt: batched, with stored keys and values; finished sentences are removed from the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from .layers import DecoderLayer
from .model import Transformer

NONE = -1e7
"""Score of an unused beam; finite, as in the benchmark."""

_FIRST_CAPACITY = 32
"""Initial capacity of the storage in steps; it is doubled when it is full."""


@dataclass(frozen=True)
class Beams:
    """The result of a search."""

    sequences: Tensor
    """Ids with the start token 0 first, int64 ``(B, beams, length)``; best beam last. Finished beams are padded with
    end tokens."""
    scores: Tensor
    """Log-probabilities, with the length penalty for finished beams; float32 ``(B, beams)``, ascending."""
    steps: int
    """Decoder steps that were run."""


def length_penalty(alpha: float, tokens: int) -> float:
    """Return the length penalty of ``tokens`` tokens, by which a log-probability is divided.

    Reference: Y. Wu et al., Google's Neural Machine Translation System, 2016, https://arxiv.org/abs/1609.08144.
    """
    return float(((5.0 + tokens) / 6.0) ** alpha)


@torch.no_grad()
def beam_search(
    model: Transformer, inputs: Tensor, *, beams: int = 4, alpha: float = 0.6, end: int = 2, length: int | None = None
) -> Beams:
    """Translate a batch of sentences.

    Each step extends the live beams of every sentence and selects the ``2 * beams`` best extensions. Those with an end
    token join the finished beams, of which the best are kept; the best of the others remain live. A sentence is done
    when it has all its finished beams and the worst of them is better than any possible continuation of its best live
    beam. Its result can then no longer change, so it is removed from the batch; the translation of a sentence does not
    depend on the others in its batch. If no beam has finished at the last step, the live ones are returned.

    Keys and values are not moved when beams are reordered: each beam stores the positions of its history, and all beams
    of a sentence attend to the same storage under a mask. Nothing is copied from step to step.

    Args:
        model: The model, in evaluation mode.
        inputs: Source ids ``(B, S)``, 0 for padding.
        beams: Number of live, and of finished, beams of a sentence.
        alpha: Exponent of the length penalty.
        end: Id of the end token.
        length: Maximum number of tokens, with the start token; None for the model's number of positions.
    """
    length = len(model.positions) if length is None else length
    search = _Search(model, inputs, beams, alpha, end, length)
    for step in range(length - 1):
        search.extend(step)
        if search.settle(length_penalty(alpha, length)):
            return Beams(search.sequences, search.scores, step + 1)
    search.give_up()
    return Beams(search.sequences, search.scores, length - 1)


class _Search:
    """The state of a search. ``A`` is the number of sentences in the batch, ``K`` the number of beams."""

    def __init__(self, model: Transformer, inputs: Tensor, beams: int, alpha: float, end: int, length: int) -> None:
        device, count = inputs.device, len(inputs)
        self.model, self.beams, self.alpha, self.end = model, beams, alpha, end
        self.cache = _Cache(model, inputs, beams)
        self.sequences = torch.zeros(count, beams, length, dtype=torch.long, device=device)
        self.scores = torch.full((count, beams), NONE, device=device)
        self.sentences = torch.arange(count, device=device)  # (A,), the sentence of each row
        self.open = torch.ones(count, dtype=torch.bool, device=device)  # (A,), false: done, but not removed yet
        self.live = self.sequences.clone()  # (A, K, length)
        self.live_scores = self.scores.clone()  # (A, K), ascending
        self.live_scores[:, -1] = 0.0
        self.finished = self.sequences.clone()
        self.finished_scores = self.scores.clone()

    def extend(self, step: int) -> None:
        """Append one token to every live beam."""
        beams = self.beams
        logits = self.cache.decode(self.live[:, :, step], step).float()  # (A, K, V)
        # The best of each beam suffice to find the best of all; other log-probabilities are not needed.
        values, ids = logits.topk(min(2 * beams, logits.shape[-1]), dim=-1)
        candidates = values - logits.logsumexp(-1, keepdim=True) + self.live_scores[..., None]
        scores, places = candidates.flatten(1).topk(2 * beams)
        parents = places // ids.shape[-1]
        tokens = ids.flatten(1).gather(1, places)
        sequences = _pick(self.live, parents)
        sequences[:, :, step + 1 :] = tokens[..., None]
        ended = tokens == self.end
        self.live_scores, chosen = _best(scores.masked_fill(ended, -torch.inf), beams)
        self.live = _pick(sequences, chosen)
        self.cache.follow(parents.gather(1, chosen))
        final = (scores / length_penalty(self.alpha, step + 1)).masked_fill(~ended, -torch.inf)
        self.finished_scores, chosen = _best(torch.cat([self.finished_scores, final], 1), beams)
        self.finished = _pick(torch.cat([self.finished, sequences], 1), chosen)

    def settle(self, largest_penalty: float) -> bool:
        """Store the result of sentences that are done, and return whether all are; occasionally remove them."""
        done = self.open & (self.finished_scores[:, 0] > self.live_scores[:, -1] / largest_penalty)
        self.sequences[self.sentences[done]] = self.finished[done]
        self.scores[self.sentences[done]] = self.finished_scores[done]
        self.open = self.open & ~done
        remaining = int(self.open.sum())
        if remaining and remaining <= 0.75 * len(self.open):
            kept = self.open.nonzero().flatten()
            for name in ("sentences", "open", "live", "live_scores", "finished", "finished_scores"):
                setattr(self, name, getattr(self, name)[kept])
            self.cache.keep(kept)
        return remaining == 0

    def give_up(self) -> None:
        """Store the current result of the sentences that are not done."""
        any_finished = self.finished_scores[:, -1] > NONE
        sequences = torch.where(any_finished[:, None, None], self.finished, self.live)
        scores = torch.where(any_finished[:, None], self.finished_scores, self.live_scores)
        self.sequences[self.sentences[self.open]] = sequences[self.open]
        self.scores[self.sentences[self.open]] = scores[self.open]


class _Cache:
    """Keys and values of the source and of the generated tokens, by layer, and the decoder that uses them."""

    def __init__(self, model: Transformer, inputs: Tensor, beams: int) -> None:
        self.model, self.beams = model, beams
        self.layers = cast(list[DecoderLayer], list(model.decoder.layers))
        memory = model.encode(inputs)
        self.memory = [layer.multihead_attn.project_memory(memory) for layer in self.layers]
        self.memory_bias = model.bias_of((inputs > 0)[:, None, :])
        self.places = torch.arange(beams, device=inputs.device)
        # By layer, keys and values (A, heads, capacity, K, d / heads); created at the first step, in attention's type.
        self.written: list[tuple[Tensor, Tensor]] = []
        # (A, K, steps so far): the beam in whose storage the history of each live beam was written.
        self.past = torch.empty(len(inputs), beams, 0, dtype=torch.long, device=inputs.device)

    def decode(self, ids: Tensor, step: int) -> Tensor:
        """Return the logits ``(A, K, V)`` of the next tokens, given the last ones ``(A, K)``."""
        self.past = torch.cat([self.past, self.places.expand(len(ids), -1)[..., None]], 2)
        visible = (self.past[..., None] == self.places).flatten(2)[:, None]  # (A, 1, K, steps * K)
        x = self.model.shared_embedding(ids) + self.model.positions[step]
        for number, layer in enumerate(self.layers):
            x = self._layer(layer, number, x, step, visible)
        return self.model.logits(self.model.decoder.norm(x))

    def _layer(self, layer: DecoderLayer, number: int, x: Tensor, step: int, visible: Tensor) -> Tensor:
        def attend_own(y: Tensor) -> Tensor:
            query, *new = layer.self_attn.project(y)
            for stored, states in zip(self._storage(number, step, new), new, strict=True):
                stored[:, :, step] = states
            key, value = (stored[:, :, : step + 1].flatten(2, 3) for stored in self.written[number])
            return layer.self_attn.attend(query, key, value, visible)

        def attend_memory(y: Tensor) -> Tensor:
            attention = layer.multihead_attn
            return attention.attend(attention.split(attention.q_proj(y)), *self.memory[number], self.memory_bias)

        return layer.through(x, attend_own, attend_memory)

    def _storage(self, number: int, step: int, new: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return where a layer's keys and values are stored, with room for one more step."""
        if number == len(self.written):
            count, heads, _, features = new[0].shape
            shape = (count, heads, _FIRST_CAPACITY, self.beams, features)
            self.written.append((new[0].new_empty(shape), new[1].new_empty(shape)))
        elif step == self.written[number][0].shape[2]:
            self.written[number] = _both(self.written[number], lambda t: torch.cat([t, torch.empty_like(t)], 2))
        return self.written[number]

    def follow(self, parents: Tensor) -> None:
        """Assign to each live beam the history of its parent, ``(A, K)``."""
        self.past = _pick(self.past, parents)

    def keep(self, rows: Tensor) -> None:
        """Keep only these sentences."""
        self.memory = [_both(pair, lambda t: t[rows]) for pair in self.memory]
        self.memory_bias = self.memory_bias[rows]
        self.written = [_both(pair, lambda t: t[rows]) for pair in self.written]
        self.past = self.past[rows]


def _both(pair: tuple[Tensor, Tensor], change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    return change(pair[0]), change(pair[1])


def _pick(values: Tensor, beams: Tensor) -> Tensor:
    """Return some beams of each sentence: ``(A, K, n)`` by ``(A, k)`` to ``(A, k, n)``."""
    return values.gather(1, beams[..., None].expand(-1, -1, values.shape[-1]))


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the best scores of each sentence, ascending, and their indices."""
    values, places = scores.topk(count, dim=1)
    return values.flip(1), places.flip(1)
