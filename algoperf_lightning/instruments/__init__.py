"""Instruments: measurements inside a training run, off the clock. Independent of Trainer and plug-ins."""
