"""Patches: fewer bytes on the wire for the same signed image. What people sign is the image; a patch is only a way."""
