"""Shared code of workloads with small images: files, TensorFlow padding and distortions, an autoencoder."""
