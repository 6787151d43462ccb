"""One module per peer; `benchmarks.worker` imports just one of them, in an interpreter that has that peer."""

from __future__ import annotations

# What a peer is called in the results, where its workloads stand, and which distributions it is made of.
PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "graphflow": ("benchmarks.peers.graphflow_peer", ("graphflow",)),
    "tensorflow": ("benchmarks.peers.tensorflow_peer", ("tensorflow-cpu", "tensorflow")),
    "tensorflow_xla": ("benchmarks.peers.tensorflow_xla_peer", ("tensorflow-cpu", "tensorflow")),
    "torch": ("benchmarks.peers.torch_peer", ("torch",)),
    "torch_compile": ("benchmarks.peers.torch_compile_peer", ("torch",)),
    "jax": ("benchmarks.peers.jax_peer", ("jax",)),
    "pytensor": ("benchmarks.peers.pytensor_peer", ("pytensor",)),
    "onnxruntime": ("benchmarks.peers.onnxruntime_peer", ("onnxruntime",)),
    "openvino": ("benchmarks.peers.openvino_peer", ("openvino",)),
}
