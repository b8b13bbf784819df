import os
from pathlib import Path

import pytest

from ops.stack import lock


def test_a_directory_has_one_owner_who_is_named_to_the_second(tmp_path: Path) -> None:
    """The second one is told who has it."""
    held = lock.take(tmp_path / "demo.lock", "another demo")
    with pytest.raises(lock.Taken, match=rf"another demo runs .* process {os.getpid()}"):
        lock.take(tmp_path / "demo.lock", "another demo")
    os.close(held)
    os.close(lock.take(tmp_path / "demo.lock", "another demo"))


def test_it_is_held_until_every_copy_is_closed(tmp_path: Path) -> None:
    """A part that still ends keeps the directory its own, though its owner is gone."""
    held = lock.take(tmp_path / "demo.lock", "another demo")
    copy = os.dup(held)
    os.close(held)
    with pytest.raises(lock.Taken):
        lock.take(tmp_path / "demo.lock", "another demo")
    os.close(copy)
