"""The HTTP API, version 1: one file per resource, holding its bodies and its routes. Doors translate; rules live below."""
