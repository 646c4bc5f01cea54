"""Killing the house under load, and counting: what was acknowledged, what arrived, what was told.

`checker` is the judge (pure set algebra over `evidence`), `faults` does the harm, `harness` runs a house and gathers the evidence.
"""
