"""From the bytes of a film to the image that the networks read, or the reason why not."""
