"""JPEG 2000 codestreams: read their markers and packets, and leave out what the network does not see."""
