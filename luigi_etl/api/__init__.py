"""The CFPB's search API: queries, the client and its responses."""
