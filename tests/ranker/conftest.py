from hypothesis import settings

settings.register_profile("watchnext", deadline=None)  # no test times the clock
settings.load_profile("watchnext")
