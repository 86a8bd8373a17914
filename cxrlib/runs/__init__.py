"""How a run works: its plan, ledger, chunks and manifest, and the lease that keeps two runs from doing the same work.

- `run`: start, resume and close a run; `run_id`: its id
- `planning`: make a plan from a listing and the `ledger`; `plan`: the stored plan
- `chunks`: collect and settle the films of a chunk
- `lease`, `lease_chain`, `lease_context`, `lease_waiters`, `process_identity`: one run at a time
- `software_versions`: versions of the software that can change a row
- `scratch_database`: temporary DuckDB databases
"""
