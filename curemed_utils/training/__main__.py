"""`python -m curemed_utils.training sft|grpo CONFIG.json`: one stage."""

import sys

from curemed_utils.training.process import main

if __name__ == "__main__":
    main(sys.argv[1:])
