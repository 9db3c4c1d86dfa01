"""The command line: what it prints, what it writes, and that bad input is one line."""

import io
import json
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

from hessop.diagnostics.command_line import main

FUNCTIONS = """
import autograd.numpy as np
import numpy

number = 3.0

def loss(x):
    return np.sum(np.cosh(x)) + x[0] * x[1]

def fit(params, features, targets, penalty=0.1):
    errors = features @ params["w"] + params["b"] - targets
    return np.mean(errors**2) + penalty * np.sum(params["w"] ** 2)

def layers(p):
    first, second = p
    return np.sum(first**2) * np.sum(second**2) + np.sum(first)

def kinked(x):
    return np.sum(np.abs(x) ** 1.5)

def left_graph(x):
    return float(numpy.sum(numpy.asarray([float(getattr(v, "_value", v)) for v in x]) ** 2))

def random(x):
    return np.sum(x**4) + 1e-3 * numpy.random.standard_normal() * np.sum(x**2)

def raises(x):
    raise KeyError("no such key")

def with_keyword(x, *, scale):
    return scale * np.sum(x**2)

def nothing():
    return 0.0

class Model:
    def energy(x):
        return np.sum(x**2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a module and some points."""
    name = f"functions_{tmp_path.name.replace('-', '_')}"  # a module of its own for each test
    (tmp_path / f"{name}.py").write_text(FUNCTIONS)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "syntax.py").write_text("def (:\n")
    (tmp_path / "quits.py").write_text("raise SystemExit(3)\n")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "point.npz", x=np.array([0.3, -0.2, 0.1]))
    np.save(tmp_path / "point.npy", np.array([0.3, -0.2, 0.1]))
    np.savez(tmp_path / "params.npz", w=rng.standard_normal(2), b=np.array(0.5))
    data = {"features": rng.standard_normal((20, 2)), "targets": rng.standard_normal(20)}
    np.savez(tmp_path / "data.npz", **data)
    np.savez(tmp_path / "all.npz", w=np.ones(2), b=np.array(0.5), **data)
    np.savez(tmp_path / "wrong.npz", w=np.ones(7), b=np.array(0.5), **data)
    np.savez(tmp_path / "list.npz", np.ones(2), np.full((2, 2), 0.5))
    np.savez(tmp_path / "nan.npz", x=np.array([0.3, np.nan, 0.1]))
    np.savez(tmp_path / "objects.npz", x=np.array([{}, None], dtype=object))
    np.savez(tmp_path / "texts.npz", x=np.array(["a", "b"]))
    np.savez(tmp_path / "empty.npz")
    (tmp_path / "text.npz").write_text("these are no arrays")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return name


def run(capsys, *argv):
    code = main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return code, out, err


# --- what works -----------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["point.npz", "point.npy"])
def test_a_report_of_a_module_in_the_current_folder(folder, capsys, point):
    code, out, err = run(capsys, "report", f"{folder}:loss", "--at", point)
    assert (code, err) == (0, "")
    assert "Curvature of loss in 3 parameters" in out
    assert "it was not asked for" in out  # the density
    assert max(map(len, out.splitlines())) <= 100


def test_a_report_of_a_file_and_its_outputs(folder, capsys):
    argv = ["report", f"{folder}.py:loss", "--at", "point.npz", "--density", "--eigs", "1"]
    code, out, err = run(capsys, *argv, "--json", "a.json", "--html", "a.html", "--budget", "1m")
    assert (code, err) == (0, "")
    assert "Spectral density" in out
    with open("a.json", encoding="utf-8") as file:
        found = json.load(file)
    assert found["n"] == 3
    assert found["budget"] == "60 s"
    assert len(found["sections"]["eigenvalues"]["tables"][0]["rows"]) == 2
    with open("a.html", encoding="utf-8") as file:
        assert file.read().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    "argv", [["--at", "all.npz"], ["--at", "params.npz", "--args", "data.npz"]]
)
def test_arrays_called_like_parameters_are_arguments(folder, capsys, argv):
    code, out, _ = run(capsys, "report", f"{folder}:fit", *argv)
    assert code == 0
    assert "Curvature of fit in 3 parameters" in out
    assert "x['w']" in out


def test_arrays_without_names_are_a_list(folder, capsys):
    code, out, _ = run(capsys, "report", f"{folder}:layers", "--at", "list.npz")
    assert code == 0
    assert "x[1]" in out


def test_a_default_may_be_given(folder, capsys):
    np.savez("penalty.npz", penalty=np.array(7.0))
    with_data = {**np.load("data.npz"), **np.load("penalty.npz")}
    np.savez("more.npz", **with_data)
    argv = ["report", f"{folder}:fit", "--at", "params.npz", "--json", "a.json"]
    values = []
    for args in ("data.npz", "more.npz"):
        assert run(capsys, *argv, "--args", args)[0] == 0
        with open("a.json", encoding="utf-8") as file:
            values.append(json.load(file)["sections"]["value"]["rows"]["value"]["value"])
    w = np.load("params.npz")["w"]
    assert values[1] - values[0] == pytest.approx(6.9 * np.sum(w**2))


def test_a_function_within_a_class(folder, capsys):
    code, out, _ = run(capsys, "report", f"{folder}:Model.energy", "--at", "point.npz")
    assert code == 0
    assert "Curvature of energy" in out


