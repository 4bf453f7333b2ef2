"""What other systems are told by themselves: webhooks, signed, and repeated until they have arrived."""
