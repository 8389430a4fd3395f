"""Devices, and that guards on one take turns."""

from __future__ import annotations

import subprocess
import sys
from threading import Thread
from time import sleep

import pytest

from balustrade.backends.device import device_of, lock_of
from balustrade.backends.lengths import batches
from balustrade.core.errors import BackendError

pytest.importorskip("torch")


def test_a_device_is_the_one_named_or_the_environment_s() -> None:
    assert device_of("cpu") == "cpu"
    assert device_of("", {"BALUSTRADE_DEVICE": "cpu"}) == "cpu"
    assert device_of("", {}) in {"cpu", "cuda"}


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu0", "cuda:"])
def test_an_unknown_device_is_refused_by_name(name: str) -> None:
    with pytest.raises(BackendError, match=r"no device is named|is not there"):
        device_of(name)


def test_a_gpu_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(BackendError, match="use device cpu, or install a torch built for it"):
        device_of("cuda:64")


def test_guards_on_one_device_take_turns() -> None:
    at_once, most = 0, 0

    def work(device: str) -> None:
        nonlocal at_once, most
        with lock_of(device), lock_of(device):
            at_once += 1
            most = max(most, at_once)
            sleep(0.005)
            at_once -= 1

    threads = [Thread(target=work, args=(name,)) for name in ("cuda", "cuda:0") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert lock_of("cpu") is not lock_of("cuda")


def test_batches_hold_like_lengths_within_their_bounds() -> None:
    lengths = [5, 100, 7, 6, 90, 300, 8]
    made = list(batches(lengths, most=3, tokens=200))
    assert [[lengths[slot] for slot in batch] for batch in made] == [
        [5, 6, 7],
        [8, 90],
        [100],
        [300],
    ]
    assert sorted(slot for batch in made for slot in batch) == list(range(len(lengths)))
    assert list(batches([], 3, 10)) == []


def test_without_torch_a_hub_model_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from balustrade.backends.route import Route\n"
        "from balustrade.core.call import Generate\n"
        "print(Route({}).send((Generate('hub:tiny', ('x',), raw=True),))[0].error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "a model on the hub needs the module 'torch'; "
        "install it with: pip install 'balustrade[torch]'"
    )
