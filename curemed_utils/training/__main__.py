"""`python -m curemed_utils.training sft|grpo CONFIG.json`: one stage."""

import sys

from curemed_utils import extras

if __name__ == "__main__":
    extras.need("train")
    from curemed_utils.training.process import main

    main(sys.argv[1:])
