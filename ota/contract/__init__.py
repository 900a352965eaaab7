"""The update protocol's formats, as server, agents and officers read them alike: plain Python, without Django."""
