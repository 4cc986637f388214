"""Tests for the notebooks: they run from end to end on photographs of fruit, and their conclusions hold."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import deltalake
import nbclient
import nbformat
import numpy as np
import pytest
from numpy.typing import NDArray

from support.lakes.real_model import exported_models, weights_file

EXAMPLES = Path(__file__).parents[2] / "examples"
STUDY = EXAMPLES / "fruit_study.ipynb"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda file: file.name)
def test_notebook_has_no_outputs_and_no_local_paths(file: Path) -> None:
    notebook = nbformat.read(file, 4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert not re.search(r"/(?:home/\w|root|tmp|work)/", file.read_text())


def cumulative_variance(lake: Path, version: int, folder: str) -> NDArray[np.float64]:
    """Return the cumulative explained variance ratio of the rows below a folder, by scikit-learn."""
    table = deltalake.DeltaTable(lake / "features", version=version)
    rows = table.to_pyarrow_table(columns=["path", "features"]).to_pylist()
    vectors = np.array([row["features"] for row in rows if f"/{folder}/" in row["path"]])
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    fitted = PCA(svd_solver="full").fit(StandardScaler().fit_transform(vectors.astype(np.float64)))
    return np.cumsum(fitted.explained_variance_ratio_)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.spark
def test_fruit_study_runs_and_prints_expected_numbers(shared: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(STUDY, 4)
    # Saves the export, which takes 20 to 40 s.
    models = exported_models(str(weights_file(shared)))
    shutil.copytree(models, tmp_path / "fruit-study" / "lake" / "models")
    client = nbclient.NotebookClient(
        notebook, timeout=500, resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    lake = tmp_path / "fruit-study" / "lake"
    latest = deltalake.DeltaTable(lake / "features").version()

    assert "19 components explain 100.0% of the variance" in text
    assert "20 rows of noise have rank 19" in text
    assert "the first study again: 19 components, same refit: True" in text
    assert "24 kinds" in "".join(cell.source for cell in notebook.cells)
    assert "26 kinds are in the lake now" in text
    expected = cumulative_variance(lake, latest, "many")
    for share in (0.90, 0.95, 0.99):
        components = int(np.argmax(expected >= share)) + 1
        assert f"{share:.0%} of the variance: {components} components" in text
    assert f"the first 20 components: {expected[19]:.0%} of the variance" in text
    for kind in ("Apricot", "Avocado"):
        assert re.search(rf"^{kind}: \[\('{kind}', [345]\)", text, re.MULTILINE)
