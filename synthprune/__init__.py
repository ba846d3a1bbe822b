"""The executable companion to a study of pruning with synthetic data and of linear mode connectivity.

These names are what a person imports: networks and images in, masks, states and barriers out. They need no store, profile
or notebook, and are loaded when they are first used, so that importing the package does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthprune.analysis.alignment import align
    from synthprune.analysis.connectivity import path_losses
    from synthprune.analysis.hessian import hessian_diagonal
    from synthprune.analysis.landscape import plane_through
    from synthprune.criteria import prune_at_initialisation
    from synthprune.data.arrays import from_arrays
    from synthprune.data.datasets import load
    from synthprune.distill import distribution_matching
    from synthprune.models import build, initial_state
    from synthprune.pruning import prune_by_magnitude, rewound
    from synthprune.search import imp
    from synthprune.training import Recipe, train

__version__ = "0.1.0"

__all__ = ["Recipe", "align", "build", "distribution_matching", "from_arrays", "hessian_diagonal", "imp", "initial_state", "load",
           "path_losses", "plane_through", "prune_at_initialisation", "prune_by_magnitude", "rewound", "train"]

_ROOMS = {"align": "analysis.alignment", "build": "models", "distribution_matching": "distill", "from_arrays": "data.arrays",
          "hessian_diagonal": "analysis.hessian", "imp": "search", "initial_state": "models", "load": "data.datasets",
          "path_losses": "analysis.connectivity", "plane_through": "analysis.landscape", "prune_at_initialisation": "criteria",
          "prune_by_magnitude": "pruning", "Recipe": "training", "rewound": "pruning", "train": "training"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'synthprune' has no attribute '{name}'")
    return getattr(importlib.import_module(f"synthprune.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
