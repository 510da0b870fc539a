"""What is kept of a trial: its record, its evaluations, its checkpoints, and how damage to them is found."""
