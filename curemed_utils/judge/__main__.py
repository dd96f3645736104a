"""`python -m curemed_utils.judge calibrate MODEL …`: above all rooms, as `run` is."""

import argparse
import sys
from itertools import product

from curemed_utils import paths
from curemed_utils.data import yaml12
from curemed_utils.evaluation import judges
from curemed_utils.judge import Judge
from curemed_utils.judge.tally import Refused


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m curemed_utils.judge")
    option = parser.add_subparsers(required=True).add_parser("calibrate").add_argument
    option("models", nargs="+", metavar="MODEL")
    option("--n", type=int, default=600, help="verdicts of each task")
    option("--seed", type=int, default=0)
    option("--base-url", help="default: OPENAI_BASE_URL")
    option("--options", default="{}", help="request fields, as '{temperature: null}'")
    option("--max-usd", type=float, help="for all judges of the run")
    option("--run-dir", default="", help="default: runs/demo")
    args = parser.parse_args(argv)
    try:
        run, sample = paths.run_directory(args.run_dir), judges.draw(args.n, args.seed)
        settings = {"cache": paths.judge_cache(run), "max_usd": args.max_usd}
        settings["options"] = yaml12.parse_yaml(args.options, "--options: ")
        asked = [Judge(model, args.base_url, **settings) for model in args.models]
        for judge, (task, rows) in product(asked, sample.groupby("task")):
            quote = judge.quote(task, rows.to_dict("records"))
            print(f"{judge.model}, {task}, still to ask: {quote}", flush=True)
            is_ours = quote.usd is None and "https:" not in str(judge.client.server)
            if args.max_usd is None and quote.usd != 0 and not is_ours:
                raise ValueError(f"{judge.model} may cost money: give --max-usd")
        table = judges.calibrate(asked, sample, run).round(2)
    except (ValueError, OSError, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table[table["by"] == "all"].T.to_string())
    print(table[table["by"] != "all"].to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
