"""A recipe's configuration from the command line: an option for each field."""

from __future__ import annotations

import argparse
from typing import TypeVar

import msgspec

from balustrade.core.spec import Spec

C = TypeVar("C", bound=Spec)


def parsed(kind: type[C], description: str) -> C:
    """Return the configuration that was typed; ends the program if it is none."""
    parser = argparse.ArgumentParser(description=description)
    for field in msgspec.structs.fields(kind):
        parser.add_argument(f"--{field.name.replace('_', '-')}", required=field.required)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    return msgspec.convert(given, kind, strict=False)
