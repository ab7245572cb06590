"""Load drop-ins by name, so that a new market or policy is one new file and no edit elsewhere."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from bessai.errors import ConfigError


def load_plugin(package: str, name: str, entry: str, *, field: str) -> Callable[..., object]:
    """The function ``entry`` of the module ``name`` in the folder package ``package``.

    A module without that function is a helper of the folder, not a drop-in.

    Raises:
        ConfigError: no such drop-in (lists the known ones), or it needs a package that is absent.
    """
    if name not in _module_names(package):
        raise _unknown(package, name, entry, field)
    try:
        module = import_module(f"{package}.{name}")
    except ImportError as error:
        raise ConfigError(
            f"cannot be loaded ({error})",
            field=field,
            value=repr(name),
            fix="install what it needs",
        ) from error
    found = _entry_of(module, entry)
    if found is None:
        raise _unknown(package, name, entry, field)
    return found


def known_plugins(package: str, entry: str) -> list[str]:
    """Names of the drop-ins of ``package`` that can be loaded here, sorted."""
    return sorted(name for name in _module_names(package) if _loads(package, name, entry))


def _module_names(package: str) -> list[str]:
    return [m.name for m in pkgutil.iter_modules(import_module(package).__path__)]


def _entry_of(module: ModuleType, entry: str) -> Callable[..., object] | None:
    # An imported helper of the same name does not make a module a drop-in.
    found: object = vars(module).get(entry)
    if callable(found) and getattr(found, "__module__", None) == module.__name__:
        return found
    return None


def _loads(package: str, name: str, entry: str) -> bool:
    try:
        return _entry_of(import_module(f"{package}.{name}"), entry) is not None
    except ImportError:
        return False


def _unknown(package: str, name: str, entry: str, field: str) -> ConfigError:
    known = ", ".join(known_plugins(package, entry))
    kind = package.rpartition(".")[2]
    return ConfigError(
        f"is not one of the known {kind}", field=field, value=repr(name), fix=f"use one of {known}"
    )
