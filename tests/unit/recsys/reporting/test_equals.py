"""Of metrics that are equal for every model one is shown."""

from __future__ import annotations

from falconer.recsys.reporting.equals import same_metrics
from tests.support.comparisons import FAMILIES, make_report, write_goods


def test_metrics_that_agree_everywhere_are_shown_once(tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = write_goods(tmp_path / "goods")
    reports = []
    for label, level in (("a", 0.2), ("b", 0.1)):
        report = make_report(data, label=label, run=None, view="all", level=level)
        same = {name: one for name, one in report.metrics.items() if name.startswith("recall@")}
        renamed = {name.replace("recall", "hit_rate"): one for name, one in same.items()}
        reports.append(report.model_copy(update={"metrics": report.metrics | renamed}))
    found = same_metrics(reports, "ndcg")
    assert found["recall"] == ["hit_rate"]
    assert "hit_rate" not in found
    assert same_metrics(reports, "hit_rate")["hit_rate"] == ["recall"]
    alone = [one for one in FAMILIES if one not in ("recall", "hit_rate")]
    assert all(found[family] == [] for family in alone)
    nearly = reports[1].metrics["hit_rate@5"].model_copy(update={"mean": 0.5})
    reports[1] = reports[1].model_copy(
        update={"metrics": reports[1].metrics | {"hit_rate@5": nearly}}
    )
    assert same_metrics(reports, "ndcg")["recall"] == []
