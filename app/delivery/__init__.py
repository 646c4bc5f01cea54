"""OUT: get a message to the next hop, once, at the pace the receiver can take.

Decisions and the conversation itself live here. What is written of an outcome is store's and events.record's; what the
bytes look like is mail's.
"""
