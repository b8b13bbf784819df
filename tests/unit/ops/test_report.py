from pathlib import Path

import pytest

from ops.bench import judging, report

PAGE = """# By hand

<!-- figures: `python -m ops.bench` writes them -->

old figures

<!-- end of figures -->

## What the profile taught

By hand, too.
"""


def test_only_what_stands_between_the_marks_is_written_anew(tmp_path: Path) -> None:
    """What people wrote stays to the letter, however often figures are written."""
    (tmp_path / "README.md").write_text(PAGE)
    written = report.page(tmp_path, "new figures")
    assert written == PAGE.replace("old figures", "new figures")
    (tmp_path / "README.md").write_text(written)
    assert report.page(tmp_path, "old figures") == PAGE


def test_a_directory_without_a_page_gets_ours(tmp_path: Path) -> None:
    """`--output` names any directory."""
    written = report.page(tmp_path, "new figures")
    assert "\nnew figures\n" in written
    assert "## What the profile taught" in written


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    """Somebody else's README is not made ours."""
    (tmp_path / "README.md").write_text("# Somebody else's\n")
    with pytest.raises(ValueError, match=r"README\.md: must hold the marks"):
        report.page(tmp_path, "new figures")


def test_a_missed_figure_says_so() -> None:
    """Its row cannot be taken for one that was reached."""
    judged = [
        judging.Verdict(name="one", asked="≥ 1", told="1.02", is_reached=True),
        judging.Verdict(name="other", asked="≥ 4", told="3.90", is_reached=False),
    ]
    _, _, first, second = report.verdicts(judged).splitlines()
    assert first == "| one | ≥ 1 | 1.02 | reached |"
    assert second == "| other | ≥ 4 | 3.90 | **MISSED** |"
