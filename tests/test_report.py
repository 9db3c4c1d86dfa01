"""The report: its figures against dense NumPy, its three forms, and work that fails."""

import builtins
import json
import math
import sys
from html.parser import HTMLParser

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.linalg

from hessop.diagnostics import report_sections
from hessop.diagnostics.budgets import read_budget
from hessop.diagnostics.findings import Row
from hessop.diagnostics.reports import SCHEMA_VERSION, report
from hessop.operators.hessian import hessian_operator
from hessop.spectrum.estimates import Estimate

NAMES = [
    "size",
    "value",
    "cost",
    "audit",
    "eigenvalues",
    "critical_point",
    "decrement",
    "invariants",
    "effective_dimension",
    "preflight",
    "leaves",
    "density",
]


def bowl(p):
    """Convex, with a Hessian that couples the leaves."""
    a, b = p["a"], p["b"]
    return anp.sum(anp.cosh(a)) + anp.sum(b**2) * (2.0 + anp.sum(a**2)) + 0.1 * anp.sum(a) ** 2


def saddle(x):
    return x[0] ** 2 - 3.0 * x[1] ** 2 + 0.5 * x[2] ** 2


def chain(x):
    return anp.sum((x[1:] - x[:-1]) ** 2) + 0.5 * anp.sum(SLOPE * x**2)


def mixed(x):
    """With a full Hessian, too large to be multiplied out for its spectrum."""
    return 0.5 * anp.sum(anp.sin(x)) ** 2 + anp.sum(x**2 * WEIGHTS)


SLOPE = np.linspace(1.0, 300.0, 3000)
WEIGHTS = np.linspace(0.5, 3.0, 2100)
POINT = {"a": np.array([0.3, -0.1, 0.2, 0.4]), "b": np.array([[0.1, 0.05], [0.2, -0.1]])}


@pytest.fixture(scope="module")
def found():
    return report(bowl, POINT, eigs=3)


@pytest.fixture(scope="module")
def dense():
    return hessian_operator(bowl, POINT)


@pytest.fixture(scope="module")
def H(dense):
    return dense.to_dense(symmetrize=True)


# --- figures --------------------------------------------------------------------------------------


def test_all_sections_are_done(found):
    assert [section.name for section in found.sections] == NAMES
    for section in found.sections:
        assert (section.status, section.reason, section.warnings) == ("done", "", ()), section.name


def test_size_and_value(found, dense):
    assert found.n == found["size"]["parameters"] == 8
    assert found["size"]["leaves"] == 2
    assert found["size"]["mode"] == "reverse-over-reverse"
    (leaves,) = found["size"].tables
    assert leaves.rows == (("x['a']", "(4,)", 4), ("x['b']", "(2, 2)", 4))
    assert found["value"]["value"] == dense.value
    assert found["value"]["gradient norm"] == pytest.approx(np.linalg.norm(dense.gradient))
    assert abs(found["value"]["largest entry"]) == np.abs(dense.gradient).max()


def test_cost(found):
    rows = found["cost"].rows
    assert rows["product"].value > 0.0
    assert rows["product / gradient"].value > 0.0
    assert rows["product"].unit in ("s", "ms", "µs")


def test_the_audit_passes(found):
    assert found["audit"]["passed"] is True
    (checks,) = found["audit"].tables
    assert set(checks.column("verdict")) <= {"passed", "skipped"}


def test_eigenvalues(found, H):
    values = np.linalg.eigvalsh(H)
    (table,) = found["eigenvalues"].tables
    expected = np.r_[values[:3], values[-3:]][::-1]
    np.testing.assert_allclose(table.column("eigenvalue"), expected, rtol=1e-10)
    assert max(table.column("residual")) < 1e-12
    assert found["eigenvalues"]["largest"] == pytest.approx(values[-1])
    assert found["eigenvalues"]["smallest"] == pytest.approx(values[0])


def test_decrement(found, dense, H):
    g = dense.gradient
    square = g @ np.linalg.solve(H, g)
    assert found["decrement"]["Newton decrement"] == pytest.approx(math.sqrt(square))
    assert found["decrement"]["half its square"] == pytest.approx(square / 2)


def test_invariants(found, H):
    values = np.linalg.eigvalsh(H)
    assert found["invariants"]["condition number"] == pytest.approx(values[-1] / values[0])
    assert found["invariants"]["trace"] == pytest.approx(np.trace(H))
    assert found["invariants"]["Frobenius norm"] == pytest.approx(np.linalg.norm(H))
    assert found["invariants"]["log-determinant"] == pytest.approx(np.linalg.slogdet(H)[1])


