import Config

# Without brokers the application brings its own: an embedded cluster.
config :cafe,
  bootstrap_servers: System.get_env("KAFKA_BOOTSTRAP_SERVERS"),
  topic: System.get_env("KAFKA_TOPIC", "orders"),
  group: System.get_env("KAFKA_GROUP", "baristas"),
  selftest: System.get_env("CREMA_SAMPLE_SELFTEST") == "1"
