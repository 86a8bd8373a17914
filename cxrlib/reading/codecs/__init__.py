"""Decode compressed frames: the codec for each transfer syntax, and the errors that codecs hide."""
