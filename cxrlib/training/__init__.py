"""Train bundles by recipe. All but reading a recipe needs torch and Lightning (``pip install 'cxr-batch[train]'``)."""
