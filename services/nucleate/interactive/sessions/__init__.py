"""Sessions: a log of events, the state it amounts to, and the calls that move it on."""
