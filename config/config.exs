import Config

# For work on crema itself: an application that depends on crema has its own.
config :logger, level: if(config_env() == :test, do: :warning, else: :info)
