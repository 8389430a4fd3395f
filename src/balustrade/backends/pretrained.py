"""Read models and tokenizers from the hub or a folder, so that every failure says what to do.

Only safetensors are read and no code of a repository is ever run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from balustrade.core.errors import BackendError
from balustrade.core.registry import require

TOKENIZERS = {
    "DuoGuard/DuoGuard-0.5B": "Qwen/Qwen2.5-0.5B",
    "DuoGuard/DuoGuard-1.5B-transfer": "Qwen/Qwen2.5-1.5B",
    "DuoGuard/DuoGuard-1B-Llama-3.2-transfer": "meta-llama/Llama-3.2-1B",
}
"""Where a tokenizer lies that is not beside its model (DuoGuard, `evaluate_duoguard.py`)."""


def torch_for(name: str) -> Any:  # noqa: ANN401 - torch is optional, so it is unknown to the types
    """Return torch on behalf of a model, or raise MissingExtraError."""
    return require(f"model {name!r}", "torch")


def transformers_for(name: str) -> Any:  # noqa: ANN401
    """Return transformers on behalf of a model, or raise MissingExtraError."""
    _ = torch_for(name)
    return require(f"model {name!r}", "transformers")


def model(name: str, kind: str, device: str) -> Any:  # noqa: ANN401
    """Return a model ready to run: in float32 on a CPU, as it was saved elsewhere.

    Args:
        name: On the hub, or a folder.
        kind: The class of transformers that reads it.
        device: Where it runs.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        BackendError: There is no such model, it is of another kind, or it does not fit.
    """
    torch = torch_for(name)
    made, found = _read(name, kind, use_safetensors=True, output_loading_info=True)
    absent = sorted(found["missing_keys"])
    if absent:
        # transformers fills them with random numbers, which would judge as surely as any.
        raise BackendError(f"model {name!r} is no {kind}: its weights lack {absent[0]!r}")
    try:
        made = made.to(device).eval()
        return made.float() if device == "cpu" else made
    except torch.OutOfMemoryError as error:
        raise BackendError(f"model {name!r} does not fit on device {device!r}") from error


def tokenizer(name: str) -> Any:  # noqa: ANN401
    """Return a model's tokenizer, with a token to pad with."""
    made = _read(TOKENIZERS.get(name, name), "AutoTokenizer")
    if made.pad_token is None:
        made.pad_token = made.eos_token
    return made


def settings(name: str) -> dict[str, Any]:
    """Return what `config.json` says."""
    transformers = transformers_for(name)
    _require_folder(name)
    try:
        found: dict[str, Any] = transformers.PretrainedConfig.get_config_dict(name)[0]
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    return found


def weights(name: str, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """Return a model's tensors by their names, of those that are wanted.

    Raises:
        MissingExtraError: safetensors is not installed.
        BackendError: There is no such model, or it holds no safetensors.
    """
    opened = cast("Any", require(f"model {name!r}", "safetensors")).safe_open
    folder = Path(name)
    if not folder.is_dir():
        hub = cast("Any", require(f"model {name!r}", "huggingface_hub"))
        try:
            folder = Path(hub.snapshot_download(name, allow_patterns="*.safetensors"))
        except (OSError, ValueError) as error:
            raise BackendError(f"model {name!r} cannot be fetched: {error}") from error
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BackendError(f"model {name!r} holds no safetensors")
    found: dict[str, Any] = {}
    for file in files:
        with opened(file, "pt") as held:
            found |= {key: held.get_tensor(key) for key in held.keys() if wanted(key)}  # noqa: SIM118
    return found


def _read(name: str, kind: str, **options: Any) -> Any:  # noqa: ANN401
    transformers = transformers_for(name)
    _require_folder(name)
    try:
        with _quiet(transformers):
            return getattr(transformers, kind).from_pretrained(name, **options)
    except (OSError, ValueError, ImportError) as error:
        raise _unreadable(name, error) from error


@contextmanager
def _quiet(transformers: Any) -> Generator[None]:  # noqa: ANN401
    """Keep progress bars, and reports of weights that are not asked for, off what others read."""
    logging = transformers.utils.logging
    shown, told = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(told)
        if shown:
            logging.enable_progress_bar()


def _require_folder(name: str) -> None:
    if not Path(name).is_dir() and name.startswith((".", "/", "~")):
        raise BackendError(
            f"model {name!r}: there is no such folder; give a folder with config.json, "
            "safetensors and a tokenizer, or a name on the hub"
        )


def _unreadable(name: str, error: Exception) -> BackendError:
    first = str(error).strip().partition("\n")[0]
    return BackendError(
        f"model {name!r} cannot be loaded: {first}; check the name, log in if the model is gated, "
        "or give a folder that holds it"
    )
