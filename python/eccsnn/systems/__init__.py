"""Published systems, one file each, composed of the parts in the other packages."""
