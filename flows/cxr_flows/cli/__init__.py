"""The `cxr` command. Its import, its help and its shell completion load none of Beam, Prefect, torch or Arrow."""
