"""Ray and Ray Serve: raylets with labels, one application per site, replicas of their own for large variants."""
