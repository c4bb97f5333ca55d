"""What people and Prometheus see: metrics and the API, read from the store.

Reports only read. `families` is the list of metrics as data (the reference in docs is made of
it), `metrics` keeps what is counted, `gauges` turns a snapshot of the store into samples, `api`
answers JSON, `words` says in JSON what a row is.
"""
