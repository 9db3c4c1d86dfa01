"""The examples run from an empty folder, save their figures, and find what they say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_runs_from_an_empty_folder(path, tmp_path):
    command = [sys.executable, "-W", "error", str(path), "--figure", "figure.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def found_by(name):
    path = next(path for path in EXAMPLES if path.stem == name)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([])


def test_digits_newton():
    found = found_by("digits_newton")
    assert found["gradient_norm"] < 1e-6
    assert found["loss_difference"] < 1e-8
    assert found["accuracy"] > 0.97
    assert found["cg_residual"] < 1e-9
    assert found["minres_residual"] < 1e-6
    assert found["step_difference"] < 1e-5
    assert len(found["largest"]) == 10
    assert len(found["smallest"]) == 5
    assert found["smallest"].min() > 0
    assert found["largest"].max() > found["largest"].min() > found["smallest"].max()
    # The network's Hessian is indefinite at the start, and not at the end.
    assert found["network_smallest"][0] < -0.1
    assert found["network_smallest"][-1] > 0
    assert found["network_accuracy"] > 0.99


def test_scipy_tour():
    errors = found_by("scipy_tour")
    assert len(errors) == 15
    for solver, error in errors.items():
        assert error < 1e-6, solver


def test_gradient_only():
    found = found_by("gradient_only")
    assert found["energy"] == pytest.approx(-279.248470, abs=1e-6)
    assert found["energy_by_scipy"] == pytest.approx(-279.248470, abs=1e-6)
    assert found["gradient_norm"] < 1e-6
    for error, estimate in found["errors"].values():
        assert error < 1e-5
        assert error < 10 * estimate
    # Three translations and three rotations are free, everything else is stiff.
    assert np.abs(found["eigenvalues"][:6]).max() < 1e-4
    assert found["eigenvalues"][6] > 1.0
