"""Imports point one way, and optional packages are imported lazily."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hessop"

# From the bottom up; a room imports from those below it and from itself.
LAYERS = (
    {"_errors", "_lengths", "_progress", "_tracing", "params", "likelihoods"},
    {"differentiate", "tape"},
    {"operators"},
    {"optimize", "solvers", "spectrum"},
    {"applications", "diagnostics"},
    {"__main__"},
)
# Rooms side by side that do not know each other.
STRANGERS = {("differentiate", "tape"), ("tape", "differentiate")}
OPTIONAL = {"sklearn", "matplotlib", "tqdm", "jax", "torch", "sksparse"}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
IDS = [str(path.relative_to(PACKAGE)) for path in MODULES]


def room(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def layer(name):
    return next(level for level, rooms in enumerate(LAYERS) if name in rooms)


def imports(path):
    """(imported module, whether on the module's own level) for each import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module, node in tree.body


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_no_arrow_points_up(path):
    for module, _ in imports(path):
        if module.startswith("hessop."):
            other = module.split(".")[1]
            assert layer(other) <= layer(room(path)), f"{path} imports {module}"
            assert (room(path), other) not in STRANGERS, f"{path} imports {module}"
        assert module != "hessop", f"{path} imports the package from within"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_autograd_is_known_to_few(path):
    uses = any(module.split(".")[0] == "autograd" for module, _ in imports(path))
    assert not uses or room(path) in {"_tracing", "differentiate", "tape", "likelihoods"}


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_optional_packages_are_imported_where_they_are_used(path):
    for module, on_top in imports(path):
        assert not (on_top and module.split(".")[0] in OPTIONAL), f"{path} imports {module}"


def test_no_file_is_named_like_a_name_that_it_exports():
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = {getattr(node, "name", None) for node in tree.body}
        assert path.stem not in defined


def test_no_file_grows_past_four_hundred_lines():
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path


def test_importing_hessop_loads_no_optional_package():
    code = f"import sys, hessop; print(sorted({OPTIONAL} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
