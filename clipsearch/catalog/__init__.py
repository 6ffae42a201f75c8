"""The catalog: one SQLite database, the only truth of a library."""
