"""Real PostgreSQL and Valkey as child processes: the servers `muster up` runs and drills kill."""
