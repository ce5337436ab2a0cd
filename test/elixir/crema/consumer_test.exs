defmodule Crema.ConsumerTest do
  use ExUnit.Case, async: true

  defmodule Forwarder do
    # Sends each message to the test. A value tells what to do with it.
    use Crema.Consumer, topics: ["espresso"], start: :earliest

    @impl true
    def handle_message(message, test) do
      send(test, {:handled, message})
      if message.value == "later", do: {:noack, test}, else: {:ack, test}
    end
  end

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    {:ok, bootstrap: bootstrap, producer: producer}
  end

  test "a group handles what is produced, with null and empty kept apart", context do
    %{bootstrap: bootstrap, producer: producer} = context

    opts = [bootstrap_servers: bootstrap, group: "a", args: self()]
    consumer = start_supervised!({Forwarder, opts}, restart: :temporary)
    :ok = Crema.await_ready(consumer, 20_000)

    sent = [
      %{key: "k", value: "v", headers: [{"h", "1"}, {"h", nil}, {"h", ""}]},
      %{key: nil, value: "", headers: []},
      %{key: "", value: nil, headers: []},
      %{key: :undefined, value: "later", headers: %{"h" => "1"}}
    ]

    {:ok, _reports} =
      Crema.produce_many(producer, Enum.map(sent, &Map.put(&1, :topic, "espresso")))

    messages =
      for _ <- sent do
        assert_receive {:handled, %Crema.Message{topic: "espresso", partition: 0} = message},
                       20_000

        message
      end

    assert Enum.map(messages, &Map.take(&1, [:key, :value, :headers])) == [
             %{key: "k", value: "v", headers: [{"h", "1"}, {"h", nil}, {"h", ""}]},
             %{key: nil, value: "", headers: []},
             %{key: "", value: nil, headers: []},
             %{key: nil, value: "later", headers: [{"h", "1"}]}
           ]

    offsets = Enum.map(messages, & &1.offset)
    assert offsets == Enum.sort(offsets)

    # It comes again when it is declared failed, and when the process dies that it was left to.
    last = List.last(messages)
    assert :ok = Crema.nack(last, :not_saved)
    assert_receive {:handled, ^last}, 20_000
    assert :ok = Crema.delegate(last.token, spawn(fn -> :ok end))
    assert_receive {:handled, ^last}, 20_000

    # The last one is acknowledged by this process, by its token, and once more by the message.
    assert :ok = Crema.ack(last.token)
    assert :ok = Crema.ack([last, last.token])
    assert :ok = Crema.ack(last, 1_000)
    assert :ok = Crema.Consumer.stop(consumer)
  end
end
