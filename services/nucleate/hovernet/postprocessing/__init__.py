"""From NP and HV maps to instances, and from instances to pseudo-labels."""
