"""How a call is carried: decide, run, fall back inside the deadline and the policy, write down what came of it."""
