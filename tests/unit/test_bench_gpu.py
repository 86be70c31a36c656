"""The GPU benchmark runs without a GPU, in small, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.recsys.models import registry
from tests.benchmarks import gpu


def test_it_measures_every_torch_model_in_small(tmp_path: Path) -> None:
    lines = gpu.report(gpu.SMALL, tmp_path)
    assert "NO GPU IN USE" in lines[0]
    torch_models = {name for name, model in registry.MODELS.items() if "torch" in model.backends}
    rows = {line.split()[0]: line.split() for line in lines[3:] if line.split()[0] in torch_models}
    assert rows.keys() == torch_models >= {"ncf", "dlrm", "wide_deep", "vae_cf"}
    for row in rows.values():
        assert all(float(figure.replace(",", "")) > 0 for figure in row[1:4])


def test_without_a_gpu_the_small_size_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "report", lambda size, folder: [size.name])
    gpu.main([])
    assert capsys.readouterr().out == "small\n"


def test_the_published_sizes_fit_the_models() -> None:
    """Knobs that a model no longer has would be found on a GPU only."""
    assert set(gpu.A100) <= set(gpu.models())
    for name in gpu.models():
        config = gpu.config_of(name, gpu.FULL)
        assert (config.training.precision, config.training.compile) == ("bf16", True)


def test_a_flop_is_counted_in_products() -> None:
    found = gpu.Figures(
        samples_per_second=1000, steps_per_second=10, flops_per_sample=500, parameters=100
    )
    best = gpu.Machine(flops=1_000_000, bytes_per_second=320_000)
    assert "50.0%" in gpu.line("ncf", found, best)
    assert "10.0%" in gpu.line("ncf", found, best)
