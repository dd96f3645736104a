from curemed_utils.paper.sources import SourceChanged, check_sources, own, own_examples, per_tier, proprietary, published
