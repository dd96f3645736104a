"""Human verification (Section 3.1, Appendix D): rating sheets out, and back with every mistake in them."""

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from curemed_utils import languages, paths
from curemed_utils.data import DataError, Row, normalize, splits
from curemed_utils.ratings import sheets
from curemed_utils.ratings.sheets import GROUPS, REVISED, TEXTS


@dataclass(frozen=True)
class Ratings:
    """What came back. `table`: group, language, rater, id, question, rating (1-5, NA where none), comment, a line per place on a
    sheet; `edits`: id, field, before, after, group, rater; `faults`: file, sheet, row (1 is the header), fault."""

    table: pd.DataFrame = field(repr=False)
    edits: pd.DataFrame = field(repr=False)
    faults: pd.DataFrame = field(repr=False)


def export(
    rows: list[Row],
    folder: str | Path,
    raters: dict[str, list[str]],
    group: str,
    items_per_rater: int = 50,
    overlap: float = 0.2,
    seed: int = 0,
) -> list[Path]:
    """A sheet for every language and rater, as CSV and as XLSX, and `<group>.json`, which says who got what.

    `raters` maps a language to its raters' names; `group` is 'clinicians' or 'native speakers'. Each rater gets up to
    `items_per_rater` rows of the language, drawn by `seed` (the paper: 50-100): the share `overlap` is the same for all of them,
    for their agreement, and the rest is divided. One seed draws the same rows for both groups. Sheets that are there stay, as
    they may hold ratings; DataError if they are of another draw, or a text is too long for a cell.
    """
    return _export(rows, folder, raters, group, items_per_rater, overlap, seed, lambda row, group, rater: {})


def _export(rows, folder, raters, group, items_per_rater, overlap, seed, filled: Callable[[Row, str, str], dict]) -> list[Path]:
    if group not in GROUPS:
        raise ValueError(f"group is {group!r}, which is none of {', '.join(GROUPS)}")
    if items_per_rater < 1 or not 0 <= overlap <= 1:
        raise ValueError(f"items_per_rater must be 1 or more and overlap lie in 0-1, not {items_per_rater} and {overlap}")
    known, folder = by_id(rows), Path(folder)
    drawn = {language: _drawn(rows, language, names, items_per_rater, overlap, seed) for language, names in raters.items()}
    paths_of = {(lang, name): folder / f"{group}-{lang}-{name}".replace(" ", "_") for lang, names in drawn.items() for name in names}
    if len({str(path).casefold() for path in paths_of.values()}) < len(paths_of):
        raise ValueError("two raters of one language have names that make the same file name; give them different ones")
    tables = {place: [sheets.cells(known[i], group, place[1]) for i in drawn[place[0]][place[1]]] for place in paths_of}
    _assign(folder / f"{group.replace(' ', '_')}.json", drawn)
    written = []
    for (_, rater), stem in paths_of.items():
        table = [record | filled(known[record["id"]], group, rater) for record in tables[_, rater]]
        for suffix, write in ((".csv", sheets.write_csv), (".xlsx", sheets.write_xlsx)):
            path = stem.with_name(stem.name + suffix)  # not with_suffix: names may hold dots
            if not path.exists():
                part = path.with_name(path.name + ".part")
                write(part, group, table)
                part.replace(path)
            written.append(path)
    return written


def by_id(rows: list[Row]) -> dict[str, Row]:
    """Rows by their ids; DataError where an id names several."""
    known = {row.id: row for row in rows}
    if len(known) < len(rows):
        twice = [i for i, n in Counter(row.id for row in rows).items() if n > 1]
        raise DataError(f"{len(twice)} ids stand on more than one row, the first is {twice[0]!r}: ratings need ids that name one row")
    return known


