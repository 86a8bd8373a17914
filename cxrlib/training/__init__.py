"""Train bundles from recipes. Training needs torch and Lightning (``pip install '.[train]'``)."""
