"""The lower bounds in pyproject.toml, which .ci/run tests."""

import re

from tests.conftest import PROJECT

# A line of pyproject.toml that requires a library with a lower bound.
BOUND = re.compile(r'^ *"?(?:[a-z]+ = \[)?"([a-z0-9-]+)(\[[a-z,]+\])?>=([0-9.]+)', re.MULTILINE)
NOT_TESTED = {"setuptools", "import-linter", "mypy", "ruff"}  # used to build and lint only


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
