"""What the house says by itself: figures, doctor's findings, and reports to senders of what became of their mail."""
