"""Human verification (Section 3.1, Appendix D): rating sheets out, and back with every slip."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import regex

from curemed_utils import languages, paths, trace
from curemed_utils.data import DataError, Row, normalize, splits
from curemed_utils.data.files import json_value, read_text, write_whole
from curemed_utils.ratings import sheets
from curemed_utils.ratings.sheets import Slip

GROUPS = ("clinicians", "native speakers")
TEXTS = ("question", "reasoning", "answer")
COLUMNS = ("id", "language", *TEXTS, "rating", "comment", "group", "rater")
OWNER = ("group", "language", "rater")  # what all rows of a sheet have in common
SCALE = {"rating": ("1", "2", "3", "4", "5")}
_SIGN = r'[^[\p{C}--[\u200c\u200d]]/\\:*?"<>|]'  # of a file's name
NAME = regex.compile(rf"(?V1)['’‘]?[\p{{L}}\p{{N}}]{_SIGN}{{0,49}}")  # of a rater


@dataclass(frozen=True, repr=False)
class Ratings:
    """What came back: a line of `table` for each place on a sheet, of `faults` for each slip.

    Columns: group, language, rater, id, question, rating (1-5 or NA), comment; file, row (1 is the
    header), fault.
    """

    table: pd.DataFrame
    faults: pd.DataFrame


def write_sheets(
    rows: list[Row],
    folder: str | Path,
    raters: dict[str, list[str]],
    group: str,
    items_per_rater: int = 50,
    overlap: float = 0.2,
    seed: int = 0,
    fill: Callable[[Row, str, str], dict] | None = None,
) -> list[Path]:
    """A sheet for every language and rater, as CSV and as XLSX, and `<group>.json`: who got what.

    `raters` maps a language to its raters' names. Each gets up to `items_per_rater` rows (the
    paper: 50-100), of which all share the part `overlap`. `fill(row, group, rater)` gives cells.
    Sheets that exist stay; DataError if they are of another draw.
    """
    if group not in GROUPS:
        raise ValueError(f"group {group!r} is none of {', '.join(GROUPS)}")
    if items_per_rater < 1 or not 0 <= overlap <= 1:
        raise ValueError("items_per_rater must be 1 or more, and overlap lie in 0-1")
    row_of, folder = {row.id: row for row in rows}, Path(folder)
    if len(row_of) < len(rows):
        raise DataError("some rows share an id: ids must name one row")
    ids_of, written = {}, []
    for language, names in raters.items():
        ids_of[language] = _drawn(rows, language, names, items_per_rater, overlap, seed)
    _note_draw(folder, group, ids_of)
    for language, ids_of_rater in ids_of.items():
        for rater, ids in ids_of_rater.items():
            records = []
            for row in map(row_of.get, ids):
                record = {"id": row.id, "language": language, "group": group, "rater": rater}
                filled = fill(row, group, rater) if fill else {}
                records.append(record | for_raters(row) | filled)
            for suffix in (".csv", ".xlsx"):
                path = folder / f"{group}-{language}-{rater}{suffix}".replace(" ", "_")
                if not path.exists():
                    sheets.write_sheet(path, COLUMNS, records, SCALE, instructions(group))
                written.append(path)
    return written


def instructions(group: str) -> list[str]:
    """What a rater of the group reads first, a paragraph a line."""
    texts = paths.beside(__file__, "instructions.yaml")
    return texts["page"].format(group=group, **texts[group]).splitlines()


def for_raters(row: Row) -> dict[str, str]:
    """Question, reasoning and answer without tags, steps numbered."""
    return {
        "question": sheets.plain_text(trace.without_tags(row.question)),
        "reasoning": sheets.plain_text(trace.numbered_lines(row.reasoning)),
        "answer": sheets.plain_text(trace.without_tags(row.answer)),
    }


def _drawn(rows, language, names, per_rater, overlap, seed):
    spellings = {normalize(name).replace(" ", "_") for name in names}  # as file names
    odd = [name for name in names if not NAME.fullmatch(name)]
    if isinstance(names, str) or odd or len(spellings) < len(names):
        wanted = "a list of different names, of up to 50 letters, numbers and signs of file names"
        advice = "a letter or number first"
        raise ValueError(f"raters of {language} must be {wanted}, {advice}, not {names!r}")
    ids = [row.id for row in rows if row.language == languages.get(language).name]
    pool = sorted(ids, key=lambda i: splits.draw(i, seed))
    size = min(per_rater, len(pool))
    n_common = min(size, max(round(overlap * size), int(overlap > 0)))
    common, rest = pool[:n_common], pool[n_common:]
    n_raters, ids_of = len(names), {}
    for number, name in enumerate(names):
        mine = common + rest[number::n_raters][: size - n_common]
        if not mine:
            few = f"{len(pool)} rows of {language} are too few for {n_raters} raters"
            raise DataError(f"{few}; take fewer raters, or more overlap")
        ids_of[name] = sorted(mine, key=lambda i: splits.draw(f"{i} {name}", seed))
    return ids_of


def _draw(folder, group):
    path = folder / f"{group.replace(' ', '_')}.json"
    return path, json_value(read_text(path), paths.show(path)) if path.exists() else {}


def _note_draw(folder, group, ids_of):
    path, old = _draw(folder, group)
    if clash := [name for name in ids_of if old.get(name, ids_of[name]) != ids_of[name]]:
        where = f"{paths.show(path)}: holds another draw for {', '.join(clash)}"
        raise DataError(f"{where}, whose sheets may be out; use a new folder")
    write_whole(path, json.dumps(old | ids_of, ensure_ascii=False, indent=1))


def example_sheets(rows: list[Row], folder: str | Path, seed: int = 0) -> list[Path]:
    """Sheets of two invented raters for each group and language, filled in by a random draw."""

    def chance(*names):
        return int(splits.draw(" ".join(names), seed)[:8], 16) / 16**8

    def invented(row, group, rater):
        item, opinion = chance(row.id, group), chance(row.id, group, rater)
        if opinion >= 0.95:
            return {}
        rating = 2 + sum(item > limit for limit in (0.04, 0.12, 0.3)) - (opinion < 0.12)
        comment = "invented comment: no human read this" if rating < 4 else ""
        return {"rating": rating, "comment": comment}

    names = ["invented-1", "invented-2"]
    raters = dict.fromkeys(sorted({row.language for row in rows}), names)
    written = []
    for group in GROUPS:
        written += write_sheets(rows, folder, raters, group, overlap=0.5, seed=seed, fill=invented)
    return written


def read_sheets(source: str | Path | Sequence[str | Path], rows: list[Row]) -> Ratings:
    """The sheets of a folder, or the files listed, made from `rows`; a slip unrates its place.

    Where `<group>.json` lies beside the files, ids are checked against it, and sheets that did not
    come back count as unrated. DataError if there is no sheet at all; warns of slips.
    """
    files = sheets.sheets_in(Path(source)) if isinstance(source, str | Path) else source
    if not files:
        raise DataError(f"{source}: holds no sheet (.csv, .xlsx)")
    row_of, slips = {row.id: row for row in rows}, []
    assigned = _assigned({Path(path).parent for path in files})
    places = {place: [] for place in sorted(assigned) if place[3] in row_of}
    if gone := sorted({place[3] for place in assigned} - set(row_of)):
        fault = f"{len(gone)} items that were given out are not among the rows, the first is"
        slips.append(Slip("", 0, f"{fault} {gone[0]!r}"))
    spelling_of = {normalize(word): word for place in assigned for word in place[:3]}
    for path in files:
        lines, new_slips = sheets.read_sheet(path, COLUMNS, SCALE)
        for cells in (line.cells for line in lines):
            for name in OWNER:
                cells[name] = spelling_of.setdefault(normalize(cells[name]), cells[name])
        if lines:
            new_slips += _sheet_slips(lines, row_of, assigned)
        slips += new_slips
        touched = {slip.row for slip in new_slips}
        for line in lines:
            if line.row not in touched:
                place = (*_owner(line), line.cells["id"])
                places.setdefault(place, []).append(line)
    records = []
    for place, lines in places.items():
        records.append((*place, row_of[place[3]].question, *_settled(lines, slips)))
    columns = [*OWNER, "id", "question", "rating", "comment"]
    table = pd.DataFrame(records, columns=columns).astype({"rating": "Int64"})
    faults = pd.DataFrame(sorted(slips), columns=Slip._fields)
    if slips:
        where = f"{len(slips)} mistakes in {faults['file'].nunique()} files, see .faults"
        warnings.warn(f"{where}: those places count as unrated", stacklevel=2)
    return Ratings(table, faults)


def _assigned(folders):
    """(group, language, rater, id) of all that was given out."""
    assigned = set()
    for folder, group in product(folders, GROUPS):
        for language, ids_of in _draw(folder, group)[1].items():
            for rater, ids in ids_of.items():
                assigned |= {(group, language, rater, id) for id in ids}
    return assigned


def _owner(line):
    return tuple(line.cells[name] for name in OWNER)


def _sheet_slips(lines, row_of, assigned):
    owner = Counter(map(_owner, lines)).most_common(1)[0][0]
    slips = []
    for line in lines:
        id, faults = line.cells["id"], []
        if _owner(line) != owner:
            faults.append(f"{', '.join(OWNER)} differ from the other rows")
        if id in row_of:
            faults += _row_faults(line.cells, row_of[id], owner, assigned)
        else:
            faults.append(f"no row has the id {id!r}")
        slips += [Slip(*line[:2], fault) for fault in faults]
    return slips


def _row_faults(cells, row, owner, assigned):
    (group, language, rater), faults = owner, []
    item, given_out = f"item {row.id!r}", not assigned or (*owner, row.id) in assigned
    if group not in GROUPS or row.language != language or not given_out:
        faults.append(f"{item} was not given to {rater!r} of {language!r}, {group!r}")
    for name, text in for_raters(row).items():
        if normalize(cells[name]) != normalize(text):
            faults.append(f"the {name} isn't that of {item}: changed, or another version")
    return faults


def _settled(lines, slips):
    """One rating and all comments of a place; ratings that differ are none, and a slip."""
    rated = [Slip(*line[:2], line.cells["rating"]) for line in lines if line.cells["rating"]]
    differ = [slip for slip in rated if slip.fault != rated[0].fault]
    for slip in differ:
        fault = f"rated {slip.fault} here, but elsewhere: {rated[0]}"
        slips.append(slip._replace(fault=fault))
    comments = dict.fromkeys(line.cells["comment"] for line in lines)
    rating = int(rated[0].fault) if rated and not differ else None
    return rating, "; ".join(filter(None, comments))
