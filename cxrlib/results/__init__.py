"""What a results root holds: status, copies in few files, and bundles compared."""
