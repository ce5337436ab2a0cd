defmodule Crema.ExactlyOnceTest do
  use ExUnit.Case, async: true

  defmodule Shouting do
    use Crema.Consumer, commit: :exactly_once, transactional_id: "shouting-1"

    @impl true
    def handle_message(%{value: value}, topic) do
      {:produce, [%{topic: topic, value: String.upcase(value)}], topic}
    end
  end

  defmodule Listening do
    use Crema.Consumer

    @impl true
    def handle_message(message, test) do
      send(test, {:heard, message.value})
      {:ack, test}
    end
  end

  test "what a handler returns is produced" do
    cluster = start_supervised!({Crema.Cluster, topics: %{"whispers" => 1, "shouts" => 1}})
    brokers = [bootstrap_servers: Crema.Cluster.bootstrap_servers(cluster)]
    producer = start_supervised!({Crema.Producer, brokers})
    {:ok, _} = Crema.produce(producer, %{topic: "whispers", value: "hush"})

    shouting = [group: "shouting", topics: ["whispers"], args: "shouts", producer: [kafka: []]]
    start_supervised!({Shouting, brokers ++ shouting})
    listening = [group: "listening", topics: ["shouts"], args: self()]
    start_supervised!({Listening, brokers ++ listening})
    assert_receive {:heard, "HUSH"}, 20_000
  end
end
