"""NVIDIA GPUs: plans as steps on a device, a whole run as captured graphs.

    device        what a plan asks of a device                        cupy_device       a GPU, through CuPy
    steps         what a plan does, over places in slabs              host_device       the same steps on the processor
    calls         library calls as steps                              recording_device  the same steps, written down
    plan          from the steps of a `plan.Plan` to those of a device, and the run
    residents     a session's variables on a device                   backend           what compiler and session see
    blas          matrix products by cuBLASLt                        dnn               convolutions by cuDNN
    products      products as a library takes them                   convolutions      and convolutions
    joining       updates of variables in one launch                  found             what this machine has

Nothing here is loaded before a plan for a GPU is made, and CuPy not before one runs.
"""
