"""Fashion-MNIST, with two workloads: a convolutional network and an autoencoder."""
