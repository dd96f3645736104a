"""The set without what the audit found wrong, and a log of every change."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from curemed_utils import data, trace
from curemed_utils.audit import duplicates
from curemed_utils.audit.checks import DEFECTS, row_findings
from curemed_utils.data import Row


@dataclass(frozen=True)
class Cleaned:
    """`splits` as they remain, and `log`, one line a changed row.

    Its action is 'renumbered' or 'dropped', its reason the first defect in CHECKS.
    """

    splits: dict[str, list[Row]]
    log: pd.DataFrame = field(repr=False)

    @property
    def counts(self) -> pd.DataFrame:
        """Changed rows by action and reason (index) and split (columns), and 'all'."""
        table = self.log.groupby(["action", "reason", "split"], sort=False).size()
        table = table.unstack(fill_value=0).reindex(columns=data.SPLITS, fill_value=0)
        return table.assign(all=table.sum(axis=1)).sort_values("all", ascending=False)

    def write(self, folder: Path) -> Path:
        """Writes `<split>.jsonl` and the log as `changes.csv`."""
        for split, rows in self.splits.items():
            data.write_jsonl(rows, folder / f"{split}.jsonl")
        self.log.to_csv(folder / "changes.csv", index=False)
        return folder


def clean(
    splits: dict[str, list[Row]], against: dict[str, list[Row | str]] | None = None
) -> Cleaned:
    """The rows without DEFECTS; wrong step numbers are mended first.

    Of equal and near questions the first stays, in SFT before RFT. Training questions that test or
    `against` hold go.
    """
    kept, changes = {}, {}
    places = duplicates.places(splits)
    for place in places:
        row = renumber_row(place.row)
        defects = _defects(row_findings(row))
        if defects:
            changes[place] = ("dropped", defects)
            continue
        kept[place] = row
        if row is not place.row:
            fault = trace.step_fault(place.row.reasoning)
            changes[place] = ("renumbered", [("malformed_steps", fault)])
    for place, findings in duplicates.between_rows(list(kept), against or {}).items():
        defects = _defects(findings)
        if defects:
            del kept[place]
            changes[place] = ("dropped", defects)
    remaining = {split: [] for split in splits}
    for place, row in kept.items():
        remaining[place.split].append(row)
    return Cleaned(remaining, _log(places, changes))


def _log(places, changes):
    lines = []
    for place in places:
        if place in changes:
            action, defects = changes[place]
            where = (place.split, place.row.language, place.number, place.row.id)
            detail = "; ".join(f"{check}: {detail}" for check, detail in defects)
            lines.append((*where, action, defects[0][0], detail))
    columns = ["split", "language", "row", "id", "action", "reason", "detail"]
    return pd.DataFrame(lines, columns=columns)


def _defects(findings):
    defects = [finding for finding in findings if finding[0] in DEFECTS]
    return sorted(defects, key=lambda finding: DEFECTS.index(finding[0]))


def renumber_row(row: Row) -> Row:
    """The row with steps numbered 1 to n; itself where tags aren't closed one by one."""
    reasoning = trace.renumbered(row.reasoning)
    tags = [piece for piece, is_tag in trace.pieces(reasoning) if is_tag and "step" in piece]
    in_order = [tag for tag in trace.tags(len(tags) // 2) if "step" in tag]
    if reasoning == row.reasoning or tags != in_order:
        return row
    return row.model_copy(update={"reasoning": reasoning})
