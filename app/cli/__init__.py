"""The command line: reads the settings once, wires, runs. `python -m app.cli`, or `./staffetta`, which makes the environment first.

A command imports what it needs when it is called: `up` starts several processes, and each pays only for its own half of
the house.
"""
