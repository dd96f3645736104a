from curemed_utils.audit.checks import ADVISORY, CHECKS, DEFECTS, audit, audit_splits, clean, lists_options, step_fault
