"""Every figure of the workbook by name, drawn once for all tests that look at it."""

from functools import cache

import nbformat
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from curemed_utils import languages, paper, paths
from curemed_utils.paper import curves, figures_data, figures_method, figures_results, style

P = paper.published


def _scores() -> pd.DataFrame:
    """Scores of a run: base and stage3_low, a point more in each language."""
    lines = []
    for model, shift in (("base", 0), ("stage3_low", 9)):
        for metric, start in (("la", 20), ("lc", 50)):
            for more, language in enumerate(("all", *languages.NAMES)):
                value = float(start + shift + max(more - 1, 0))
                lines.append((model, metric, language, value, 12))
    return pd.DataFrame(lines, columns=["model", "metric", "language", "value", "n"])


def gaps() -> dict[str, pd.DataFrame]:
    """The panels of the tier gap: size and metric -> levels."""
    panels = {}
    for size, number in (("3B", "table07"), ("7B", "table06")):
        for metric, levels in paper.per_tier(P(number)).items():
            panels[f"{size} {metric}"] = levels
    return panels


SCORES = _scores()
LEVELS = pd.DataFrame(
    {"high": [0.8, 0.9], "medium": [0.4, 0.6], "low": [0.5, 0.45]}, index=["sft", "stage3_low"]
)
COMMITTED = (  # the files in figures/
    "fig01_pipeline",
    "fig02_code_switching",
    "fig03_side_by_side",
    "fig04_tradeoff",
    "fig05_scaling",
    "fig06_medical_baselines",
    "fig08_composition",
    "table05_ratings",
    "table06_07_per_language",
    "table09_10_proprietary",
    "table06_07_tier_gap",
    "lc_decomposition",
    "verifier_agreement",
    "demo_rewards",
    "demo_forgetting",
    "demo_tier_gap",
    "real_arms",
)
if (paths.SOURCE_DATA / "real_training.csv").exists():
    COMMITTED += ("real_sft_loss", "real_rewards")
OF_A_CELL = {"language_price": ("06_grpo_stage3_low", "06-22a")}  # drawn as its notebook does
WITH_A_RUN = (
    "fig04_tradeoff run",
    "of_a_run",
    "tier_gap run",
)
ALL = (*COMMITTED, *WITH_A_RUN, *OF_A_CELL)


@cache
def figure(name: str) -> Figure:
    """A figure of `ALL`, finished and laid out."""
    made = _draw(name)
    style.as_png(made)
    made.canvas.draw()  # on the screen's scale again
    return made


def box_of(text: Text, figure: Figure):
    """Where a text is drawn, in pixels: of an annotation the text alone, without its line."""
    return Text.get_window_extent(text, figure.canvas.get_renderer())


def _shown_by(notebook: str, cell_id: str) -> Figure:
    """The figure that a cell displays, by the notebook's own code."""
    cells = nbformat.read(paths.NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    (cell,) = [cell for cell in cells if cell.get("id") == cell_id]
    displayed = []
    names = {"paper": paper, "figures_results": figures_results, "display": displayed.append}
    exec(cell.source, names)
    (shown,) = displayed
    return shown


def _draw(name: str) -> Figure:
    if name in OF_A_CELL:
        return _shown_by(*OF_A_CELL[name])
    name, _, run = name.partition(" ")
    by_size = {"3B": P("table07"), "7B": P("table06")}
    demo_levels = curves.levels(P("demo_levels"))
    match name:
        case "fig01_pipeline":
            return figures_method.pipeline(P("figure08"))
        case "fig02_code_switching":
            return figures_method.code_switched(P("figure02"))
        case "fig03_side_by_side":
            return figures_method.side_by_side(P("figure03"))
        case "fig04_tradeoff":
            return figures_results.tradeoff(P("table02"), SCORES if run else None)
        case "fig05_scaling":
            return figures_results.scaling(P("table02"))
        case "fig06_medical_baselines":
            return figures_results.medical_baselines(P("figure06"))
        case "fig08_composition":
            return figures_data.composition(P("figure08"))
        case "table05_ratings":
            return figures_data.human_ratings(P("table05"))
        case "table06_07_per_language":
            return figures_results.per_language(by_size)
        case "table09_10_proprietary":
            return figures_results.proprietary(P("table09"), P("table10"))
        case "table06_07_tier_gap":
            return figures_results.tier_gap(gaps())
        case "lc_decomposition":
            return figures_data.lc_decomposition(P("lc_decomposition"))
        case "verifier_agreement":
            return figures_data.verifier_agreement(P("verifier_agreement"))
        case "demo_rewards":
            return curves.reward_curves(P("demo_rewards"))
        case "demo_forgetting":
            return curves.forgetting_curves(P("demo_levels"))
        case "demo_tier_gap":
            return figures_results.tier_gap({"mean reward x 100": 100 * demo_levels})
        case "real_arms":
            return figures_data.real_arms(P("real_arms"), P("real_pairs"), P("table03"))
        case "real_sft_loss":
            return curves.sft_loss(P("real_training").query("stage == 'sft'"))
        case "real_rewards":
            return curves.reward_curves(P("real_training").query("stage != 'sft'"))
        case "tier_gap":
            return figures_results.tier_gap({"mean reward x 100": 100 * LEVELS})
        case "of_a_run":
            return figures_results.of_a_run(SCORES)
    raise ValueError(name)
