"""A skip may hide a failure: with ECCSNN_NO_SKIPS set, as `make test` does, only what needs a GPU may be skipped."""

import os

import pytest

NO_SKIPS = bool(os.environ.get("ECCSNN_NO_SKIPS"))


def _forbid(report):
    """Turns a skip for any other reason than a missing GPU (or one that is there) into a failure."""
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(word in reason for word in ("CUDA", "GPU")):
            report.outcome = "failed"
            report.longrepr = f"{reason}\nECCSNN_NO_SKIPS is set: install what is missing, see CONTRIBUTING.md."
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _forbid((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _forbid((yield))
