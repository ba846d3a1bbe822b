"""Values and entries: frozen typed records, and the name that follows from one.

A field is a fact that changes the numbers; device, worker count and verbosity are not fields. An `Entry` has a place in
the store under its key; a `Value` is only part of others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Value(BaseModel):
    """A frozen, typed record. Fields are coerced to their declared type, so that 1 and 1.0 are one float."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()
    """Fields added after results existed: left out of the name while they equal their default, "as before"."""

    def facts(self) -> dict[str, Any]:
        """The fields as plain JSON values; entries among them by their key."""
        fields = type(self).model_fields
        kept = {name: getattr(self, name) for name in fields}
        return {"is": type(self).__name__} | {name: _plain(value) for name, value in kept.items()
                                              if not (name in self.later and value == fields[name].default)}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, checked and named anew (pydantic's would keep the old key)."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | dict(update or {}))


class Dataset(Value):
    """A real data set: `train_per_class` images of smallest content hash (None: all), averaged to `pixels` a side.

    `name`: that of a known one, or '<title>@<content>' of an imported one. `whitened`: in the space of its ZCA whitening,
    where some published sets live. `test_per_class`: test images likewise.
    """

    later: ClassVar[frozenset[str]] = frozenset({"whitened", "test_per_class"})
    name: Annotated[str, Field(pattern=r"^[\w.-]+(@[0-9a-f]{12})?$")]
    pixels: Positive
    train_per_class: Positive | None = None
    whitened: bool = False
    test_per_class: Positive | None = None


class Entry(Value):
    """Something that can be stored. `version` rises when the same specification would give other numbers."""

    version: ClassVar[int] = 1
    light: ClassVar[bool] = True
    """Light kinds (numbers, curves, masks) may ship with the book; heavy kinds (weights) stay in the local store."""

    if TYPE_CHECKING:  # a field of some kinds, and what others rest on has it

        @property
        def dataset(self) -> Dataset:
            """The real data set that it is about."""

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()

    @cached_property
    def key(self) -> str:
        """SHA-256, 64 hex digits, of the canonical JSON of kind, version and fields; parents enter by their key."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "version": self.version, "fields": self.facts()}

    @property
    def parents(self) -> tuple[Entry, ...]:
        """The entries that must exist before this one can be computed."""
        return ()


def _plain(value: Any) -> Any:
    if isinstance(value, Entry):
        return {"entry": value.key}
    if isinstance(value, Value):
        return value.facts()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
