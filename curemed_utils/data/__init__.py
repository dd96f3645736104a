from curemed_utils.data.rows import (
    SPLITS,
    DataError,
    Row,
    listed,
    normalize,
    read_folder,
    read_hub,
    read_jsonl,
    read_release,
    write_jsonl,
)
