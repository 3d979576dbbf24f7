"""Energy-based models: units, restricted Boltzmann machines, kernels, gradients, partition functions."""
