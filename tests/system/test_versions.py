"""The lowest versions that pyproject.toml allows are those that .ci/run tests."""

import re

from tests.conftest import PROJECT

# A requirement with a lower bound, as it stands in pyproject.toml, the extras of the package aside.
BOUND = re.compile(r'^ *"?(?:[a-z]+ = \[)?"([a-z0-9-]+)(\[[a-z,]+\])?>=([0-9.]+)', re.MULTILINE)
NOT_TESTED = {"setuptools", "import-linter", "mypy", "ruff"}  # what builds and lints


def test_lowest_versions_are_the_bounds() -> None:
    pyproject = (PROJECT / "pyproject.toml").read_text()
    pinned = dict(
        line.split("==")
        for line in (PROJECT / "tests" / "lowest.txt").read_text().splitlines()
        if not line.startswith("#")
    )

    bounds = {}
    for name, extra, version in BOUND.findall(pyproject):
        if name not in NOT_TESTED:
            bounds[name] = version
            if extra:
                bounds[f"{name}-{extra[1:-1]}"] = version

    assert pinned == bounds


def test_ci_tests_the_lowest_versions() -> None:
    assert "--constraint tests/lowest.txt" in (PROJECT / ".ci" / "run").read_text()
