"""What the authors logged in an earlier study, as context for chapter 03: other networks and another optimiser."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from matplotlib.figure import Figure as Canvas

from synthprune.chapters.figures import MARKERS, Figure, Panel, Style
from synthprune.chapters.figures.distilled_pruning import level_axis, line_alt
from synthprune.chapters.figures.drawings import Line, limits

METHODS = {"synthetic, 10 per class": "synthetic", "synthetic, 50 per class": "synthetic", "IMP, k = 0": "imp",
           "IMP, k = 1": "magnitude", "random": "random"}
"""What a curve of the file is called, and the method whose colour and marker it has."""
LEVELS = 20
CHANCE = 10.0
"""Test accuracy, percent, of a network that has learnt nothing about ten classes."""


def logged() -> dict[str, list[Line]]:
    """By network, one line for each method: test accuracy in percent (seeds, levels), NaN where a seed was not logged.

    A line ends before the first level at which a seed has collapsed to chance.
    """
    text = (files("synthprune.chapters.figures") / "earlier_study.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    found: dict[str, list[Line]] = {}
    for network, method in dict.fromkeys((row["network"], row["method"]) for row in rows):
        of = [row for row in rows if (row["network"], row["method"]) == (network, method)]
        collapsed = min((int(row["level"]) for row in of if float(row["test_accuracy_percent"]) <= CHANCE), default=99)
        values = np.full((1 + max(int(row["seed"]) for row in of), min(collapsed - 1, LEVELS)), np.nan)
        for row in of:
            if int(row["level"]) <= values.shape[1]:
                values[int(row["seed"]), int(row["level"]) - 1] = float(row["test_accuracy_percent"])
        found.setdefault(network, []).append(Line(method, lambda style, m=METHODS[method]: style.colour(m),
                                                  range(1, values.shape[1] + 1), values, MARKERS[METHODS[method]]))
    return found


def curves() -> Figure:
    """Accuracy against sparsity, AlexNet and ConvNet-3 on CIFAR-10."""
    found = logged()
    panels = [Panel(lambda style, network=network, lines=lines: _draw(style, network, lines),
                    f"Lines, {network}: mean test accuracy in percent over pruning levels. {'; '.join(map(line_alt, lines))}.")
              for network, lines in found.items()]
    seeds = "; ".join(f"{network}, {line.label}: {int(np.isfinite(line.values[:, 0]).sum())}"
                      for network, lines in found.items() for line in lines)
    caption = ("<strong>Not this paper's experiment and not this book's.</strong> CIFAR-10, as the authors logged it for an"
               " earlier study: AlexNet and a ConvNet-3 of width 128, trained by Adam without augmentation; sets by trajectory"
               " matching; k: the epoch rewound to. Read the shapes, not the heights. Shaded: 95\N{NO-BREAK SPACE}% interval of"
               f" the mean, of two seeds their range. Seeds at the first level: {seeds}; some were logged for fewer levels, and a"
               " line ends where a seed collapsed.")
    rows = [("network", "method", "level", "seeds", "mean_test_accuracy_percent")]
    rows += [(network, f'"{line.label}"', level, int(np.isfinite(values).sum()), f"{mean:.4f}")
             for network, lines in found.items() for line in lines
             for level, values, mean in zip(line.x, line.values.T, line.mean, strict=True)]
    return Figure(panels, caption, rows, "03_earlier_study")


def _draw(style: Style, network: str, lines: Sequence[Line]) -> Canvas:
    canvas = Canvas(figsize=(3.6, 4.0))
    axes = canvas.add_axes((0.16, 0.36, 0.8, 0.56))
    for line in lines:
        line.draw(axes, style)
    level_axis(axes, range(1, LEVELS + 1))
    low, high = limits([line.values[:, :12] for line in lines if line.label != "random"])
    axes.set(title=network, ylabel="test accuracy, %", ylim=(low - 5, high))
    canvas.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=2)
    return canvas
