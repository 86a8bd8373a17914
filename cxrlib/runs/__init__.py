"""The run protocol: plan, ledger, chunks, results root, lease, and backfills made of many runs."""
