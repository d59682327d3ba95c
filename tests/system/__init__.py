import pytest

pytest.register_assert_rewrite("tests.system.simulated_days")  # the checks of test_half_year
