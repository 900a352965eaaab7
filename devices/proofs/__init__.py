"""Ways to prove who one is at a first enrolment, one file each. A proof yields a ``Claim`` or refuses."""
