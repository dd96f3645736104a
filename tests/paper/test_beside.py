"""Own results beside the published ones."""

import pandas as pd

from curemed_utils import languages
from curemed_utils.paper import beside


def test_table_5_stands_beside_our_ratings():
    groups = ["clinicians", "native speakers"]
    means = pd.DataFrame({"group": groups, "language": "Thai", "mean": [4.0, 5.0]})
    table = beside.table05(means.assign(low=3.5, high=5.0))
    table = table.set_index(["measure", "language"])
    assert len(table) == 2 * len(languages.PUBLISHED) and table["mean"].notna().sum() == 2
    medicine = table.loc[("medical_correctness", "Thai")]
    assert medicine[["published", "mean"]].tolist() == [4.70, 4]
