"""`python -m curemed_utils.judge calibrate MODEL …`: above all rooms, as `run` is."""

import argparse
import sys

from curemed_utils import paths
from curemed_utils.data import yaml12
from curemed_utils.data.scrubbing import scrub
from curemed_utils.evaluation import judges
from curemed_utils.judge import price_of
from curemed_utils.judge.tally import Refused


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m curemed_utils.judge")
    option = parser.add_subparsers(required=True).add_parser("calibrate").add_argument
    option("models", nargs="+", metavar="MODEL")
    option("--n", type=int, default=600, help="verdicts of each task")
    option("--seed", type=int, default=0)
    option("--base-url", help="default: OPENAI_BASE_URL")
    option("--options", default="{}", help="as judge_options: '{temperature: null}'")
    option("--max-usd", type=float, help="for all judges of the run")
    option("--run-dir", default="", help="default: runs/demo")
    args = parser.parse_args(argv)
    settings = {"base_url": args.base_url, "max_usd": args.max_usd}
    try:
        if args.max_usd is None and any(any(price_of(model) or ()) for model in args.models):
            raise ValueError(f"{' '.join(args.models)} may cost money: give --max-usd")
        settings["options"] = yaml12.parse_yaml(args.options, "--options: ")
        sample = judges.draw(args.n, args.seed)
        lines = judges.calibrate(args.models, sample, paths.run_directory(args.run_dir), **settings)
    except (ValueError, OSError, Refused) as error:
        print(scrub(f"error: {error}"), file=sys.stderr)
        return 2
    print(judges.shown(lines[lines["by"] == "all"]).to_string())
    measures = "agreement", "kappa", "sensitivity", "specificity"
    print(judges.shown(lines[lines["by"] != "all"], *measures).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
