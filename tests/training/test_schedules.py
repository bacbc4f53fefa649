import pytest

from videossl.training.schedules import cosine, steps


def test_the_cosine_peaks_after_the_warmup_is_half_in_the_middle_and_ends_at_zero():
    rate = cosine(2.0, warmup=0.1)
    assert rate(0.0) < 0.05
    assert rate(0.1) == pytest.approx(2.0)
    assert rate(0.55) == pytest.approx(1.0)
    assert rate(1.0) == pytest.approx(0.0, abs=1e-12)


def test_steps_divide_the_rate_by_ten_at_each_drop():
    rate = steps(1.0, (0.5, 0.8))
    assert [rate(p) for p in (0, 0.49, 0.5, 0.79, 0.8, 1.0)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
