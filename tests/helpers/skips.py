"""Why a test may be left out.

`pytest.skip(reason)` leaves a test out on a machine that lacks what it drives; `make test` lists
the reasons at its end, and with BOKEH_TESTS_REQUIRE_ALL=1 such a test fails. A reason that starts
with ELSEWHERE is no lack: another of the environments that `make test` uses runs that test.
"""

from __future__ import annotations

REQUIRE_ALL = "BOKEH_TESTS_REQUIRE_ALL"
LOG = "BOKEH_TESTS_SKIPPED"
"""Names the file to which reasons are added, one a line."""
ELSEWHERE = "elsewhere: "
