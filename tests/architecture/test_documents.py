"""Every example of the documents works; `tests/documents.py` says what is executed and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.documents import blocks, execute

ROOT = Path(__file__).resolve().parents[2]
OF_TENSORFLOW = ROOT / "docs" / "tensorflow.md"
"""Its examples are run beside the other tests of TensorFlow: tests/tensorflow/test_guide.py."""
DOCUMENTS = [ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - {OF_TENSORFLOW})]

SAMPLE = """# A sample

```toml
# shop.toml
name = "shop"
```

```csv
# purchases.csv
user,item
a,b
```

```sh
test -f shop.toml
head -1 purchases.csv > header.txt
```

Text between.

<!-- not executed: it would fail -->
```sh
exit 3
```

```console
$ cat \\
    header.txt
user,item
$ echo one two three
one ... three
```

```python
from pathlib import Path

assert Path("header.txt").read_text() == "user,item\\n"
```

```text
left alone
```
"""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_examples_work(path: Path, tmp_path: Path) -> None:
    execute(path, tmp_path)


def test_the_readme_has_examples() -> None:
    assert len(list(blocks((ROOT / "README.md").read_text(encoding="utf-8")))) >= 2


def test_a_sample_is_executed_in_order(tmp_path: Path) -> None:
    sample = tmp_path / "sample.md"
    sample.write_text(SAMPLE, encoding="utf-8")
    folder = tmp_path / "clean"
    folder.mkdir()
    assert execute(sample, folder) == 5
    assert (folder / "purchases.csv").read_text(encoding="utf-8") == "user,item\na,b\n"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("```sh\ntrue\nfalse\ntrue\n```\n", "exit code 1"),
        ("```sh\necho $not_set\n```\n", "not_set"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```console\n$ echo one\ntwo\n```\n", "expected"),
        ("```console\n$ exit 4\n```\n", "exit code 4"),
        ("```toml\na = \n```\n", "not valid TOML"),
        ("<!-- not executed: -->\n```sh\nexit 5\n```\n", "exit code 5"),
    ],
)
def test_a_wrong_example_is_found(tmp_path: Path, block: str, message: str) -> None:
    sample = tmp_path / "sample.md"
    sample.write_text(f"# A sample\n\n{block}", encoding="utf-8")
    with pytest.raises(AssertionError, match=message) as caught:
        execute(sample, tmp_path)
    assert str(caught.value).startswith(f"sample.md:{4 if block.startswith('`') else 5}: ")
