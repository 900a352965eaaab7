"""``muster-sign``: the offline signing tool of release officers. It never connects to a server."""
