"""Staffetta: the email relay that companies run themselves."""
