"""The ways in: the Prefect flows, the demo and the `cxr` command. The only part that talks to a person."""
