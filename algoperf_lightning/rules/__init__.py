"""Automatic checks of whether a submission follows the rules, in its source code and while it runs.

These modules inspect a workload from outside; no workload or submission calls them.
"""
