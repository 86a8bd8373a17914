"""Networks: the catalog of architectures, the networks themselves, and the engine that runs a bundle.

`cxrlib.models.catalog` answers without importing torch; everything else here needs it.
"""
