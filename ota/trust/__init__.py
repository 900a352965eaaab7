"""The TUF repository of a trust domain: reading, judging and building metadata. Knows files, no database."""
