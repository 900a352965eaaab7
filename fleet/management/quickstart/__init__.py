"""The quickstart demo: the steps of ``manage.py quickstart``, over real sockets and commands."""
