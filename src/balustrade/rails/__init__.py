"""What acts on decisions: guards under a policy, and the stages around a model call."""
