"""JPEG 2000 at a reduced resolution and without invisible bit planes, by editing the codestream before decoding it."""
