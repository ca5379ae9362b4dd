"""Settings of the whole suite."""

from hypothesis import settings

# shared machines stall now and then: a deadline would test the machine, not the code
settings.register_profile("scff-hw", deadline=None, max_examples=40)
settings.load_profile("scff-hw")
