"""The CFPB's search API: queries, the client, its answers."""
