"""Interaction of a workload with its submission during a run: calls, optimizers, batch size."""
