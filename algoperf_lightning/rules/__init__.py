"""Whether a submission keeps the rules: what a machine can see of it, in its text and while it runs.

These modules inspect a workload from outside; no workload or submission calls them.
"""
