from curemed_utils.audit.checks import CHECKS, DEFECTS, audit, audit_splits, lists_options
from curemed_utils.audit.cleaning import clean
