"""Where the graph column and the machine column meet: nodes become loop kernels, library calls and host steps."""
