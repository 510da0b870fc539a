"""Beam search of wmt: golden results, and against a plain search that stores nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from test_wmt_model import INPUTS, SMALL, filled

from algoperf_lightning.workloads.wmt.decoding import beam_search, length_penalty
from algoperf_lightning.workloads.wmt.model import Transformer

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from wmt_decoding import plain_beam_search


def with_end_like(factor):
    """The golden model, its end token's embedding that of token 13 times a factor."""
    model = filled("b")
    with torch.no_grad():
        model.shared_embedding.weight[2] = factor * model.shared_embedding.weight[13]
    return model


def eager_to_end(seed, eagerness, length=20):
    """A random model that wants to end a sentence the more the longer it is."""
    torch.manual_seed(seed)
    model = Transformer(**SMALL, length=length).eval()
    with torch.no_grad():
        model.positions += eagerness * torch.arange(length)[:, None] * model.shared_embedding.weight[2]
        model.decoder.norm.weight *= 4  # surer of itself
    return model


def sentences(count=9, longest=14):
    """Random sentences of several lengths."""
    inputs = torch.randint(3, 40, (count, longest))
    for row in range(count):
        inputs[row, longest - row :] = 0
    return inputs


def test_without_an_end_the_live_beams_are_those_of_the_reference():
    found = beam_search(filled("b"), INPUTS, length=12)
    assert found.steps == 11
    assert found.sequences[0].tolist() == [
        [0, 13, 13, *[38] * 9],
        [0, *[38] * 11],
        [0, 13, 38, 38, 38, 13, *[38] * 6],
        [0, 13, *[38] * 10],
    ]
    assert found.sequences[1, -1].tolist() == [0, 13, *[38] * 10]
    expected = [[-37.65528, -37.65527, -37.65525, -37.65523], [-37.63795, -37.63792, -37.63789, -37.63786]]
    torch.testing.assert_close(found.scores, torch.tensor(expected), rtol=1e-6, atol=1e-5)


def test_finished_beams_and_the_early_end_are_those_of_the_reference():
    found = beam_search(with_end_like(1.02), INPUTS, length=12)
    assert found.steps == 4
    beams = [[0, *start, *[2] * (11 - len(start))] for start in ([8], [38], [13], [])]
    assert found.sequences.tolist() == [beams, beams]
    expected = [[-6.29152, -6.28924, -6.2892, -3.45318], [-6.28869, -6.2861, -6.28608, -3.45138]]
    torch.testing.assert_close(found.scores, torch.tensor(expected), rtol=1e-5, atol=0)


def test_one_finished_beam_allows_no_early_end_as_in_the_reference():
    found = beam_search(with_end_like(0.9), INPUTS, length=12)
    assert found.steps == 11
    beams = [[0] * 12] * 3 + [[0, *[2] * 11]]
    assert found.sequences.tolist() == [beams, beams]
    expected = [[-1e7, -1e7, -1e7, -3.48318], [-1e7, -1e7, -1e7, -3.48162]]
    torch.testing.assert_close(found.scores, torch.tensor(expected), rtol=1e-5, atol=0)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize(("seed", "eagerness"), [(0, 0.0), (0, 0.2), (1, 0.4), (4, 0.2)])
def test_it_finds_what_a_search_finds_that_stores_nothing_and_keeps_all(seed, eagerness, beams):
    model = eager_to_end(seed, eagerness)
    inputs = sentences()
    found = beam_search(model, inputs, beams=beams)
    sequences, scores = plain_beam_search(model, inputs, beams=beams)
    torch.testing.assert_close(found.scores, scores, rtol=1e-5, atol=1e-5)
    assert torch.equal(found.sequences, sequences)


def test_sentences_end_at_different_steps_in_that_test():
    """Else it would not see that the batch shrinks."""
    model = eager_to_end(4, 0.2)
    inputs = sentences()
    steps = [beam_search(model, inputs[row : row + 1]).steps for row in range(9)]
    assert len(set(steps)) > 3
    assert max(steps) == beam_search(model, inputs).steps


def test_storage_grows_with_the_translation():
    model = eager_to_end(1, 0.0, length=90)
    inputs = sentences(2, 6)
    found = beam_search(model, inputs)
    assert found.steps > 64
    sequences, scores = plain_beam_search(model, inputs)
    torch.testing.assert_close(found.scores, scores, rtol=1e-5, atol=1e-4)
    assert torch.equal(found.sequences[:, -1], sequences[:, -1])


def test_a_translation_depends_neither_on_the_batch_nor_on_padding():
    model = eager_to_end(1, 0.4)
    inputs = sentences(6)
    together = beam_search(model, torch.nn.functional.pad(inputs, (0, 5)))
    for row in range(6):
        alone = beam_search(model, inputs[row : row + 1])
        assert torch.equal(alone.sequences[0], together.sequences[row])
        torch.testing.assert_close(alone.scores[0], together.scores[row], rtol=1e-5, atol=1e-5)


def test_a_model_that_diverged_is_decoded_to_the_end():
    model = eager_to_end(0, 0.0, length=10)
    with torch.no_grad():
        model.decoder.norm.weight.fill_(torch.nan)
    assert beam_search(model, INPUTS[:, :8]).steps == 9


def test_half_precision_finds_much_the_same():
    model = with_end_like(1.02)
    with torch.autocast("cpu", torch.bfloat16):
        found = beam_search(model, INPUTS, length=12)
    assert found.sequences[:, -1].tolist() == [[0, *[2] * 11]] * 2
    torch.testing.assert_close(found.scores[:, -1], torch.tensor([-3.45318, -3.45138]), rtol=0.02, atol=0)


def test_length_penalty():
    assert length_penalty(0.6, 1) == 1.0
    assert length_penalty(0.6, 7) == pytest.approx(2**0.6)
