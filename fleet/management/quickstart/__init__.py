"""The main job told end to end: what ``manage.py quickstart`` runs, over real sockets and commands."""
