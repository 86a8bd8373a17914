"""The ways in: the Prefect flows, the demo and the `cxr` command. The only part that talks to a person."""

from cxr_flows.prefect_env import prepare_prefect

# Prefect reads its environment while it is imported, and whatever imports it here comes through this package first.
prepare_prefect()
