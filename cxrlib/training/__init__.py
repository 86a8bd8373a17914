"""Train bundles by recipe. Everything here needs torch and Lightning (``pip install 'cxr-batch[train]'``)."""
