"""The TUF repository of a trust domain: reading, verifying and building metadata. Knows files, no database.

Sources: the TUF specification 1.0 (https://theupdateframework.github.io/specification/): formats of the roles (section
4), checks of the client workflow, which are made here before anything is published (section 5), consistent snapshots
(6.2); succinct hash bins (TAP 15); key ids that authors of documents choose (TAP 12), so keys are compared by value.
"""
