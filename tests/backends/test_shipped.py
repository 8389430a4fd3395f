from __future__ import annotations

import subprocess
import sys

import pytest

from balustrade.backends.onnx import Onnx
from balustrade.backends.recurrent import Recurrent
from balustrade.backends.route import Route
from balustrade.backends.shipped import BACKENDS, makers, require_shipped
from balustrade.backends.static import Static
from balustrade.backends.tiers import Tiers
from balustrade.core.call import Classify, Vectors
from balustrade.shipped import SHIPPED


def test_each_shipped_model_has_a_backend_that_is_made_once() -> None:
    assert set(BACKENDS) == SHIPPED
    made = makers()
    kinds = {name: type(make()) for name, make in made.items()}
    assert kinds == {
        "static": Static,
        "encoder": Onnx,
        "cascade": Tiers,
        "ensemble": Tiers,
        "monitor": Recurrent,
    }
    assert made["cascade"]() is made["cascade"]()
    assert makers()["static"]() is not made["static"]()


def test_nothing_is_read_before_it_is_needed() -> None:
    route = Route(makers())
    assert route.load() == []
    [reply] = route.send((Classify("static", ("hello",)),))
    assert isinstance(reply, Vectors)
    assert route.load() == []
    route.close()


@pytest.mark.parametrize("model", ["encoder", "cascade", "ensemble"])
def test_a_model_that_cannot_run_here_names_the_extra(model: str) -> None:
    code = f"""if True:
        import sys
        sys.modules["onnxruntime"] = None
        from balustrade.backends.shipped import require_shipped
        from balustrade.core.errors import MissingExtraError
        require_shipped(["static", "elsewhere"])
        try:
            require_shipped([{model!r}])
        except MissingExtraError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        f"model {model!r} needs the module 'onnxruntime'; "
        "install it with: pip install 'balustrade[onnx]'"
    )
    require_shipped([model])