def test_effective_dimension(found, H):
    values = np.linalg.eigvalsh(H)
    rows = found["effective_dimension"].rows
    assert len(rows) == 4
    for label, row in rows.items():
        damping = float(label.removeprefix("at damping "))
        assert row.value == pytest.approx(np.sum(values / (values + damping)))


def test_leaves(found, H):
    (table,) = found["leaves"].tables
    assert table.column("leaf") == ["x['a']", "x['b']"]
    for row, part in zip(table.rows, (slice(0, 4), slice(4, 8)), strict=True):
        block = H[part, part]
        values = np.linalg.eigvalsh(block)
        named = dict(zip(table.columns, row, strict=True))
        assert named["trace"] == pytest.approx(np.trace(block))
        assert named["smallest"] == pytest.approx(values[0])
        assert named["largest"] == pytest.approx(values[-1])


def test_density(found, H):
    values = np.linalg.eigvalsh(H)
    section = found["density"]
    assert section["mean"] == pytest.approx(values.mean())
    assert values.min() <= section["median"] <= values.max()
    assert section["share at zero"] == 0.0
    (table,) = section.tables
    for low, high, count, _, share in table.rows:
        inside = np.sum((values >= low * (1 - 1e-12)) & (values <= high * (1 + 1e-12)))
        assert count == pytest.approx(inside, abs=1e-9)
        assert share == pytest.approx(count / 8)
    assert sum(table.column("count")) == pytest.approx(8)
    (curve,) = section.curves
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(1.0, abs=1e-2)


def test_a_saddle():
    found = report(saddle, np.array([0.0, 0.0, 0.0]))
    assert found["critical_point"]["kind"] == "saddle"
    assert found["critical_point"]["negative eigenvalues"] == 1
    assert found["critical_point"]["positive eigenvalues"] == 2
    row = found["decrement"].rows["Newton decrement"]
    assert row.value is None
    assert "1 negative" in row.note
    row = found["invariants"].rows["log-determinant"]
    assert row.value is None
    assert row.note
    assert found["leaves"].status == "skipped"
    assert "single array" in found["leaves"].reason


def test_a_sparse_hessian_is_exact_however_large():
    n = SLOPE.size
    found = report(chain, np.cos(np.arange(n)), eigs=1, density=False)
    assert found["size"]["nonzeros"] == 3 * n - 2
    assert found["cost"]["matrix"] == "kept sparse"
    stiffness = np.r_[2.0, np.full(n - 2, 4.0), 2.0]
    values = scipy.linalg.eigvalsh_tridiagonal(stiffness + SLOPE, np.full(n - 1, -2.0))
    assert found["eigenvalues"]["largest"] == pytest.approx(values[-1])
    assert found["eigenvalues"]["smallest"] == pytest.approx(values[0])
    assert found["invariants"]["trace"] == pytest.approx(values.sum())
    assert found["invariants"]["log-determinant"] == pytest.approx(np.log(values).sum())
    assert found["critical_point"]["positive eigenvalues"] == n


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [20, 300])
def test_a_budget_of_products(budget):
    found = report(mixed, np.linspace(0.0, 1.0, 2100), budget=budget)
    assert found.budget == f"{budget:,} products"
    assert found.n_matvec <= 1.25 * budget + 30  # a section that has begun ends soon after
    assert found["size"].status == found["value"].status == "done"
    assert [section.name for section in found.sections] == NAMES
    if budget == 20:
        skipped = [section for section in found.sections if section.status == "skipped"]
        assert any("the budget, 20 products, was spent" in one.reason for one in skipped)


def test_a_budget_of_time():
    found = report(mixed, np.linspace(0.0, 1.0, 2100), budget="300ms")
    assert found.seconds < 3.0
    assert found["value"].status == "done"


@pytest.mark.parametrize(
    ("budget", "seconds", "products"),
    [
        (None, None, None),
        (7, None, 7),
        ("7", None, 7),
        ("30s", 30.0, None),
        (" 1.5 h ", 5400.0, None),
        ("2m", 120.0, None),
        ("500ms", 0.5, None),
    ],
)
def test_budgets_that_are_read(budget, seconds, products):
    limit = read_budget(budget)
    assert (limit.seconds, limit.products) == (seconds, products)


