"""What syncwatch knows, durable: the place where the stages meet.

`schema` says what is kept; `database` opens it, for SQLite and PostgreSQL alike, with one writer
that groups what is asked of it into transactions; then one file a concern: `deliveries` (the
inbox), `policies`, `subjects`, `generations`, `expectations`, `executions`, `observations`,
`findings`, `reading` (what reports read) and `retention`.
"""
