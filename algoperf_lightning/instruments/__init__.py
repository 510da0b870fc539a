"""Instruments: what happens inside a training run, measured beside the clock. No Trainer and no plug-in here."""