@pytest.mark.parametrize("budget", ["", "soon", "0s", "-1s", "s", "1 day", 0, -3, 1.5, True, "1e3"])
def test_budgets_that_are_refused(budget):
    with pytest.raises(ValueError, match=r"budget is .* expected a time such as '30s'"):
        report(saddle, np.ones(3), budget=budget)


def test_bad_arguments():
    with pytest.raises(ValueError, match="eigs is 0"):
        report(saddle, np.ones(3), eigs=0)
    with pytest.raises(ValueError, match="expected a finite number"):
        report(saddle, np.array([1.0, np.nan, 1.0]))
    with pytest.raises(TypeError, match=r"scalar|number"):
        report(lambda x: x, np.ones(3))


# --- what fails, and what is interrupted ----------------------------------------------------------


def replaced(monkeypatch, name, compute):
    plans = [
        report_sections.Plan(plan.name, plan.title, plan.about, plan.weight, compute)
        if plan.name == name
        else plan
        for plan in report_sections.PLANS
    ]
    monkeypatch.setattr("hessop.diagnostics.reports.PLANS", tuple(plans))


def test_a_section_that_fails_says_so_and_the_rest_goes_on(monkeypatch):
    def fails(*_):
        yield Row("before", 1.0)
        raise RuntimeError("no luck")

    replaced(monkeypatch, "eigenvalues", fails)
    found = report(bowl, POINT)
    section = found["eigenvalues"]
    assert (section.status, section.reason) == ("failed", "RuntimeError: no luck")
    assert section["before"] == 1.0
    assert found["invariants"]["trace"] > 0.0
    assert found["density"].status == "done"
    for form in (str(found), found.to_json(), found.to_html()):
        assert "RuntimeError: no luck" in form


def test_ctrl_c_leaves_what_is_done(monkeypatch):
    def interrupted(*_):
        yield Row("before", 1.0)
        raise KeyboardInterrupt

    replaced(monkeypatch, "invariants", interrupted)
    found = report(bowl, POINT)
    statuses = [section.status for section in found.sections]
    at = NAMES.index("invariants")
    assert statuses == ["done"] * at + ["interrupted"] + ["skipped"] * (len(NAMES) - at - 1)
    assert found["invariants"]["before"] == 1.0
    assert "interrupted" in str(found)


def test_work_that_was_interrupted_ends_the_report(monkeypatch):
    """Estimators catch Ctrl-C by themselves, and say so in their result."""

    def interrupted(*_, **__):
        return Estimate(1.5, 0.1, 10, "xtrace", "interrupted")

    monkeypatch.setattr("hessop.diagnostics.spectral_sections.trace", interrupted)
    found = report(bowl, POINT)
    section = found["invariants"]
    assert section.status == "interrupted"
    assert section.rows["trace"] == Row("trace", 1.5, 0.1, "", "xtrace, 10 products, interrupted")
    assert "Frobenius norm" not in section.rows
    assert found["density"].reason == "interrupted before it began."


def test_integers_are_a_point_too():
    found = report(lambda x: anp.sum(x**-1.0 + x), np.array([1, 2, 4]))
    assert {section.status for section in found.sections} == {"done", "skipped"}


def test_many_leaves_with_long_names():
    pytest.importorskip("matplotlib")
    point = {f"layer {i} of a network": {"weights": np.full(2, 0.1 * i)} for i in range(14)}

    def fun(p):
        return sum(anp.sum(anp.cosh(leaf["weights"])) for leaf in p.values())

    found = report(fun, point)
    assert len(found["leaves"].tables[0].rows) == 14
    assert max(map(len, str(found).splitlines())) <= 100
    assert "of the 10 leaves where it is largest" in found.to_html()


def test_warnings_are_part_of_the_report(monkeypatch):
    import warnings

    def warns(*_):
        warnings.warn("take care", UserWarning, stacklevel=1)
        warnings.warn("take care", UserWarning, stacklevel=1)
        yield Row("after", 1.0)

    replaced(monkeypatch, "audit", warns)
    found = report(bowl, POINT)
    assert found["audit"].warnings == ("take care",)
    assert "! take care" in str(found)


def test_a_gradient_alone():
    found = report(None, np.array([1.0, 2.0]), grad=lambda x: np.array([2.0, 6.0]) * x)
    assert found["value"]["value"] is None
    assert found["eigenvalues"]["largest"] == pytest.approx(6.0)
    assert "failed" not in [section.status for section in found.sections]


