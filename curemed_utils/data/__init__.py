from curemed_utils.data.normal import normalize
from curemed_utils.data.rows import (
    SPLITS,
    DataError,
    Row,
    listed,
    read_jsonl,
    write_jsonl,
)
from curemed_utils.data.sources import read_folder, read_hub, read_release
