from curemed_utils.paper.sources import (
    SourceChanged,
    check_sources,
    per_tier,
    proprietary_scores,
    published,
    seal,
)
