"""The command `cxr`, the Prefect flows and the demo: everything that a person starts."""

from cxr_flows.prefect_env import prepare_prefect

# Prefect reads its environment at import. Every module here that imports Prefect imports this package first.
prepare_prefect()
