"""A whole house on loopback, for the tools that load it and kill it: servers, API, workers and the doubles of the world outside.

Everything is a process of its own, as in production, so that its CPU can be counted and its life ended.
"""
