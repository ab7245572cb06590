"""The one battery model, for the simulator, the environment and back-tests."""