def test_the_audit_and_its_exit_code(folder, capsys):
    code, out, err = run(capsys, "check", f"{folder}:loss", "--at", "point.npz")
    assert (code, err) == (0, "")
    assert "symmetric" in out
    code, out, _ = run(capsys, "check", f"{folder}:random", "--at", "point.npz")
    assert code == 1
    assert "failed" in out


def test_the_version(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"hessop {version('hessop')}\n"


def test_the_demo(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "demo", "--budget", "1s")
    assert (code, err) == (0, "")
    assert "A network trained on scikit-learn's digits" in out
    assert "x['W1']" in out
    assert list(tmp_path.iterdir()) == []


def test_the_demo_without_its_data(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    code, _, err = run(capsys, "demo")
    assert code == 2
    assert "pip install scikit-learn" in err
    assert err.count("\n") == 1


# --- what does not --------------------------------------------------------------------------------

BAD = {
    "no such module": ("nowhere:loss --at point.npz", "there is no module 'nowhere'"),
    "no such submodule": ("numpy.nowhere:f --at point.npz", "no module 'numpy.nowhere'"),
    "no such file": ("nowhere.py:loss --at point.npz", "there is no file nowhere.py"),
    "no name of a module": ("a-b:loss --at point.npz", "'a-b' is no name of a module"),
    "no function": ("HERE --at point.npz", "names no function, expected MODULE:FUNCTION"),
    "no such function": ("HERE:lose --at point.npz", "has no function 'lose'. It has "),
    "not callable": ("HERE:number --at point.npz", "is a float, expected a function"),
    "a missing import": ("broken:f --at point.npz", "importing broken raised ModuleNotFoundError"),
    "a syntax error": ("syntax:f --at point.npz", "importing syntax raised SyntaxError"),
    "a script": ("quits.py:f --at point.npz", "importing quits.py raised SystemExit: 3"),
    "more arguments": ("HERE:fit --at params.npz", "needs more arguments: 'features', 'targets'"),
    "unknown arguments": ("HERE:loss --at point.npz --args data.npz", "takes no argument 'feat"),
    "a keyword": ("HERE:with_keyword --at point.npz", "needs 'scale' by keyword"),
    "no argument": ("HERE:nothing --at point.npz", "takes no argument, expected the point"),
    "only arguments": ("HERE:fit --at data.npz", "has no array for the point"),
    "no point": ("HERE:loss", "the following arguments are required: --at"),
    "no such point": ("HERE:loss --at nowhere.npz", "there is no file nowhere.npz"),
    "a folder": ("HERE:loss --at .", "cannot be read"),
    "no npz": ("HERE:loss --at text.npz", "text.npz cannot be read as an npz file"),
    "objects": ("HERE:loss --at objects.npz", "arrays of Python objects"),
    "texts": ("HERE:loss --at texts.npz", "expected a real number"),
    "empty": ("HERE:loss --at empty.npz", "has no array for the point"),
    "not finite": ("HERE:loss --at nan.npz", "x[1] is nan, expected a finite number"),
    "another shape": ("HERE:fit --at wrong.npz", "the function raised ValueError: "),
    "another structure": ("HERE:fit --at point.npz --args data.npz", "the function raised "),
    "no dict": ("HERE:loss --at params.npz", "the function raised "),
    "an error": ("HERE:raises --at point.npz", "raised KeyError: 'no such key'. --traceback"),
    "left the graph": ("HERE:left_graph --at point.npz", "autograd"),
    "budget": ("HERE:loss --at point.npz --budget soon", "budget is 'soon', expected a time"),
    "no budget": ("HERE:loss --at point.npz --budget 0", "budget is '0', expected a time"),
    "negative": ("HERE:loss --at point.npz --eigs 0", "eigs is 0, expected a whole number"),
    "no number": ("HERE:loss --at point.npz --eigs ten", "invalid int value: 'ten'"),
    "no folder": ("HERE:loss --at point.npz --json no/a.json", "cannot write no/a.json"),
    "a folder to write": ("HERE:loss --at point.npz --html .", "cannot write ."),
    "unknown option": ("HERE:loss --at point.npz --fast", "unrecognized arguments: --fast"),
}


@pytest.mark.parametrize(("line", "expected"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(folder, capsys, line, expected):
    code, out, err = run(capsys, "report", *line.replace("HERE", folder).split())
    assert code == 2
    assert out == ""
    assert err.startswith("hessop: ")
    assert err.count("\n") == 1, err
    assert expected in err
    assert "Traceback" not in err


@pytest.mark.parametrize("argv", [[], ["nothing"]], ids=["no command", "unknown command"])
def test_a_command_is_needed(capsys, argv):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_a_traceback_on_demand(folder, capsys):
    argv = ["report", f"{folder}:raises", "--at", "point.npz", "--traceback"]
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert "Traceback" in err
    assert 'raise KeyError("no such key")' in err


def test_ctrl_c_is_one_line(folder, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("hessop.diagnostics.command_line.report", interrupt)
    code, out, err = run(capsys, "report", f"{folder}:loss", "--at", "point.npz")
    assert (code, out, err) == (130, "", "hessop: interrupted.\n")


def test_a_terminal_without_unicode(folder, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["report", f"{folder}:loss", "--at", "point.npz"]) == 0
    assert b"? residual" in terminal.buffer.getvalue()


# --- as a process ---------------------------------------------------------------------------------


def test_a_pipe_that_is_closed(folder):
    command = f"{sys.executable} -m hessop report {folder}:loss --at point.npz | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == "Curvature of loss in 3 parameters\n"
