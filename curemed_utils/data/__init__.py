from curemed_utils.data.rows import (
    SPLITS,
    DataError,
    Row,
    listed,
    normalize,
    read_jsonl,
    write_jsonl,
)
from curemed_utils.data.sources import read_folder, read_hub, read_release
