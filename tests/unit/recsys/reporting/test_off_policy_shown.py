"""Off-policy estimates on a console and in a table."""

from __future__ import annotations

from falconer.recsys.reporting import off_policy
from tests.support.earned import OFF_POLICY


def test_lines_have_each_estimate_and_why_there_is_none() -> None:
    head, names, refused, strange, given = off_policy.lines(OFF_POLICY)
    assert head.startswith("off-policy, 5,400 logged rows of 1,882 users; the reward")
    assert names.split() == [
        "k",
        "SNIPS",
        "doubly",
        "robust",
        "effective",
        "users",
        "mean",
        "weight",
    ]
    assert refused.strip().startswith("1  refused: 1,882 logged users tell as much as 79")
    assert given.split() == [
        "10",
        "0.3100",
        "(0.2900",
        "to",
        "0.3400)",
        "0.3000",
        "(0.2800",
        "to",
        "0.3300)",
        "412",
        "1.01",
    ]
    assert strange.split()[-1] == "0.20"


def test_the_table_has_a_row_for_each_model_and_k() -> None:
    table = off_policy.table("earned", {"a": OFF_POLICY, "b": OFF_POLICY}, title="t")
    assert [(row[0], row[1]) for row in table.rows] == [
        (label, k) for label in "ab" for k in ("1", "5", "10")
    ]
    remarks = [row[-1] for row in table.rows[:3]]
    assert "Refused: " in remarks[0]
    assert "not 1 but for chance" in remarks[1]
    assert remarks[2] == ""
    assert table.rows[0][2] == table.rows[0][3] == "\u2013"


def test_large_rewards_are_read_at_a_glance() -> None:
    large = OFF_POLICY.logged.model_copy(update={"mean": 1.5e9, "low": 1e9, "high": 2e9})
    head, *_ = off_policy.lines(OFF_POLICY.model_copy(update={"logged": large}))
    assert head.endswith("is 1.5e+09 (1e+09 to 2e+09)")
