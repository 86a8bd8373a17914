"""VOI windows follow the formulas of the standard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrlib.reading.display.windows import Window, WindowFunction, apply_window


def test_linear_window_of_width_one_is_a_threshold() -> None:
    grey = apply_window(np.array([99.0, 99.4, 99.6, 101.0]), Window(100, 1))
    assert grey.tolist() == [0, 0, 1, 1]


def test_linear_exact_window_is_grey_at_its_centre() -> None:
    window = Window(2000, 1000, WindowFunction.LINEAR_EXACT)
    assert apply_window(np.array([1500.0, 2000.0, 2500.0]), window).tolist() == [0, 0.5, 1]


def test_sigmoid_window_is_the_formula_of_the_standard() -> None:
    window = Window(2000, 1000, WindowFunction.SIGMOID)
    grey = apply_window(np.array([2000.0, 2250.0, -1e9]), window)
    assert grey[0] == 0.5
    assert grey[1] == pytest.approx(1 / (1 + np.exp(-1)))
    assert grey[2] == pytest.approx(0)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 4000), st.floats(2, 5000), st.sampled_from(list(WindowFunction)))
def test_window_is_monotonic_and_within_0_and_1(center: float, width: float, function: WindowFunction) -> None:
    grey = apply_window(np.arange(-1000.0, 6000.0), Window(center, width, function))
    assert grey.min() >= 0 and grey.max() <= 1
    assert (np.diff(grey) >= 0).all()
