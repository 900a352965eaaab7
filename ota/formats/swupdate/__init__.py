"""SWUpdate archives: their container, the two forms of ``sw-description``, and what a device selects from it."""
