"""The company's people, as Google Workspace knows them and as they were seen here."""
