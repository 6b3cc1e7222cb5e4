"""Text that a spreadsheet would take for a formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.formula import as_cell, of_cell


@given(st.text(alphabet="'=+-@19a \t\n＝", max_size=6))
def test_what_is_written_as_a_cell_is_read_as_it_was(text: str) -> None:
    assert of_cell(as_cell(text)) == text


@pytest.mark.parametrize("cell", ["'", "' =1", "'tis", "'+8613800138000", "''"])
def test_a_mark_that_is_not_ours_stays(cell: str) -> None:
    assert of_cell(cell) == cell
