"""How figures and pages look. No torch."""
