"""The `cxr` command. Importing it, and asking it for help, imports none of Beam, Prefect, torch or Arrow."""
