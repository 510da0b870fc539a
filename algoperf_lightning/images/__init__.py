"""What several workloads of small images share: files, TensorFlow's padding and distortions, an autoencoder."""
