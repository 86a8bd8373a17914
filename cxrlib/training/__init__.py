"""Train bundles by recipe. All but the recipes themselves needs torch and Lightning (``pip install 'cxr-batch[train]'``)."""