def _drawn(rows, language: str, names: list[str], per_rater: int, overlap: float, seed: int) -> dict[str, list[str]]:
    """Ids by rater, in an order of the rater's own."""
    pool = sorted((row.id for row in rows if row.language == languages.get(language).name), key=lambda i: splits.draw(i, seed))
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise ValueError(f"raters of {language} must be a list of different names, not {names!r}")
    if bad := [name for name in names if not re.fullmatch(r"[^\W_][\w .-]*", name)]:
        raise ValueError(f"rater {bad[0]!r}: a name starts with a letter or number; then also spaces, '.', '-' and '_' may stand")
    size = min(per_rater, len(pool))
    common = min(size, max(round(overlap * size), int(overlap > 0)))
    own = {name: pool[common:][k :: len(names)][: size - common] for k, name in enumerate(names)}
    if not all(common or ids for ids in own.values()):
        raise DataError(f"{len(pool)} rows of {language} are too few for {len(names)} raters; take fewer raters, or more overlap")
    return {name: sorted([*pool[:common], *ids], key=lambda i: splits.draw(f"{i} {name}", seed)) for name, ids in own.items()}


def _assign(path: Path, drawn: dict) -> None:
    """Writes or extends the file that says who got what."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if clash := [language for language in drawn if old.get(language, drawn[language]) != drawn[language]]:
        raise DataError(f"{paths.show(path)}: holds another draw for {', '.join(clash)}, whose sheets may be out; use a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(old | drawn, ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(path)


def example(rows: list[Row], folder: str | Path, seed: int = 0) -> list[Path]:
    """Filled-in sheets of two raters per group and language, to show the import with: made up by a random draw. No human rated
    anything; the raters are called invented-1 and invented-2, and the comments say so."""

    def invented(row: Row, group: str, rater: str) -> dict:
        item, opinion = (int(splits.draw(key, seed)[:8], 16) / 16**8 for key in (f"{row.id} {group}", f"{row.id} {group} {rater}"))
        rating = (5 if item > 0.3 else 4 if item > 0.12 else 3 if item > 0.04 else 2) - (opinion < 0.12)
        comment = "invented comment: no human read this" if rating < 4 else ""
        return {"rating": rating, "comment": comment} if opinion < 0.95 else {}

    raters = {language: ["invented-1", "invented-2"] for language in languages.NAMES if any(r.language == language for r in rows)}
    return [path for group in GROUPS for path in _export(rows, folder, raters, group, 50, 0.5, seed, invented)]


# Back ---------------------------------------------------------------------------------------------------------------


def read(source: str | Path | list[str | Path], rows: list[Row]) -> Ratings:
    """The sheets of a folder, or the files named, with every mistake; what a mistake touches is left unrated.

    CSV (comma, semicolon or tab; UTF-8, or UTF-16 with its mark) and XLSX. `rows` are those of the export. A blank rating is
    missing, no mistake. Where `<group>.json` of the export lies beside the files, ids are checked against it, and sheets that
    didn't come back count as unrated. Raises DataError if there is no sheet at all; warns if there are faults.
    """
    files = [Path(path) for path in source] if isinstance(source, list | tuple) else sheets.found(Path(source))
    if not files:
        raise DataError(f"{paths.show(source) if not isinstance(source, list | tuple) else 'the list'}: holds no sheet (.csv, .xlsx)")
    known, assigned = by_id(rows), _assigned({path.parent for path in files})
    places, edits, faults = {place: [] for place in sorted(assigned) if place[3] in known}, [], []
    if gone := sorted({place[3] for place in assigned} - set(known)):
        faults.append(("", "", 0, f"{len(gone)} items that were given out are not among the rows, the first is {gone[0]!r}"))
    for path in files:
        try:
            tables = sheets.read(path)
        except DataError as error:
            faults.append((paths.show(path), "", 0, str(error)))
            continue
        for sheet, table in tables:
            for number, entry in _entries(table, known, assigned):
                where = (paths.show(path), sheet, number)
                if isinstance(entry, str):
                    faults.append((*where, entry))
                else:
                    places.setdefault((entry["group"], entry["language"], entry["rater"], entry["id"]), []).append((where, entry))
                    edits += _edits(entry, known[entry["id"]])
    lines = [(*place, known[place[3]].question, *_settled(given, faults)) for place, given in places.items()]
    table = pd.DataFrame(lines, columns=["group", "language", "rater", "id", "question", "rating", "comment"]).astype({"rating": "Int64"})
    faults = pd.DataFrame(sorted(faults), columns=["file", "sheet", "row", "fault"])
    if len(faults):
        warnings.warn(
            f"{len(faults)} mistakes in {faults['file'].nunique()} files, see .faults: those places count as unrated", stacklevel=2
        )
    return Ratings(table, pd.DataFrame(edits, columns=["id", "field", "before", "after", "group", "rater"]).drop_duplicates(), faults)


def _assigned(folders: set[Path]) -> set[tuple[str, str, str, str]]:
    """(group, language, rater, id) of every place on a sheet, as exported."""
    files = [(group, folder / f"{group.replace(' ', '_')}.json") for folder in sorted(folders) for group in GROUPS]
    drawn = [(group, json.loads(path.read_text(encoding="utf-8"))) for group, path in files if path.exists()]
    return {(g, lang, rater, i) for g, by_language in drawn for lang, by in by_language.items() for rater, ids in by.items() for i in ids}


def _entries(table: list[list], known: dict[str, Row], assigned: set) -> Iterator[tuple[int, dict | str]]:
    """Row numbers with what they hold: a record that can be used, or a fault."""
    try:
        records = sheets.records(table)
    except DataError as error:
        yield 1, str(error)
        return
    owner = Counter((r["group"], r["language"], r["rater"]) for _, r in records).most_common(1)[0][0] if records else ()
    if owner and (owner[0] not in GROUPS or (assigned and not any(place[:3] == owner for place in assigned))):
        yield 1, f"a sheet of group {owner[0]!r}, language {owner[1]!r}, rater {owner[2]!r} was never given out"
        return
    seen, times = {}, Counter(record["id"] for _, record in records)
    for number, record in records:
        said = [f"row {seen[record['id']]} rates item {record['id']!r} already; neither counts"] if record["id"] in seen else []
        seen.setdefault(record["id"], number)
        said += _row_faults(record, known.get(record["id"]), owner, assigned)
        try:
            record["rating"] = sheets.rating(record["rating"], owner[0])
        except ValueError as error:
            said.append(str(error))
        yield from ((number, fault) for fault in said)
        if not said and times[record["id"]] == 1:
            yield number, record


def _row_faults(record: dict, row: Row | None, owner: tuple, assigned: set) -> list[str]:
    said = [record["overflow"]] if record["overflow"] else []
    given = dict(zip(("group", "language", "rater"), owner, strict=True))
    said += [f"{name} is {record[name]!r}, but this is a sheet of {value!r}" for name, value in given.items() if record[name] != value]
    if row is None:
        return [*said, f"no row has the id {record['id']!r}"]
    if row.language != owner[1]:
        said.append(f"item {row.id!r} is of {row.language}, but this is a sheet of {owner[1]!r}")
    elif assigned and (*owner, row.id) not in assigned:
        said.append(f"item {row.id!r} isn't on the sheet that {owner[2]!r} was given")
    shown = sheets.shown(row)
    changed = [name for name in TEXTS if normalize(record[name]) != normalize(sheets.unescaped(shown[name]))]
    return said + [f"the {name} isn't that of item {row.id!r}: changed by hand, or a sheet of another version" for name in changed]


def _settled(given: list[tuple[tuple, dict]], faults: list) -> tuple[int | None, str]:
    """One rating and the comments of a place that may have come back in several files; different ratings are a fault."""
    rated = [(where, entry["rating"]) for where, entry in given if entry["rating"] is not None]
    for where, value in rated:
        if value != rated[0][1]:
            (file, sheet, row), first = rated[0]
            faults.append((*where, f"rated {value} here, but {first} in {file}{f', sheet {sheet}' if sheet else ''}, row {row}"))
    comments = dict.fromkeys(entry["comment"].strip() for _, entry in given)
    return rated[0][1] if len({value for _, value in rated}) == 1 else None, "; ".join(filter(None, comments))


def _edits(entry: dict, row: Row) -> list[tuple]:
    found = []
    for column, name in REVISED.items():
        before, after = getattr(row, name), entry[column].strip()
        after = f"<answer>{after}</answer>" if after and before.strip().startswith("<answer>") else after
        if after and normalize(after) != normalize(before):
            found.append((row.id, name, before, after, entry["group"], entry["rater"]))
    return found
