"""What calls have used and cost, and what may still be used: one store for all ingresses of a fleet."""
