from curemed_utils.paper.sources import (
    SourceChanged,
    check_sources,
    other_benchmarks,
    per_tier,
    proprietary_scores,
    published,
    seal,
)
