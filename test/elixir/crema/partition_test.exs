defmodule Crema.PartitionTest do
  use ExUnit.Case, async: true

  defmodule Decaf do
    @behaviour :crema_middleware

    @impl true
    def handle_message(%{value: "decaf"}, _args), do: :skip
    def handle_message(message, args), do: {:ok, Map.put(message, :label, args)}
  end

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 7}})
    {:ok, bootstrap: Crema.Cluster.bootstrap_servers(cluster)}
  end

  defp producer(%{bootstrap: bootstrap}, options \\ []) do
    start_supervised!({Crema.Producer, [bootstrap_servers: bootstrap] ++ options})
  end

  test "a topic's partitions are counted", context do
    producer = producer(context)
    assert {:ok, 7} = Crema.partition_count(producer, "espresso")
    assert {:ok, 7} = Crema.partition_count(producer, :espresso)
  end

  test "partitions are chosen by key, by partition key and by function", context do
    producer = producer(context, partitioner: :md5)
    message = %{topic: "espresso", key: "key8", value: "v"}
    expected = :md5 |> :crypto.hash("key8") |> :binary.bin_to_list() |> Enum.sum() |> rem(7)

    assert {:ok, %{partition: ^expected}} = Crema.produce(producer, message)
    hashed = %{message | key: nil} |> Map.put(:partition_key, "key8")
    assert {:ok, %{partition: ^expected}} = Crema.produce(producer, hashed)

    assert {:error, {:bad_message, %{field: :key}}} =
             Crema.produce(producer, %{message | key: nil})

    pick = fn "espresso", count, "key8", "v" -> count - 2 end
    assert {:ok, %{partition: 5}} = Crema.produce(producer, message, partitioner: pick)
  end

  test "a timestamp may be a DateTime, headers may have several values", context do
    producer = producer(context)
    {:ok, time, 0} = DateTime.from_iso8601("2023-11-14T22:13:20.123Z")
    message = %{topic: "espresso", timestamp: time, headers: %{"h" => ["1", "2", nil]}}
    assert {:ok, %{partition: _}} = Crema.produce(producer, message)

    {:ok, packed, []} =
      :crema_packet.produce(:none, :refuse, "", 0, "", 100, [%{topic: "t", timestamp: time}])

    assert :binary.match(IO.iodata_to_binary(packed), <<1_700_000_000_123::64>>) != :nomatch
  end

  test "messages go through middleware, which may change", context do
    producer = producer(context, middleware: [{Decaf, :no_label}])
    messages = for value <- ["ristretto", "decaf"], do: %{topic: "espresso", value: value}

    assert {:ok, [{:ok, %{label: :no_label}}, {:ok, :skipped}]} =
             Crema.produce_many(producer, messages)

    assert :ok = Crema.Producer.middleware(producer, {:remove, {Decaf, :no_label}})
    assert :ok = Crema.Producer.middleware(producer, {:append, Decaf})
    assert {:ok, %{label: []}} = Crema.produce(producer, hd(messages))

    assert {:error, {:not_found, _}} =
             Crema.Producer.middleware(producer, {:remove, {Decaf, :no_label}})
  end
end
