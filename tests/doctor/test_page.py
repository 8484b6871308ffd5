"""docs/doctor.md is what the doctor says today."""

from __future__ import annotations

from docs import doctor_page


def test_the_page_is_up_to_date() -> None:
    assert doctor_page.PAGE.read_text() == doctor_page.build()
