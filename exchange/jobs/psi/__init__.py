"""Components on private set intersection of two owners, beside ``psi/ecdh`` itself."""
