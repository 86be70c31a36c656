"""A test kit for recommenders of other packages: they are checked as Falconer's own are.

from falconer.recsys.testing import check_model

def test_my_model(tmp_path):
    check_model("mypackage.config:MODEL", tmp_path, knobs={"dim": 8})
"""

from falconer.recsys.testing.checks import CHECKS, Case, check_model

__all__ = ["CHECKS", "Case", "check_model"]
