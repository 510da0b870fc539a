"""LibriSpeech: speech recognition, with a Conformer and with DeepSpeech."""
