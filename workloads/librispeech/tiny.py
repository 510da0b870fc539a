"""A tiny LibriSpeech: synthetic voices that spell words, with one chord per letter."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .frontend import SAMPLE_RATE

WORDS = ("A", "AT", "IT", "NO", "ON", "TEN", "NET", "INTO", "TONE", "NATION", "IT'S", "EAST")
LETTERS = "AEINOST'"

LONGEST = 24_000
"""Samples in the longest recording: 1.5 s."""

MOST_CHARACTERS = 20

_LETTER, _GAP, _SILENCE = 1_120, 960, 1_600
"""Samples of a letter (70 ms), between words, and before and after the text."""


def tiny_part(random: np.random.RandomState, speaker: int, utterances: int) -> Mapping[str, bytes]:
    """Return the files of a part of one speaker, two chapters, by their path in the part."""
    import soundfile  # type: ignore[import-untyped]

    files: dict[str, bytes] = {}
    for chapter, count in ((1, utterances - utterances // 2), (2, utterances // 2)):
        name, lines = f"{speaker}-{chapter}", []
        for number in range(count):
            transcript = sentence(random)
            utterance = f"{name}-{number:04}"
            lines.append(f"{utterance} {transcript}\n")
            sound = io.BytesIO()
            soundfile.write(sound, speak(random, transcript), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            files[f"{speaker}/{chapter}/{utterance}.flac"] = sound.getvalue()
        files[f"{speaker}/{chapter}/{name}.trans.txt"] = "".join(lines).encode()
    return files


def sentence(random: np.random.RandomState) -> str:
    """Return two to five words, as many as fit."""
    text = ""
    for word in random.permutation(np.array(WORDS))[: random.randint(2, 6)]:
        longer = f"{text} {word}".strip()
        if len(longer) <= MOST_CHARACTERS and _duration(longer) <= LONGEST:
            text = longer
    return text


def _duration(text: str) -> int:
    spaces = text.count(" ")
    return 2 * _SILENCE + (len(text) - spaces) * _LETTER + spaces * _GAP


def speak(random: np.random.RandomState, text: str) -> NDArray[np.int16]:
    """Return a text as sound: one chord per letter, with random pitch and volume of the voice, and noise."""
    pitch, loudness = random.uniform(0.97, 1.03), random.uniform(2_000, 8_000)
    time = np.arange(_LETTER) / SAMPLE_RATE
    envelope = np.hanning(_LETTER) ** 0.25
    pieces = [np.zeros(_SILENCE)]
    for letter in text:
        if letter == " ":
            pieces.append(np.zeros(_GAP))
            continue
        chord = sum(np.sin(2 * np.pi * pitch * tone * time) for tone in chord_of(letter))
        pieces.append(envelope * chord / 3)
    pieces.append(np.zeros(_SILENCE))
    sound = loudness * np.concatenate(pieces)
    sound += random.normal(0, loudness / 100, len(sound))
    return sound.round().astype(np.int16)


def chord_of(letter: str) -> NDArray[np.float64]:
    """Return the three tones of a letter in Hz: low, middle and high, so that one frequency mask leaves two of them."""
    number = LETTERS.index(letter)
    return np.array([300, 1_000, 3_200]) * 1.13 ** np.array([number, 3 * number % 8, 5 * number % 8])
