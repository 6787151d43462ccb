"""Estimators of boosted trees: they are none of graphflow, and say so at once."""

from __future__ import annotations

from typing import Any, NoReturn


class _Missing:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__}: graphflow grows no trees. Estimators of the same features are DNNClassifier,"
            " DNNRegressor, LinearClassifier and LinearRegressor; XGBoost or scikit-learn, among others, grow trees."
        )


class BoostedTreesClassifier(_Missing):
    """Raises NotImplementedError."""


class BoostedTreesRegressor(_Missing):
    """Raises NotImplementedError."""


class BoostedTreesEstimator(_Missing):
    """Raises NotImplementedError."""


__all__ = ["BoostedTreesClassifier", "BoostedTreesEstimator", "BoostedTreesRegressor"]
