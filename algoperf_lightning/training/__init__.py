"""What a workload does with its submission during a run: calls into it, its optimizers, its batch size."""
