"""The authors' earlier curves: their numbers, by network, method and seed."""

from __future__ import annotations

import numpy as np
import pytest

from synthprune.chapters.figures import DARK, LIGHT
from synthprune.chapters.figures.earlier_study import curves, logged


def test_lines_hold_what_was_logged() -> None:
    of = {(network, line.label): line for network, lines in logged().items() for line in lines}
    synthetic = of["AlexNet", "synthetic, 10 per class"]
    assert synthetic.values.shape == (5, 20) and synthetic.x == range(1, 21)
    assert synthetic.mean[0] == pytest.approx(81.532) and synthetic.values[:, 0].std(ddof=1) == pytest.approx(0.3867, abs=1e-3)
    assert of["AlexNet", "IMP, k = 1"].mean[8] == pytest.approx(81.3, abs=0.05)
    # One seed of IMP to initialisation stops after ten levels: its mean goes on with the other.
    early = of["AlexNet", "IMP, k = 0"]
    assert np.isfinite(early.values[:, :10]).all() and np.isfinite(early.values[:, 10:]).sum(0).tolist() == [1] * 10
    assert early.mean[10] == pytest.approx(76.8, abs=0.05)
    assert of["AlexNet", "random"].x[-1] == 9  # at the tenth level one of four seeds is at chance


def test_the_figure_says_whose_numbers_these_are_and_how_many() -> None:
    figure = curves()
    assert "Not this paper's experiment and not this book's" in figure.caption
    assert "AlexNet, IMP, k = 0: 2" in figure.caption and "ConvNet-3, random: 1" in figure.caption
    assert "synthetic, 10 per class: level" in figure.panels[0].alt and "76.8" not in figure.panels[1].alt
    assert all(panel.svg(LIGHT) != panel.svg(DARK) for panel in figure.panels)
