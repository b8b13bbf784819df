import pytest

from ops.bench import spread


def test_a_spread_is_quoted_by_its_median_its_least_and_its_most() -> None:
    """One slow round moves an end of it, not what is quoted."""
    assert spread.of([900, 1100, 1000, 1050, 20]).told(0) == "1,000 (20–1,100)"
    assert spread.of([1.25, 1.5]).told(2) == "1.38 (1.25–1.50)"


def test_a_single_round_has_no_spread() -> None:
    """Two ends that are the same would look like a steady figure."""
    assert spread.of([12.345]).told(1) == "12.3"


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which the machine was slow for both does not count against either."""
    ratio = spread.of_ratios([1000, 500, 900], [500, 250, 300])
    assert ratio.rounds == (2, 2, 3)
    assert (ratio.median, ratio.least, ratio.most) == (2, 2, 3)


def test_rounds_that_are_no_pairs_have_no_ratio() -> None:
    """Figures of different rounds are not held against each other."""
    with pytest.raises(ValueError, match="shorter"):
        spread.of_ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0.5, 1), (98.5, 99)]
)
def test_a_percentile_is_one_of_the_figures(percent: float, expected: float) -> None:
    """The least that so many percent do not exceed."""
    assert spread.percentile(list(range(100, 0, -1)), percent) == expected


def test_of_a_few_figures_the_99th_percentile_is_the_largest() -> None:
    """Nothing is smoothed away."""
    assert spread.percentile([3, 1, 2], 99) == 3
