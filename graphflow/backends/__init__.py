"""What runs kernels: one package per kind of device."""
