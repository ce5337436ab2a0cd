import Config

# Where the brokers are and how they are reached: what Heroku sets, or else variables such as
# KAFKA_BOOTSTRAP_SERVERS and KAFKA_SASL_USERNAME. With neither the application brings its own
# brokers: an embedded cluster.
env =
  cond do
    System.get_env("KAFKA_URL") -> :heroku
    System.get_env("KAFKA_BOOTSTRAP_SERVERS") -> {:prefix, "KAFKA"}
    true -> nil
  end

config :cafe,
  env: env,
  topic: System.get_env("KAFKA_TOPIC", "orders"),
  group: System.get_env("KAFKA_GROUP", "baristas"),
  selftest: System.get_env("CREMA_SAMPLE_SELFTEST") == "1"
