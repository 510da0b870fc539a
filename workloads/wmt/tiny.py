"""A small rule-based language pair: simple German sentences and their English translations.

Articles and adjectives follow gender and case, the participle is at the end of its clause, and a fronted element
inverts the order of a clause. A model has to reorder words and use endings, but there is no ambiguity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Noun:
    """A noun and its gender: m, f or n."""

    german: str
    english: str
    gender: str


def _table(columns: int, words: str) -> list[tuple[str, ...]]:
    """Return rows of this number of words."""
    each = words.split()
    return list(zip(*(each[column::columns] for column in range(columns)), strict=True))


_NOUNS = [
    Noun(*words)
    for words in _table(
        3,
        """
        Hund dog m     Mann man m    Baum tree m      Brief letter m   Vogel bird m    Fisch fish m   Tisch table m
        Katze cat f    Frau woman f  Blume flower f   Stadt city f     Lampe lamp f    Uhr clock f    Tasche bag f
        Kind child n   Haus house n  Buch book n      Auto car n       Pferd horse n   Bild picture n Boot boat n
        Apfel apple m  Wolke cloud f Brot bread n
        """,
    )
]
_ADJECTIVES = _table(2, "klein small  alt old  rot red  gut good  schnell fast  neu new  grün green  lang long")
_PARTICIPLES = _table(
    2,
    """
    gesehen seen    gefunden found   gekauft bought    gemalt painted
    verloren lost   gesucht sought   getragen carried  vergessen forgotten
    """,
)
_ADVERBS = _table(2, "gestern yesterday  heute today  oft often  einmal once  dort there")
_VOWELS = "aeiou"

# By (definite, case, gender): article, ending of the adjective.
_ENDINGS = {
    (True, "nominative"): {"m": ("der", "e"), "f": ("die", "e"), "n": ("das", "e")},
    (True, "accusative"): {"m": ("den", "en"), "f": ("die", "e"), "n": ("das", "e")},
    (False, "nominative"): {"m": ("ein", "er"), "f": ("eine", "e"), "n": ("ein", "es")},
    (False, "accusative"): {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es")},
}


def sentence_pair(random: np.random.RandomState) -> tuple[str, str]:
    """Return a German sentence and its English translation."""
    german, english = _clause(random)
    if random.rand() < 0.3:
        reason, translated = _clause(random, subordinate=True)
        german, english = f"{german}, weil {reason}", f"{english} because {translated}"
    return f"{german[0].upper()}{german[1:]}.", f"{english[0].upper()}{english[1:]}."


def _clause(random: np.random.RandomState, subordinate: bool = False) -> tuple[str, str]:
    subject, english_subject = _phrase(random, "nominative")
    thing, english_thing = _phrase(random, "accusative")
    participle, english_participle = _choose(random, _PARTICIPLES)
    negation, english_negation = ("nicht", "not") if random.rand() < 0.2 else ("", "")
    adverb, english_adverb = _choose(random, _ADVERBS) if random.rand() < 0.5 else ("", "")
    if subordinate:
        german = [subject, adverb, thing, negation, participle, "hat"]
    elif adverb and random.rand() < 0.5:
        german = [adverb, "hat", subject, thing, negation, participle]
    else:
        german = [subject, "hat", adverb, thing, negation, participle]
    english = [english_subject, "has", english_negation, english_participle, english_thing, english_adverb]
    return " ".join(filter(None, german)), " ".join(filter(None, english))


def _phrase(random: np.random.RandomState, case: str) -> tuple[str, str]:
    noun = _NOUNS[random.randint(len(_NOUNS))]
    definite = random.rand() < 0.5
    article, ending = _ENDINGS[definite, case][noun.gender]
    german, english = [article, noun.german], [noun.english]
    if random.rand() < 0.5:
        adjective, translated = _choose(random, _ADJECTIVES)
        german.insert(1, adjective + ending)
        english.insert(0, translated)
    english.insert(0, "the" if definite else "an" if english[0][0] in _VOWELS else "a")
    return " ".join(german), " ".join(english)


def _choose(random: np.random.RandomState, words: list[tuple[str, ...]]) -> tuple[str, ...]:
    return words[random.randint(len(words))]
