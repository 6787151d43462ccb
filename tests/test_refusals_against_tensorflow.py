"""Parts of the referee's table (`make referee`) that no other test looks at, a slice of each.

What TensorFlow refuses is refused here, and what it takes is taken; graphs that its own functions write mean the same
here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.referee import Referee
from tests.referee_report import Row, compare_imports, compare_refusals
from tests.shares import is_in

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SLICES = 24
# What kills TensorFlow when it is spoiled; it takes seconds to come back.
DEADLY = ("BlockLSTM", "LSTMBlockCell", "FractionalMaxPoolGrad", "SplitV")


def in_slice(name: str) -> bool:
    """Whether a case belongs to the slice."""
    return is_in(name, 7, SLICES) and not name.startswith(DEADLY)


@pytest.mark.parametrize("compare", [compare_refusals, compare_imports])
def test_a_slice_differs_for_known_reasons_only(compare: Callable[..., None], referee: Referee) -> None:
    table: dict[str, Row] = defaultdict(Row)
    compare(referee, table, lambda op_type: True, in_slice)
    tried = sum(sum(row.tried.values()) for row in table.values())
    equal = sum(sum(row.equal.values()) for row in table.values())
    problems = [line for row in table.values() for line in row.differing]
    assert not problems, "\n".join(problems)
    assert tried > 80 and equal > tried * 0.8
