"""The live system: ingress, gateway, replicas, device agent, orchestration, catalogue, telemetry."""
