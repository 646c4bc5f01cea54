"""The SMTP door: mail programs and applications hand in finished mail (RFC 6409), each with a credential of its account, under TLS.

server       the sockets, start and stop                  connection   one client: its life, replies, small talk
transaction  the course of a message, for all             submission   log-in, envelope, content, the 250
returns      mail that other hosts bring                  login        how often one may guess, and send
parameters   what stands behind MAIL FROM and RCPT TO     content      DATA to its end, as the intake wants it
crowd        how many may be here, and who goes first     door         what all of them share
handshake    TLS from the first octet, counted from there
replies      codes and words                              certificate  TLS: made for development, or read again and again

Everything that is accepted goes by `intake.submit.Intake.submit_raw`; the 250 is written after its commit.
"""
