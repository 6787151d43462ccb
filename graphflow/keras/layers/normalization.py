"""Normalisation by the moments of a batch, and by their moving averages afterwards."""

from __future__ import annotations

from typing import Any

from graphflow.dtypes import float32
from graphflow.graph import Tensor
from graphflow.keras import constraints, initializers, regularizers
from graphflow.keras.base_layer import InputSpec, Layer
from graphflow.keras.layers.core import config_of
from graphflow.keras.session import learning_phase
from graphflow.keras.smart_cond import smart_cond, smart_constant_value
from graphflow.opdef import constant, convert_to_tensor, emit
from graphflow.ops import layout, nn
from graphflow.shapes import TensorShape
from graphflow.train.moving_averages import assign_moving_average


class BatchNormalization(Layer):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with the moments of the batch in training.

    Args:
      axis: the axis (or axes) whose elements have moments of their own; usually that of the channels.
      momentum: the share of its old value that a moving average keeps.
      epsilon: added to the variance.
      center: whether `beta` is added.
      scale: whether it is multiplied by `gamma`.
      beta_initializer: of beta.
      gamma_initializer: of gamma.
      moving_mean_initializer: of the moving mean.
      moving_variance_initializer: of the moving variance.
      beta_regularizer: a penalty on beta.
      gamma_regularizer: a penalty on gamma.
      beta_constraint: applied to beta after each step.
      gamma_constraint: applied to gamma after each step.
      renorm: must be False: batch renormalisation is out of scope.
      renorm_clipping: belongs to `renorm`.
      renorm_momentum: belongs to `renorm`.
      fused: whether to use the fused operation, for images; default where it fits.
      trainable: whether beta and gamma are trained.
      virtual_batch_size: must be None: batches are not cut.
      adjustment: must be None.
      name: its name.
      **kwargs: see `Layer`.
    """

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        fused: bool | None = None,
        trainable: bool = True,
        virtual_batch_size: int | None = None,
        adjustment: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        for given, what in (
            (renorm, "renorm"), (renorm_clipping, "renorm_clipping"), (adjustment, "adjustment"),
            (virtual_batch_size, "virtual_batch_size"),
        ):  # fmt: skip
            if given:
                raise NotImplementedError(f"BatchNormalization {self.name!r}: `{what}` is not supported")
        del renorm_momentum
        self.axis: Any = list(axis) if isinstance(axis, list | tuple) else axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.fused = fused
        self.supports_masking = True
        self.gamma: Any = None
        self.beta: Any = None
        self.moving_mean: Any = None
        self.moving_variance: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes gamma, beta and the two averages.

        Raises:
          ValueError: if rank or the sizes along `axis` are unknown, an axis does not exist, or `fused` is asked for
            where it does not fit.
        """
        shape = TensorShape(input_shape)
        rank = shape.rank
        if rank is None:
            raise ValueError("Input has undefined rank.")
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        axes = [axis + rank if axis < 0 else axis for axis in axes]
        if any(not 0 <= axis < rank for axis in axes):
            raise ValueError(f"Invalid axis: {self.axis} for inputs of rank {rank}")
        if len(set(axes)) != len(axes):
            raise ValueError(f"Duplicate axis: {self.axis}")
        self.axis = axes
        fits = rank == 4 and axes in ([1], [3])
        if self.fused and not fits:
            raise ValueError(
                "Passing fused=True is only supported for images with `axis` 1 or 3; got inputs of rank"
                f" {rank} and axis {axes}"
            )
        self.fused = fits if self.fused is None else self.fused
        sizes = shape.as_list()
        if any(sizes[axis] is None for axis in axes):
            raise ValueError(
                "There are undefined dimensions in the input; the axes of normalization have sizes"
                f" {[sizes[axis] for axis in axes]}"
            )
        self.input_spec = InputSpec(ndim=rank, axes={axis: sizes[axis] for axis in axes})
        own: list[Any] = [sizes[axes[0]]]
        if len(axes) > 1:
            own = [size if i in axes else 1 for i, size in enumerate(sizes)]
        # Moments of half-precision inputs are kept in single precision.
        kind = float32 if self._dtype is not None and self._dtype.size < 4 else self._dtype or float32
        if self.scale:
            self.gamma = self.add_weight(
                name="gamma", shape=own, dtype=kind, initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer, constraint=self.gamma_constraint, trainable=True,
            )  # fmt: skip
        if self.center:
            self.beta = self.add_weight(
                name="beta", shape=own, dtype=kind, initializer=self.beta_initializer,
                regularizer=self.beta_regularizer, constraint=self.beta_constraint, trainable=True,
            )  # fmt: skip
        self.moving_mean = self.add_weight(
            name="moving_mean",
            shape=own,
            dtype=kind,
            initializer=self.moving_mean_initializer,
            trainable=False,
        )
        self.moving_variance = self.add_weight(
            name="moving_variance", shape=own, dtype=kind, initializer=self.moving_variance_initializer,
            trainable=False,
        )  # fmt: skip
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Returns the normalised inputs; `training` defaults to the learning phase."""
        training = learning_phase() if training is None else training
        x = convert_to_tensor(inputs)
        outputs, mean, variance = self._fused(x, training) if self.fused else self._plain(x, training)
        if smart_constant_value(training) is not False:
            for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
                self.add_update(self._moved(average, value))
        return outputs

    def _moved(self, average: Any, value: Tensor) -> Tensor:
        # Where the batch turns out not to be one of training, `value` is the average itself, and nothing moves.
        if value.dtype is not average.dtype:
            value = emit.Cast(value, DstT=average.dtype)
        return assign_moving_average(average, value, self.momentum, zero_debias=False)

    def _fused(self, x: Tensor, training: Any) -> tuple[Tensor, Tensor, Tensor]:
        kind = self.moving_mean.dtype
        channels = self.moving_mean.shape
        gamma = constant(1.0, kind, channels) if self.gamma is None else self.gamma
        beta = constant(0.0, kind, channels) if self.beta is None else self.beta
        order = "NHWC" if self.axis == [3] else "NCHW"

        def batch() -> tuple[Tensor, Tensor, Tensor]:
            return nn.fused_batch_norm(x, gamma, beta, epsilon=self.epsilon, data_format=order)

        def moving() -> tuple[Tensor, Tensor, Tensor]:
            mean, variance = self.moving_mean.value(), self.moving_variance.value()
            y, _, _ = nn.fused_batch_norm(
                x, gamma, beta, mean, variance, self.epsilon, order, is_training=False
            )
            return y, emit.Identity(mean), emit.Identity(variance)

        result: tuple[Tensor, Tensor, Tensor] = smart_cond(training, batch, moving)
        return result

    def _plain(self, x: Tensor, training: Any) -> tuple[Tensor, Tensor, Tensor]:
        rank = x.shape.rank
        assert rank is not None
        others = [axis for axis in range(rank) if axis not in self.axis]
        sizes = x.shape.as_list()
        # The parameters broadcast by themselves where they belong to the last axis.
        wide = [sizes[i] if i in self.axis else 1 for i in range(rank)]

        def spread(value: Any) -> Any:
            if value is None or len(self.axis) > 1 or self.axis == [rank - 1]:
                return value
            return layout.reshape(value, wide)

        def batch() -> tuple[Tensor, Tensor]:
            mean, variance = nn.moments(x, others, keep_dims=len(self.axis) > 1)
            return mean, variance

        def moving() -> tuple[Tensor, Tensor]:
            return self.moving_mean.value(), self.moving_variance.value()

        mean, variance = smart_cond(training, batch, moving)
        half = x.dtype.size < 4
        given, away = (emit.Cast(each, DstT=x.dtype) if half and each.dtype is not x.dtype else each
                       for each in (mean, variance))  # fmt: skip
        outputs = nn.batch_normalization(
            x, spread(given), spread(away), spread(self._like(self.beta, x)), spread(self._like(self.gamma, x)),
            self.epsilon,
        )  # fmt: skip
        outputs.set_shape(x.shape)
        return outputs, mean, variance

    @staticmethod
    def _like(parameter: Any, x: Tensor) -> Any:
        if parameter is None or parameter.dtype is x.dtype:
            return parameter
        return emit.Cast(parameter, DstT=x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        plain = ("axis", "momentum", "epsilon", "center", "scale")
        told = (
            "beta_initializer", "gamma_initializer", "moving_mean_initializer", "moving_variance_initializer",
            "beta_regularizer", "gamma_regularizer", "beta_constraint", "gamma_constraint",
        )  # fmt: skip
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in plain},
            **{name: config_of(getattr(self, name)) for name in told},
        }
