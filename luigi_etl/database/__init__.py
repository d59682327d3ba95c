"""Every complaint once, with its history: SQLite or PostgreSQL."""
