"""The methods that commands offer: every question in `videossl/methods/`. None is registered: its file is found."""

import dataclasses
import importlib
import pkgutil
from functools import reduce
from operator import or_

import videossl.methods


def questions() -> tuple[type, ...]:
    """The frozen dataclasses there that can `sample` and `build`, sorted by the names of their files.

    One that cannot be made without arguments (`Joint`) is for Python alone.

    Raises:
        TypeError: one of them is no whole method.
    """
    found = []
    for module in sorted(info.name for info in pkgutil.iter_modules(videossl.methods.__path__, "videossl.methods.")):
        try:
            members = vars(importlib.import_module(module)).values()
        except ImportError as error:
            error.add_note(f"while looking for methods in {module}")
            raise
        for item in members:
            ours = isinstance(item, type) and item.__module__ == module and dataclasses.is_dataclass(item)
            if ours and hasattr(item, "sample") and hasattr(item, "build") and has_defaults(item):
                if lacking := [name for name in ("check", "chance") if not hasattr(item, name)]:
                    raise TypeError(f"{item.__name__} in {module} lacks {' and '.join(lacking)} (methods/base.py)")
                found.append(item)
    return tuple(found)


def has_defaults(kind: type) -> bool:
    """Whether all fields of a dataclass have a default."""
    missing = dataclasses.MISSING
    return all(f.default is not missing or f.default_factory is not missing for f in dataclasses.fields(kind))


Question = reduce(or_, questions())  # a union of methods is all the registry there is
