"""``muster-sign``: what a release officer runs on a machine of their own. It never talks to a server."""
