"""What the paper says in words, and what its tables say, cell by cell."""

import pandas as pd

from curemed_utils import paths
from curemed_utils.paper.sources import benchmarks, per_tier, published

SIZES = ("1.5B", "3B", "7B", "14B", "32B")


def claims() -> pd.DataFrame:
    """One row a claim, by `where` it stands: claim (in our words), cells, holds (yes or no)."""
    computed = [_tradeoff(), *_scale(), _reinforcement(), *_elsewhere(), _tiers(), _shares()]
    table = pd.DataFrame(paths.beside(__file__, "words.yaml"))
    told = computed + [_ranked(lists) for lists in table.pop("lists").dropna()]
    table["cells"] = [cells for cells, _ in told]
    table["holds"] = ["yes" if holds else "no" for _, holds in told]
    return table.set_index("where")


def _list(values, form=".1f"):
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())


def _ranked(lists):
    """The seven largest of each list; they hold where those named `first` are the first."""
    cells, holds = [], True
    for each in lists:
        rows = published(each["table"]).query(each["rows"]).set_index(each["name"])
        largest = rows[each["value"]].nlargest(7)
        cells.append(_list(largest, ".2f"))
        holds &= {*largest.index[: len(each["first"])]} == {*each["first"]}
    return "; ".join(cells), holds


def _tradeoff():
    rows = published("table02").query("kind == 'baseline'")[["lc_mean", "la_mean"]]
    r = pd.Series({how: rows.corr(how).iloc[0, 1] for how in ("pearson", "spearman")})
    return f"LC and LA of {len(rows)} baselines: {_list(r, '+.2f')}", r.max() < 0


def _scale():
    main = published("table02").set_index("model")[["lc_mean", "la_mean"]]
    base = main.loc[[f"Qwen2.5-Instruct-{size}" for size in SIZES]].set_axis(SIZES)
    trained = main.loc[[f"CURE-MED-Qwen2.5-{size}" for size in SIZES]].set_axis(SIZES)
    lc, la = (trained[metric] - base[metric] for metric in main)
    widens = lc.is_monotonic_increasing and la.is_monotonic_increasing
    gains = [(rows.iloc[-1] - rows.iloc[0])["lc_mean"] for rows in (base, trained)]
    cells = f"LC, 32B less 1.5B: base {gains[0]:+.2f}, CURE-MED {gains[1]:+.2f}"
    return [(f"LC: {_list(lc)}; LA: {_list(la)}", widens), (cells, gains[0] < gains[1])]


def _reinforcement():
    """What RL adds to code-switched SFT, ± 1.96 standard errors of two independent samples."""
    means = published("table03").set_index(["variant", "metric", "model_size"])["mean"]
    before, after = means["codeswitch_sft"], means["codeswitch_sft_curriculum_rl"]
    variance = before * (100 - before) + after * (100 - after)
    half = 1.96 * (variance / published("figure08")["n_test"].sum()) ** 0.5
    cells = []
    for (metric, size), gain in (after - before).items():
        cells.append(f"{metric.upper()} {size} {gain:+.2f} ± {half[metric, size]:.2f}")
    return ", ".join(cells), (after - before > half).all()


def _elsewhere():
    """Table 4 alone, then all other benchmarks."""
    place = ["benchmark", "model_size", "language"]
    wide = benchmarks().pivot_table("accuracy", place, "variant", sort=False)
    gains = wide["cure-med"] - wide["base"]
    told = []
    for part, needed in ((gains.loc[["MMedBench"]], 1), (gains, 0.5)):
        falls = part[part < 0]
        falls.index = falls.index.map(" ".join)
        cells = f"{len(falls)} of {len(part)} cells fall: {_list(falls, '+.2f')}"
        told.append((cells, part.gt(0).mean() >= needed))
    return told


def _tiers():
    cells, narrower = [], True
    for size, name in (("3B", "table07"), ("7B", "table06")):
        for metric, levels in per_tier(published(name)).items():
            before, after = levels["high"] - levels["low"]
            cells.append(f"{size} {metric} {before:.1f} to {after:.1f}")
            narrower &= after < before
    return f"high less low tier, each language once: {', '.join(cells)}", narrower


def _shares():
    rows = published("figure08")
    n = rows[["n_sft", "n_rft", "n_test"]].sum(axis=1)
    inside = (100 * n / n.sum()).round().between(7, 10)
    return f"{inside.sum()} of {len(n)} languages in the released files", inside.mean() > 0.5
