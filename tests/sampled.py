"""Which cases of a law are asked in every run of the suite; the others wait for `-m slow`."""

import pytest


def sampled(cases, *always):
    """The cases of a parametrization, all but those of `always` marked as slow.

    A law that costs seconds a case is asked every time of one case of each kind.
    """
    cases = list(cases)
    assert all(one in cases for one in always), always
    as_values = (case if isinstance(case, tuple) else (case,) for case in cases)
    slow = pytest.mark.slow
    return [
        case if case in always else pytest.param(*values, marks=slow)
        for case, values in zip(cases, as_values, strict=True)
    ]
