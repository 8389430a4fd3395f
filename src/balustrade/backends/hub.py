"""Answer calls with a guard model from the hub or a folder, whatever it is built as.

Names that begin with `hub:` come here without being listed anywhere. Generation calls are answered
by the model as a causal language model, classification calls as a sequence classifier, or by the
token heads of Qwen3Guard-Stream, and growing texts are read by a streaming content monitor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property

from msgspec import Struct

from balustrade.backends import pretrained, qwen3guard
from balustrade.backends.decoder import Decoder
from balustrade.backends.device import device_of, lock_of
from balustrade.backends.scm import Scm
from balustrade.backends.torch import Torch
from balustrade.core.call import Advance, Call, Classify, Failed, Generate, Reply
from balustrade.core.errors import BackendError, MissingExtraError


class Hub(Struct, frozen=True, dict=True):
    """One model; its weights are read when they are first needed, and once."""

    name: str
    """A name on the hub, or the path of a folder."""
    device: str = ""
    """Where it runs; if empty, where the environment says, or on a GPU if there is one."""
    batch: int = 32

    def send(self, calls: tuple[Call, ...]) -> list[Reply]:
        """Answer each call in order; what cannot be answered is a failure."""
        return [self._answer(call) for call in calls]

    async def asend(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer the calls in a thread, off the loop."""
        return await asyncio.to_thread(self.send, calls)

    def _answer(self, call: Call) -> Reply:
        try:
            with lock_of(self._device):
                match call:
                    case Generate():
                        return self._decoder.answer(call)
                    case Classify():
                        return self._classify(call)
                    case Advance():
                        return self._monitor.answer(call)
                    case _:
                        return Failed(
                            f"model {self.name!r} writes, classifies or reads on, and no more"
                        )
        except (BackendError, MissingExtraError) as error:
            return Failed(str(error))

    @cached_property
    def _device(self) -> str:
        return device_of(self.device)

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.name, self._device, self.batch)

    @cached_property
    def _monitor(self) -> Scm:
        return Scm(self.name, self._device, self.batch)

    @cached_property
    def _classifier(self) -> Torch | qwen3guard.Qwen3Guard:
        kinds = pretrained.settings(self.name).get("architectures") or []
        if qwen3guard.ARCHITECTURE in kinds:
            return qwen3guard.Qwen3Guard(self.name, self._device, self.batch)
        return Torch(self.name, self._device, self.batch)

    def _classify(self, call: Classify) -> Reply:
        if isinstance(self._classifier, Torch):
            [reply] = self._classifier.send((call,))
            return reply
        return self._classifier.answer(call)
