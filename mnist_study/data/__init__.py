"""Images: the training set, the test set, their sources, and pictures that a user brings."""
