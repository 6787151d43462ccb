"""Optimizers outside of the graph: they see all variables as one vector and ask for loss and gradient at will."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import logging
from graphflow.gradients import gradients
from graphflow.graph import IndexedSlices, Tensor, get_default_session
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.layout import concat
from graphflow.ops.source import placeholder
from graphflow.variables import trainable_variables

Array = np.ndarray[Any, Any]


class ExternalOptimizerInterface:
    """What optimizers outside of the graph share; a subclass has `_minimize`.

    Args:
      loss: what is made small; scalar tensor.
      var_list: the variables; default the trainable ones.
      equalities: tensors that shall be 0.
      inequalities: tensors that shall be at least 0.
      var_to_bounds: from variables to pairs of a lower and an upper bound, which broadcast to them.
      **optimizer_kwargs: for the optimizer.
    """

    def __init__(
        self,
        loss: Any,
        var_list: Sequence[Any] | None = None,
        equalities: Sequence[Any] | None = None,
        inequalities: Sequence[Any] | None = None,
        var_to_bounds: Mapping[Any, tuple[Any, Any]] | None = None,
        **optimizer_kwargs: Any,
    ) -> None:
        self._loss = loss
        self._equalities = list(equalities or [])
        self._inequalities = list(inequalities or [])
        self._vars = trainable_variables() if var_list is None else list(var_list)
        self._shapes: list[tuple[int, ...]] = [
            tuple(s or 0 for s in var.shape.as_list()) for var in self._vars
        ]
        self._bounds: list[tuple[float, float]] | None = None
        if var_to_bounds is not None:
            self._bounds = []
            for var, shape in zip(self._vars, self._shapes, strict=True):
                low, high = var_to_bounds.get(var, (-np.inf, np.inf))
                sides = [np.broadcast_to(side, shape).ravel() for side in (low, high)]
                self._bounds += zip(*(side.tolist() for side in sides), strict=True)
        self.optimizer_kwargs = optimizer_kwargs
        self._updates = [placeholder(var.dtype.base_dtype, var.shape) for var in self._vars]
        self._assignments = [var.assign(u) for var, u in zip(self._vars, self._updates, strict=True)]
        self._gradient = self._packed(gradients(loss, self._vars))
        self._equality_gradients = [self._packed(gradients(one, self._vars)) for one in self._equalities]
        self._inequality_gradients = [self._packed(gradients(one, self._vars)) for one in self._inequalities]
        sizes = [math.prod(shape) for shape in self._shapes]
        ends = itertools.accumulate(sizes)
        self._slices = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def minimize(
        self,
        session: Any = None,
        feed_dict: Mapping[Any, Any] | None = None,
        fetches: Sequence[Any] | None = None,
        step_callback: Callable[[Array], Any] | None = None,
        loss_callback: Callable[..., Any] | None = None,
        **run_kwargs: Any,
    ) -> None:
        """Optimizes, and writes the variables when done.

        Args:
          session: where; default the default session.
          feed_dict: what is fed at each evaluation.
          fetches: what is fetched beside loss and gradient, for `loss_callback`.
          step_callback: called with the vector of all variables after each step.
          loss_callback: called at each evaluation with what was fetched.
          **run_kwargs: for `Session.run`.

        Raises:
          ValueError: where there is no session.
        """
        session = session or get_default_session()
        if session is None:
            raise ValueError(
                "minimize needs a session: pass one, or call it inside `with session.as_default()`"
            )
        extra = list(fetches or [])

        def evaluation(wanted: Sequence[Any], callback: Callable[..., Any] | None) -> Callable[[Array], Any]:
            def at(x: Array) -> Any:
                feeds = dict(feed_dict or {})
                feeds.update(zip(self._vars, self._apart(x), strict=True))
                values = session.run([*wanted, *(extra if callback else [])], feeds, **run_kwargs)
                if callback is not None:
                    callback(*values[len(wanted) :])
                return [np.asarray(value, np.float64) for value in values[: len(wanted)]]

            return at

        start = np.concatenate([np.ravel(value) for value in session.run(self._vars)] or [np.zeros(0)])
        found = self._minimize(
            initial_val=start.astype(np.float64),
            loss_grad_func=evaluation([self._loss, self._gradient], loss_callback),
            equality_funcs=[evaluation([one], None) for one in self._equalities],
            equality_grad_funcs=[evaluation([one], None) for one in self._equality_gradients],
            inequality_funcs=[evaluation([one], None) for one in self._inequalities],
            inequality_grad_funcs=[evaluation([one], None) for one in self._inequality_gradients],
            packed_bounds=self._bounds,
            step_callback=step_callback,
            optimizer_kwargs=self.optimizer_kwargs,
        )
        session.run(self._assignments, dict(zip(self._updates, self._apart(found), strict=True)))

    def _minimize(
        self,
        initial_val: Array,
        loss_grad_func: Callable[[Array], Any],
        equality_funcs: Sequence[Callable[[Array], Any]],
        equality_grad_funcs: Sequence[Callable[[Array], Any]],
        inequality_funcs: Sequence[Callable[[Array], Any]],
        inequality_grad_funcs: Sequence[Callable[[Array], Any]],
        packed_bounds: list[tuple[float, float]] | None,
        step_callback: Callable[[Array], Any] | None,
        optimizer_kwargs: dict[str, Any],
    ) -> Array:
        raise NotImplementedError("a subclass says how it minimizes")

    def _apart(self, x: Array) -> list[Array]:
        """The vector of all variables, cut into them."""
        return [
            np.asarray(x[part], var.dtype.as_numpy_dtype).reshape(shape)
            for part, shape, var in zip(self._slices, self._shapes, self._vars, strict=True)
        ]

    def _packed(self, grads: Sequence[Any]) -> Tensor:
        """Gradients as one vector; zeros where there is none."""
        parts = []
        for grad, var in zip(grads, self._vars, strict=True):
            if grad is None:
                grad = emit.ZerosLike(var.read_value())
            elif isinstance(grad, IndexedSlices):
                grad = convert_to_tensor(grad)
            parts.append(emit.Reshape(grad, np.array([-1], np.int32)))
        return concat(parts, 0) if len(parts) > 1 else parts[0]


class ScipyOptimizerInterface(ExternalOptimizerInterface):
    """Minimizes with `scipy.optimize.minimize`; needs SciPy.

    Arguments are those of `ExternalOptimizerInterface`; `method` (default "L-BFGS-B", or "SLSQP" under constraints),
    `options`, `tol` and the like go to SciPy. With `options={"disp": True}` the end is logged as SciPy has it.
    """

    _DEFAULT_METHOD = "L-BFGS-B"

    def _minimize(
        self,
        initial_val: Array,
        loss_grad_func: Callable[[Array], Any],
        equality_funcs: Sequence[Callable[[Array], Any]],
        equality_grad_funcs: Sequence[Callable[[Array], Any]],
        inequality_funcs: Sequence[Callable[[Array], Any]],
        inequality_grad_funcs: Sequence[Callable[[Array], Any]],
        packed_bounds: list[tuple[float, float]] | None,
        step_callback: Callable[[Array], Any] | None,
        optimizer_kwargs: dict[str, Any],
    ) -> Array:
        from scipy import optimize

        arguments = dict(optimizer_kwargs)
        constrained = bool(equality_funcs or inequality_funcs)
        method = arguments.pop("method", "SLSQP" if constrained else self._DEFAULT_METHOD)
        for taken in ("jac", "constraints", "bounds", "callback", "fun", "x0", "args"):
            if taken in arguments:
                raise ValueError(
                    f"Optimizer keyword arg {taken!r} is set automatically and cannot be injected manually"
                )
        constraints = [
            {"type": kind, "fun": lambda x, f=value: f(x)[0], "jac": lambda x, f=slope: f(x)[0]}
            for kind, values, slopes in (
                ("eq", equality_funcs, equality_grad_funcs),
                ("ineq", inequality_funcs, inequality_grad_funcs),
            )
            for value, slope in zip(values, slopes, strict=True)
        ]
        result = optimize.minimize(
            lambda x: tuple(loss_grad_func(x)),
            initial_val,
            method=method,
            jac=True,
            callback=None if step_callback is None else lambda x: step_callback(x),
            **({"constraints": constraints} if constraints else {}),
            **({"bounds": packed_bounds} if packed_bounds is not None else {}),
            **arguments,
        )
        logging.info(
            "Optimization terminated with: message %s, objective value %s, iterations %s, evaluations %s",
            result.message, result.fun, result.get("nit"), result.get("nfev"),
        )  # fmt: skip
        found: Array = result.x
        return found


__all__ = ["ExternalOptimizerInterface", "ScipyOptimizerInterface"]
