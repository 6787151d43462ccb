"""The networks of `slim.nets`: names and shapes of variables are what their public checkpoints go by."""

from __future__ import annotations

import importlib
import math
import zlib
from typing import Any

import numpy as np
import pytest

import graphflow as gf

slim = gf.contrib.slim
nets = slim.nets


def digest(pairs: Any) -> int:
    """A number for names and shapes in their order."""
    return zlib.crc32("\n".join(f"{name} {shape}" for name, shape in pairs).encode())


# By network: its scope of arguments, the sizes of images, the arguments, the trained parameters, and the digests of
# variables and of end points that TensorFlow has with the `tf_slim` package.
CASES: dict[str, tuple[str, int, dict[str, Any], int, int, int]] = {
    "alexnet.alexnet_v2": (
        "alexnet.alexnet_v2_arg_scope", 224, {"num_classes": 7}, 46_235_591, 3486224963, 3574881092,
    ),
    "overfeat.overfeat": (
        "overfeat.overfeat_arg_scope", 231, {"num_classes": 7}, 141_636_103, 3344650240, 1036155954,
    ),
    "vgg.vgg_16": (
        "vgg.vgg_arg_scope", 224, {"num_classes": 1000}, 138_357_544, 3650463605, 1268425802,
    ),
    "inception.inception_v1": (
        "inception.inception_v1_arg_scope", 224, {"num_classes": 1001}, 6_618_649, 64666254, 3358905919,
    ),
    "inception.inception_v2": (
        "inception.inception_v2_arg_scope", 224, {"num_classes": 11}, 10_164_611, 2292601943, 3939276464,
    ),
    "inception.inception_v3": (
        "inception.inception_v3_arg_scope", 299, {"num_classes": 1001}, 27_145_970, 3822194117, 3289596440,
    ),
    "resnet_v1.resnet_v1_50": (
        "resnet_utils.resnet_arg_scope", 224, {"num_classes": 1000}, 25_557_032, 4132734992, 2350922429,
    ),
    "resnet_v2.resnet_v2_50": (
        "resnet_utils.resnet_arg_scope", 65,
        {"num_classes": 21, "is_training": False, "global_pool": False, "output_stride": 8}, 23_562_389,
        3999268894, 3217677793,
    ),
}  # fmt: skip


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(getattr(nets, module), name)


@pytest.mark.parametrize("name", CASES)
def test_a_network_has_the_variables_and_end_points_of_its_checkpoints(name: str) -> None:
    scope, size, arguments, parameters, variables, tensors = CASES[name]
    with slim.arg_scope(found(scope)()):
        net, end_points = found(name)(gf.zeros([2, size, size, 3]), **arguments)
    assert sum(math.prod(v.shape.as_list()) for v in gf.trainable_variables()) == parameters
    assert digest((v.op.name, v.shape.as_list()) for v in gf.global_variables()) == variables
    assert digest((key, value.shape.as_list()) for key, value in end_points.items()) == tensors
    assert net.shape.as_list()[-1] == arguments["num_classes"]
    kernels = [v for v in gf.trainable_variables() if v.op.name.endswith("/weights")]
    assert len(gf.losses.get_regularization_losses()) == len(kernels)


def test_a_stride_that_becomes_a_rate_leaves_the_features_as_they_are() -> None:
    images = gf.constant(np.random.RandomState(1).rand(1, 9, 9, 4).astype(np.float32))
    build, block = nets.resnet_v2.resnet_v2, nets.resnet_v2.resnet_v2_block
    blocks = [block("a", 1, 1, 2), block("b", 1, 1, 1)]
    with slim.arg_scope(nets.resnet_utils.resnet_arg_scope()):
        coarse, _ = build(images, blocks, None, False, False, include_root_block=False, scope="r")
        fine, _ = build(images, blocks, None, False, False, 1, False, reuse=True, scope="r")
        for stride, text in ((6, "multiple of 4"), (32, "cannot be reached")):
            with pytest.raises(ValueError, match=text):
                build(images, blocks, None, False, False, output_stride=stride, scope=f"with_{stride}")
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        small, large = session.run([coarse, fine])
    assert small.shape == (1, 5, 5, 4) and large.shape == (1, 9, 9, 4) and small.any()
    np.testing.assert_allclose(small, large[:, ::2, ::2], rtol=1e-3, atol=1e-4)


def test_an_end_point_that_does_not_exist_and_a_network_made_thinner() -> None:
    images = gf.placeholder(gf.float32, [None, None, None, 3])
    net, end_points = nets.inception.inception_v1_base(images, "Mixed_3b", scope="one")
    assert list(end_points)[-1] == "Mixed_3b" and net.shape.as_list() == [None, None, None, 256]
    net, _ = nets.inception.inception_v2_base(images, "Conv2d_2c_3x3", depth_multiplier=0.5, scope="two")
    assert net.shape.as_list()[-1] == 96
    with pytest.raises(ValueError, match="final endpoint Mixed_9"):
        nets.inception.inception_v1_base(gf.zeros([1, 64, 64, 3]), "Mixed_9", scope="three")
    with pytest.raises(ValueError, match="greater than zero"):
        nets.inception.inception_v3_base(images, depth_multiplier=0, scope="four")


def test_long_paths_lead_to_the_networks() -> None:
    gf.install_as_tensorflow()
    below = "tensorflow.contrib.slim.python.slim.nets"
    assert importlib.import_module(f"{below}.resnet_v1").resnet_v1_50 is nets.resnet_v1.resnet_v1_50
    assert importlib.import_module("tensorflow.contrib.slim.nets").vgg is nets.vgg
    names: dict[str, Any] = {}
    exec(
        f"from {below} import inception_v3, resnet_utils\n"
        f"from {below}.inception_v3 import inception_v3_base\n"
        "from tensorflow.contrib.slim.nets import inception",
        names,
    )
    assert names["inception_v3_base"] is names["inception"].inception_v3_base
    assert names["inception_v3"].inception_v3 is nets.inception.inception_v3
