"""The speech of the small size: real words, spelled in synthetic sounds by many voices.

Transcripts are one to three short words of the package's technical text, with the frequencies, and in the order, of
real ones. Each letter has three resonances, a length, and a source: a pitch, noise, or both. Some letters are similar.
Resonances glide from letter to letter, so that a sound depends on its neighbours. A voice has its own pitch, size of
the resonances and speed; a recording its own loudness, colour and noise, stronger in the parts called "other".
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.packaged_data import read_documents

from .frontend import SAMPLE_RATE
from .spec import SMALL_UTTERANCES

LONGEST = 8_000
"""Maximum number of samples of a recording: 0.5 s."""
MOST_CHARACTERS = 6

_MOST_LETTERS = 4
"""Maximum number of letters of a word."""
_SPEAKERS = 20
"""Number of voices of a part."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ "
_LENGTH = 1_050
"""Samples of an average letter: 66 ms."""
_SILENCE = 400
"""Maximum number of samples before and after the text."""
_FRAME = 640
"""Samples of a frame of the models, which need at least one frame for each word piece."""
_STEP = 40
"""Samples from one value of a resonance to the next."""


def transcripts(random: np.random.RandomState) -> Iterator[str]:
    """Yield one to three short words of the text, each time from a random place."""
    words = re.findall(rf"\b[A-Z]{{1,{_MOST_LETTERS}}}\b", "\n".join(read_documents()).upper())
    while True:
        begin, count = random.randint(len(words)), random.randint(1, 4)
        chosen = " ".join(words[begin : begin + count])
        if 2 <= len(chosen) <= MOST_CHARACTERS:
            yield chosen


class Sounds:
    """The sounds of all letters.

    Args:
        random: Generator for the sounds.
    """

    def __init__(self, random: np.random.RandomState) -> None:
        count = len(_LETTERS)
        low, middle, high = (random.permutation(count) for _ in range(3))
        self.resonances = np.stack(
            [260 * 1.05**low, 800 * 1.04**middle, 2_300 * 1.035**high], axis=1
        )  # (letters, 3), Hz
        self.voiced = np.where(random.uniform(size=count) < 0.6, 1.0, random.uniform(0, 0.5, count))
        self.lengths = random.uniform(0.8, 1.2, count)
        for letter in "AEIOU":
            self.voiced[_LETTERS.index(letter)] = 1.0
        self.voiced[-1] = 0.0


class Voice:
    """A speaker.

    Args:
        sounds: Sounds of the letters.
        random: Generator for the voice, and for each recording.
        noisy: Whether recordings are noisier.
    """

    def __init__(self, sounds: Sounds, random: np.random.RandomState, noisy: bool) -> None:
        self._sounds, self._random, self._noisy = sounds, random, noisy
        self._pitch = random.uniform(90, 240)
        self._size = random.uniform(0.92, 1.1, 3)
        self._speed = random.uniform(0.85, 1.1)

    def speak(self, text: str) -> NDArray[np.int16]:
        """Return a text as sound, int16 ``(samples,)``."""
        random = self._random
        numbers = np.array([_LETTERS.index(letter) for letter in text])
        lengths = self._sounds.lengths[numbers] * self._speed * random.uniform(0.9, 1.1, len(numbers))
        lengths *= min(1.0, (LONGEST - 2 * _SILENCE) / (lengths.sum() * _LENGTH))
        ends = np.cumsum(lengths) * _LENGTH / _STEP
        # Values in the middle of each letter, straight lines between them, and a short ramp of the loudness.
        middles, places = ends - lengths * _LENGTH / _STEP / 2, np.arange(int(ends[-1]))
        tracks = np.stack([np.interp(places, middles, track) for track in self._sounds.resonances[numbers].T])
        voiced = np.interp(places, middles, self._sounds.voiced[numbers])
        loud = np.interp(places, middles, np.where(numbers == len(_LETTERS) - 1, 0.02, 1.0))
        samples = np.arange(len(places) * _STEP) / _STEP
        tracks, voiced, loud = (
            np.apply_along_axis(self._finer, -1, values, samples) for values in (tracks, voiced, loud)
        )
        phases = 2 * np.pi * np.cumsum(tracks * self._size[:, None], axis=1) / SAMPLE_RATE
        wobble = self._pitch * (
            1 + 0.05 * np.sin(2 * np.pi * 4 * np.arange(len(samples)) / SAMPLE_RATE + random.uniform(6))
        )
        pulse = (0.5 + 0.5 * np.cos(2 * np.pi * np.cumsum(wobble) / SAMPLE_RATE)) ** 3
        hiss = np.abs(random.normal(0, 0.6, len(samples)))
        carrier = voiced * pulse + (1 - voiced) * hiss
        sound = loud * carrier * (np.sin(phases) * np.array([[1.0], [0.6], [0.4]])).sum(0)
        # CTC needs a frame for each letter, one more between equal ones, and two for the first space and the end.
        least = _FRAME * (len(text) + sum(map(str.__eq__, text, text[1:])) + 4)
        return self._recorded(np.pad(sound, (0, max(0, least - len(sound)))))

    @staticmethod
    def _finer(values: NDArray[np.float64], samples: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(samples, np.arange(len(values)), values)

    def _recorded(self, sound: NDArray[np.float64]) -> NDArray[np.int16]:
        """Return the recording of a sound, with noise, and silence around it."""
        random = self._random
        sound = np.concatenate([np.zeros(random.randint(_SILENCE)), sound, np.zeros(random.randint(_SILENCE))])[
            :LONGEST
        ]
        decibels = random.uniform(5, 20) if self._noisy else random.uniform(15, 35)
        noise = random.normal(0, 1, len(sound))
        noise = noise + 2 * np.convolve(noise, np.full(16, 1 / 16), mode="same")
        level = np.sqrt((sound**2).mean() / (noise**2).mean()) * 10 ** (-decibels / 20)
        colour = random.uniform(-0.5, 0.5)
        mixed = sound + level * noise
        mixed = mixed + colour * np.concatenate([[0.0], mixed[:-1]])
        loudness = 10 ** random.uniform(3.2, 4.0)
        recorded: NDArray[np.int16] = (loudness * mixed).clip(-32_768, 32_767).round().astype(np.int16)
        return recorded


def small_parts(random: np.random.RandomState) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """Yield each part, and its files by their path in it; no voice is in two parts."""
    sounds, texts = Sounds(random), transcripts(random)
    for number, (part, count) in enumerate(SMALL_UTTERANCES.items()):
        files: dict[str, bytes] = {}
        shares = np.diff(np.linspace(0, count, _SPEAKERS + 1).astype(int))
        for speaker, share in enumerate(shares.tolist(), start=100 * (number + 1)):
            voice = Voice(sounds, random, noisy="other" in part)
            files |= _chapter(voice, speaker, [next(texts) for _ in range(share)])
        yield part, files


def _chapter(voice: Voice, speaker: int, texts: Sequence[str]) -> dict[str, bytes]:
    """Return the recordings of a chapter, and its transcripts."""
    import soundfile  # type: ignore[import-untyped]

    name, lines, files = f"{speaker}-1", [], {}
    for number, text in enumerate(texts):
        utterance = f"{name}-{number:04}"
        lines.append(f"{utterance} {text}\n")
        sound = io.BytesIO()
        soundfile.write(sound, voice.speak(text), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        files[f"{speaker}/1/{utterance}.flac"] = sound.getvalue()
    files[f"{speaker}/1/{name}.trans.txt"] = "".join(lines).encode()
    return files
