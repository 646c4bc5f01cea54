"""Measuring the house: one scenario per file, all figures of a ratio out of one run on one machine."""
