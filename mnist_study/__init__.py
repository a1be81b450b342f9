"""A reproducible study around one documented MNIST network."""
