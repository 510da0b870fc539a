"""Files of a trial: its record, its evaluations, its checkpoints, and the detection of damage to them."""
