"""What mail is: addresses, headers, MIME, signatures, envelopes, replies. Pure: no I/O, no clock, no settings, no keys of its own."""
