"""Read the tensors of a safetensors file with NumPy alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {"I8": np.int8, "F32": np.float32}


class Tensors:
    """The tensors of a file, each by its name; nothing is copied.

    Raises:
        ValueError: The bytes do not begin as such a file does.
    """

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[:8], "little")
        self._header: dict[str, Any] = json.loads(data[8 : 8 + size])
        self._data = memoryview(data)[8 + size :]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a tensor.

        Raises:
            KeyError: There is none of that name, or it is of a kind that is not read here.
            ValueError: It is not as long as its shape says.
            TypeError: It is described otherwise than in such files.
        """
        entry = self._header[name]
        first, end = entry["data_offsets"]
        return np.frombuffer(self._data[first:end], KINDS[entry["dtype"]]).reshape(entry["shape"])