def test_a_fault_is_found():
    rng = np.random.default_rng(0)
    found = report(
        lambda x: anp.sum(x**4) + 0.1 * rng.standard_normal() * anp.sum(x**2), np.ones(4)
    )
    assert found["audit"]["passed"] is False


# --- its forms ------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_report():
    first, second = (report(mixed, np.linspace(0.0, 1.0, 2100), budget=300) for _ in range(2))
    for name in ("eigenvalues", "invariants", "density"):
        one, two = first[name].to_dict(), second[name].to_dict()
        del one["seconds"], two["seconds"]
        assert one == two


def test_text(found):
    page = str(found)
    assert repr(found).startswith("<CurvatureReport of bowl in 8 parameters: 12 of 12 sections")
    assert "\n" not in repr(found)
    for section in found.sections:
        assert f"\n{section.title}\n{'-' * len(section.title)}\n" in page
    assert max(map(len, page.splitlines())) <= 100
    assert page == "\n".join(line.rstrip() for line in page.splitlines())
    assert "█" in page


def test_json_is_strict_and_complete(found, tmp_path):
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    path = tmp_path / "report.json"
    written = found.to_json(path)
    assert path.read_text(encoding="utf-8") == written
    again = json.loads(written, parse_constant=refuse)
    assert again == found.to_dict()
    assert again["schema_version"] == SCHEMA_VERSION == 1
    assert list(again["sections"]) == NAMES
    keys = {
        "title",
        "status",
        "reason",
        "rows",
        "tables",
        "curves",
        "warnings",
        "seconds",
        "n_matvec",
    }
    for section in again["sections"].values():
        assert set(section) == keys
        for row in section["rows"].values():
            assert set(row) == {"value", "error", "unit", "note"}
        for table in section["tables"]:
            assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert again["sections"]["invariants"]["rows"]["trace"]["value"] == found["invariants"]["trace"]


def test_numbers_that_json_does_not_have(monkeypatch):
    def odd(*_):
        for value in (math.nan, math.inf, -math.inf, np.float32(0.5), np.int64(3), np.bool_(True)):
            yield Row(f"{value}", value)

    replaced(monkeypatch, "audit", odd)
    found = report(saddle, np.ones(3))
    rows = json.loads(found.to_json())["sections"]["audit"]["rows"]
    values = [row["value"] for row in rows.values()]
    assert values == ["NaN", "Infinity", "-Infinity", 0.5, 3, True]
    assert float(values[1]) == math.inf


class Page(HTMLParser):
    """Its elements, and whether they are closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            if key in ("href", "src", "xlink:href", "data"):
                self.links.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    parser = Page()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_html_is_well_formed_and_needs_nothing_else(found, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "report.html"
    content = found.to_html(path)
    assert path.read_text(encoding="utf-8") == content
    page = read(content)
    assert content.startswith("<!DOCTYPE html>")
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert any(attrs.get("name") == "viewport" for _, attrs in page.tags)
    assert "http" not in content
    assert "@import" not in content
    assert "script" not in {tag for tag, _ in page.tags}
    assert all(link.startswith(("#", "data:,")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    for section in found.sections:
        assert section.title in page.text
        assert section.name.replace("_", "-") in page.ids
    plots = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(plots) == 3
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for attrs in plots)


def test_html_escapes_what_users_name(monkeypatch):
    def evil(x):
        return anp.sum(x["<b>&'\"</b>"] ** 2)

    evil.__name__ = "<script>alert(1)</script>"
    page = read(report(evil, {"<b>&'\"</b>": np.ones(2)}).to_html())
    assert not {"script", "b"} & {tag for tag, _ in page.tags}


def without_matplotlib(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_matplotlib(found, monkeypatch):
    without_matplotlib(monkeypatch)
    content = found.to_html()
    assert "matplotlib is not installed" in content
    assert "<svg" not in content
    with pytest.raises(ImportError, match="pip install matplotlib"):
        found.plot()


def test_plot(found):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = found.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Extreme eigenvalues", "Curvature by leaf", "Spectral density"]
    pyplot.close(figure)


def test_sections_and_rows_are_found_by_name(found):
    with pytest.raises(KeyError, match=r"no section 'spectrum', expected one of: 'size'"):
        found["spectrum"]
    with pytest.raises(KeyError, match=r"value has no row 'norm', expected one of: 'value'"):
        found["value"]["norm"]


def test_progress_shows_a_bar(capsys):
    pytest.importorskip("tqdm")
    report(saddle, np.ones(3), progress=True)
    assert "report: 100%" in capsys.readouterr().err
