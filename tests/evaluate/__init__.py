"""Judging the house's reading of mail by labelled samples that lie elsewhere: one kind of sample per file."""
