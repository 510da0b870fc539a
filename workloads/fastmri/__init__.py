"""fastMRI knee, single coil: reconstruct slices from undersampled k-space with a U-Net."""
