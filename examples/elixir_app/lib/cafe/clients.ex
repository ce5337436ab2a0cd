defmodule Cafe.Clients do
  @moduledoc false
  # The Kafka clients: one producer, and one member of the group of baristas.
  use Supervisor

  def start_link(_opts), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    config = Application.get_all_env(:cafe)
    brokers = brokers(config[:env])

    barista = [
      name: Cafe.Barista,
      group: config[:group],
      topics: [config[:topic]],
      strip_prefix: true,
      kafka: kafka(config[:env])
    ]

    children = [
      {Crema.Producer, [name: Cafe.Producer] ++ brokers},
      {Cafe.Barista, barista ++ brokers}
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end

  defp brokers(nil), do: [bootstrap_servers: Crema.Cluster.bootstrap_servers(Cafe.Cluster)]
  # Variables say the rest: certificates, passwords, a prefix of names.
  defp brokers(env), do: [env: env]

  # An embedded cluster waits for nearly the session time-out when members change.
  defp kafka(nil), do: ["session.timeout.ms": 3_000, "heartbeat.interval.ms": 500]
  # A topic that comes into being later is noticed within so many milliseconds.
  defp kafka(_env), do: ["topic.metadata.refresh.interval.ms": 2_000]
end
