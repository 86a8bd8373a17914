"""Networks: the catalog of architectures, the networks themselves, and the engine that runs a bundle.

`cxrlib.models.architectures.catalog` answers without importing torch; everything else here needs it.
"""
