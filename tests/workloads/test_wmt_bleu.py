"""BLEU of wmt, against golden scores."""

from __future__ import annotations

import pytest
import torch

from algoperf_lightning.workloads.wmt.metric import Bleu

# Translation, reference, score, matches, totals.
PAIRS = [
    ("The cat sat on the mat.", "The cat sat on the mat.", 100.0, [7, 6, 5, 4], [7, 6, 5, 4]),
    (
        "The dog ran quickly across the green field.",
        "A dog ran quickly across the field.",
        51.334505,
        [7, 5, 3, 2],
        [9, 8, 7, 6],
    ),
    ("It costs 1,234.50 dollars, right?", "It costs 1,234.50 dollars.", 41.113362, [4, 3, 2, 1], [7, 6, 5, 4]),
    (
        '"Hello," she said - and left at 10-30.',
        '"Hello", she said and left at 10-30.',
        54.244349,
        [13, 8, 5, 4],
        [14, 13, 12, 11],
    ),
    (
        "Prices rose by 5% in 2014/15 &amp; fell later.",
        "Prices rose 5% in 2014/15 & fell later.",
        79.106651,
        [12, 10, 8, 7],
        [13, 12, 11, 10],
    ),
    ("short", "a very different and longer reference here", 0.0, [0, 0, 0, 0], [1, 0, 0, 0]),
    ("a b c d e", "a b x d e", 30.213754, [4, 2, 0, 0], [5, 4, 3, 2]),
    ("a b", "a b", 0.0, [2, 1, 0, 0], [2, 1, 0, 0]),
    # By sacreBLEU 1.3.1: (100/10 * 100/16 * 100/24 * 100/32)^(1/4), the second with a brevity penalty of exp(1 - 10/5).
    ("a b c d e", "v w x y z", 5.341088, [0, 0, 0, 0], [5, 4, 3, 2]),
    ("a b c d e", "q r s t u v w x y z", 1.964876, [0, 0, 0, 0], [5, 4, 3, 2]),
]
TOKENS = [
    ("Hello, world! It's 3.5-4.2% (approx.) at $5.", "Hello , world ! It's 3.5 - 4.2 % ( approx . ) at $ 5 ."),
    ("1,000-2,000 e.g. A-B", "1,000 - 2,000 e . g . A-B"),
    ("x.y ... end.", "x . y . . . end ."),
    ("a<skipped>b &quot;q&quot; &lt;t&gt;", 'ab " q " < t >'),
]


def score(*pairs):
    metric = Bleu()
    metric.update([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return metric


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0][:12])
def test_scores_and_counts_of_sentences(pair):
    metric = score(pair)
    assert metric.compute().item() == pytest.approx(pair[2], abs=1e-6)
    assert (metric.matches.tolist(), metric.totals.tolist()) == (pair[3], pair[4])


def test_scores_of_corpora():
    metric = score(*PAIRS[:6])
    assert metric.compute().item() == pytest.approx(63.629928, abs=1e-6)
    assert metric.matches.tolist() == [43, 32, 23, 18]
    assert metric.totals.tolist() == [51, 45, 40, 35]
    assert metric.lengths.tolist() == [51, 52]
    assert score(*PAIRS[:2]).compute().item() == pytest.approx(72.415773, abs=1e-6)


def test_batches_add_up():
    metric = Bleu()
    for pair in PAIRS[:6]:
        metric.update([pair[0] + " \t"], [pair[1] + "\n"])  # white space at the end counts nothing
    metric.update([], [])
    assert metric.compute().item() == pytest.approx(63.629928, abs=1e-6)


@pytest.mark.parametrize(("text", "tokens"), TOKENS)
def test_words_are_those_of_the_reference(text, tokens):
    """Against a reference that is split already; the score is full where the words are the same."""
    metric = score((text, tokens))
    words = len(tokens.split())
    assert metric.lengths.tolist() == [words, words]
    assert metric.matches[0] == words


def test_case_counts():
    assert score(("The Cat Sat On", "the cat sat on")).matches.tolist() == [0, 0, 0, 0]


def test_nothing_translated_is_worth_nothing():
    assert score(("", "a b c d")).compute().item() == 0.0


def test_counts_are_summed_over_ranks():
    metric = Bleu()
    assert all(metric._reductions[name].__name__ == "dim_zero_sum" for name in ("matches", "totals", "lengths"))
    assert all(getattr(metric, name).dtype == torch.long for name in ("matches", "totals", "lengths"))
