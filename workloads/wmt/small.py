"""The language pair of the small size: real English phrases, and their translations to an artificial language.

The English phrases are three to five words of the package's technical text, without rare words, so words have real
frequencies. The other language is derived from them by rules:

- The most frequent words have separate translations; all others are cognates, with the same letters.
- The endings -s, -ed, -ing, -er and -ly of cognates become prefixes.
- A phrase has parts, which start at prepositions and conjunctions; these are moved to the end of their parts.
- An article is appended to the last other word of its part, and depends on the last letter of that word.

Translation therefore requires a lexicon, affixes, agreement, and reordering within a phrase.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from algoperf_lightning.packaged_data import read_documents

KNOWN = 300
"""Number of the most frequent English words, which are kept."""
FREQUENT = 150
"""Number of the most frequent words, which have separate translations."""
_SHORTEST, _LONGEST, _STRIDE = 3, 5, 3
"""Minimum and maximum number of words of a phrase, and distance between the starts of phrases."""
_CUT = re.compile("of|to|in|for|on|with|by|from|as|at|is|are|and|or|if|when|that|which|not|than|into|be")
_ARTICLES = frozenset(("the", "a", "an"))
_ENDINGS = ("ing", "ed", "ly", "er", "s")
_VOWELS, _CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxyz"


@dataclass(frozen=True)
class Language:
    """The artificial language."""

    words: Mapping[str, str]
    """Separate translations, by English word."""
    beginnings: Mapping[str, str]
    """Prefix of each English ending."""
    articles: Mapping[tuple[str, bool], str]
    """Article by the English article, and whether the noun ends with a vowel."""

    def word(self, english: str) -> str:
        """Return the translation of a word."""
        if english in self.words:
            return self.words[english]
        ending = next((end for end in _ENDINGS if english.endswith(end) and len(english) > len(end) + 2), "")
        stem = english.removesuffix(ending)
        return self.beginnings[ending] + stem

    def phrase(self, english: Sequence[str]) -> str:
        """Return the translation of a phrase."""
        parts: list[list[str]] = [[]]
        for word in english:
            if _CUT.fullmatch(word) and parts[-1]:
                parts.append([])
            parts[-1].append(word)
        return " ".join(" ".join(self._part(part)) for part in parts)

    def _part(self, part: Sequence[str]) -> list[str]:
        first, rest = ([part[0]], part[1:]) if _CUT.fullmatch(part[0]) else ([], part)
        found: list[str] = []
        article = None
        for word in rest:
            if word in _ARTICLES:
                article = word
                continue
            found.append(self.word(word))
        if article is not None:
            if found:
                found[-1] += self.articles[article, found[-1][-1] in _VOWELS]
            else:
                found.append(self.word(article))
        return found + [self.word(word) for word in first]


def make_language(random: np.random.RandomState, frequent: Sequence[str]) -> Language:
    """Return a language with separate translations of the frequent words."""
    syllables = [c + v for c in _CONSONANTS for v in _VOWELS]
    made = [str(one) + str(other) for one in syllables for other in syllables]
    words = dict(zip(frequent, random.choice(made, len(frequent), replace=False).tolist(), strict=True))
    beginnings = dict(zip(_ENDINGS, ("ko", "ta", "fe", "ru", "me"), strict=True)) | {"": ""}
    articles = {
        (article, vowel): ending
        for (article, vowel), ending in zip(
            ((article, vowel) for article in sorted(_ARTICLES) for vowel in (False, True)),
            ("el", "nel", "el", "nel", "ost", "nost"),
            strict=True,
        )
    }
    return Language(words, beginnings, articles)


def clauses(documents: Sequence[str]) -> list[list[str]]:
    """Return the words in lower case between punctuation marks, in order."""
    return [
        [word for word in clause.lower().split(" ") if re.fullmatch(r"[a-z]+", word)]
        for document in documents
        for clause in re.split(r"[^a-zA-Z' ]+| {2,}", document.replace("\n", " "))
    ]


def phrases(text: Sequence[Sequence[str]], known: Container[str]) -> Iterator[tuple[str, ...]]:
    """Yield phrases of the known words of clauses, in order, without repetitions."""
    seen = set()
    for clause in text:
        words = [word for word in clause if word in known]
        for begin in range(0, len(words) - _SHORTEST + 1, _STRIDE):
            phrase = tuple(words[begin : begin + _LONGEST])
            if phrase not in seen:
                seen.add(phrase)
                yield phrase


def sentence_pairs(random: np.random.RandomState, sizes: Mapping[str, int]) -> dict[str, list[tuple[str, str]]]:
    """Return pairs of the artificial language and English for each split, without repetitions.

    Args:
        random: Generator for the language, and for the split of each phrase.
        sizes: Number of pairs of each split.
    """
    text = clauses(read_documents())
    counts = Counter(word for clause in text for word in clause)
    known = sorted(counts, key=lambda word: (-counts[word], word))[:KNOWN]
    language = make_language(random, known[:FREQUENT])
    found = list(phrases(text, frozenset(known)))
    chosen = iter([found[number] for number in random.permutation(len(found))])
    return {
        split: [(language.phrase(phrase), " ".join(phrase)) for phrase in islice(chosen, size)]
        for split, size in sizes.items()
    }
