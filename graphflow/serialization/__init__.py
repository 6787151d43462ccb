"""Graphs, values and checkpoints as files, byte for byte those of TensorFlow."""
