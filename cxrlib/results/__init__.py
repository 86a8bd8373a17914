"""Everything about a results root: where objects are, how rows are read and written, and what can be learned from them.

Start here:

- `layout`: every key; `objects`: get and put
- `which_rows_count`: which rows count, for example after a film was replaced
- `rows`: the reader of rows; `row_builder` and `parquet`: how rows are made
- `cohort`: all scores as a pandas table
- `verify`, `verify_checks`: every film has one outcome, every row a plan
- `status`, `compact`, `compare`, `selection`: what the commands of these names do (``cxr rescore`` uses `selection`)
"""
