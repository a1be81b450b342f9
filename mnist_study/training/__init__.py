"""TensorFlow and Keras: the network, the compiled-epoch trainer, read-outs of a run."""
