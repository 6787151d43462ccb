"""A zoo of models, each a program of TF1: `train(size, steps)` builds one and tells its losses and other findings."""
