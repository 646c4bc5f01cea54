"""What is asked without a key: by supervisors (health, metrics) and by those who got mail (pixel, click, unsubscribe, preferences).

A token in the path is all that a reader shows. No cookie, no script, nothing loaded from elsewhere, no rule of its own.
"""
