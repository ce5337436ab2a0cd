defmodule Crema.KaffeProducerTest do
  # The configuration, and the producer that it starts, are the whole VM's.
  use ExUnit.Case, async: false

  alias Crema.Kaffe.Producer
  alias Crema.KaffeSupport, as: Kaffe

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"till" => 4, "bar" => 4}})
    {:ok, bootstrap: Crema.Cluster.bootstrap_servers(cluster)}
  end

  setup %{bootstrap: bootstrap} do
    topic = "topic-#{System.unique_integer([:positive])}"
    # It has four partitions then.
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap}, id: topic)
    {:ok, _} = Crema.partition_count(producer, topic)
    {:ok, topic: topic}
  end

  defp configure(context, own \\ []) do
    base = [endpoints: Kaffe.endpoints(context.bootstrap), topics: [context.topic, "bar"]]
    Kaffe.configure(producer: Keyword.merge(base, own))
  end

  defp messages(context, fields) do
    [bootstrap_servers: context.bootstrap, topic: context.topic]
    |> Crema.stream()
    |> Enum.map(&Map.take(&1, fields))
    |> Enum.sort_by(&{&1[:key], &1[:partition]})
  end

  test "all forms of a call produce, and the md5 of the key chooses", context do
    configure(context)
    topic = context.topic

    assert :ok = Producer.produce_sync("a", "1")
    assert :ok = Producer.produce_sync(topic, "b", "2")
    assert :ok = Producer.produce_sync(topic, 3, "c", "3")
    assert :ok = Producer.produce_sync(topic, [{"d", "4"}, %{key: "e", value: "5"}])
    assert :ok = Producer.produce_sync(topic, 2, [{"f", "6"}, %{key: "g", value: "7"}])
    assert :ok = Producer.produce(topic, [{"h", "8"}])
    last = fn ^topic, count, "i", "9" -> count - 1 end
    assert :ok = Producer.produce(topic, [{"i", "9"}], partition_strategy: last)
    assert :ok = Producer.produce(topic, [])

    md5 = &Crema.Kaffe.PartitionSelector.md5(&1, 4)

    expected = [
      {"a", md5.("a"), "1"},
      {"b", md5.("b"), "2"},
      {"c", 3, "3"},
      {"d", md5.("d"), "4"},
      {"e", md5.("e"), "5"},
      {"f", 2, "6"},
      {"g", 2, "7"},
      {"h", md5.("h"), "8"},
      {"i", 3, "9"}
    ]

    assert expected ==
             for(
               m <- messages(context, [:key, :partition, :value]),
               do: {m.key, m.partition, m.value}
             )
  end

  test "a list has times and headers", context do
    configure(context)
    list = [%{key: "a", value: "1", ts: 12, headers: [{"h", "x"}, {"h", "y"}]}, {"b", "2"}]
    assert :ok = Producer.produce_sync(context.topic, list)

    assert [%{headers: [{"h", "x"}, {"h", "y"}], timestamp: 12}, %{headers: [], timestamp: now}] =
             messages(context, [:key, :headers, :timestamp])

    assert abs(System.os_time(:millisecond) - now) < 60_000
  end

  test "what is empty is null, unless they are told apart", context do
    configure(context)
    assert :ok = Producer.produce_sync("", "")
    assert :ok = Producer.produce_sync(context.topic, [{"a", ""}])
    # As Kaffe has it: what is hashed is the empty key.
    empty = Crema.Kaffe.PartitionSelector.md5("", 4)

    assert [%{key: "a", value: nil}, %{key: nil, partition: ^empty, value: nil}] =
             messages(context, [:key, :partition, :value]) |> Enum.sort_by(& &1.key, :desc)

    configure(context, null: nil)
    assert :ok = Producer.produce_sync("", "")
    assert :ok = Producer.produce_sync(context.topic, [{"b", nil}])
    assert {:error, {:bad_message, %{field: :key}}} = Producer.produce_sync(nil, "x")
    values = for %{key: key, value: value} <- messages(context, [:key, :value]), do: {key, value}
    assert Enum.sort(values) == Enum.sort([{"a", nil}, {nil, nil}, {"", ""}, {"b", nil}])
  end

  test "of a list that fails in part each message has its result", context do
    configure(context, partition_strategy: fn _, _, key, _ -> String.to_integer(key) end)
    topic = context.topic
    # The topic has no partition 9; a list is sent whole or not at all when a strategy is wrong.
    assert {:error, {:bad_partitioner, _}} =
             Producer.produce_sync(topic, [{"0", "x"}, {"9", "y"}])

    assert [] = messages(context, [:key])

    large = String.duplicate("x", 1_000_013)
    assert {:error, {:bad_message, _}} = Producer.produce_sync(topic, [{"0", "x"}, {"1", large}])
    assert [] = messages(context, [:key])

    assert {:error, {:unknown_partition, %{results: results}}} =
             Producer.produce_sync(topic, 9, [{"0", "x"}, {"1", "y"}])

    assert [{:error, _}, {:error, _}] = results
  end

  test "the strategy that is configured chooses", context do
    configure(context, partition_strategy: :round_robin)
    for n <- 1..8, do: :ok = Producer.produce_sync("same", "#{n}")

    assert for(m <- messages(context, [:partition]), do: m.partition) ==
             [0, 0, 1, 1, 2, 2, 3, 3]
  end

  test "a producer of one's own tree takes the place of one that a call has started", context do
    configure(context, client_name: :till)
    assert :ok = Producer.produce_sync("a", "1")
    started = Process.whereis(:till)
    assert :ok = Producer.start_producer_client()
    assert Process.whereis(:till) == started

    # One that has ended is started again.
    :ok = Crema.Producer.stop(started)
    assert :ok = Producer.produce_sync("a", "1.5")
    started = Process.whereis(:till)

    own = start_supervised!(Producer)
    assert Process.whereis(:till) == own and own != started
    assert :ok = Producer.produce_sync("a", "2")
    assert :ok = Producer.start_producer_client()
    assert Process.whereis(:till) == own
    assert {:ok, %{offset: 3}} = Crema.produce(:till, %{topic: context.topic, key: "a"})
  end

  test "calls that come while a producer of one's own tree starts are no harm", context do
    configure(context, client_name: :till)
    sup = Process.whereis(:crema_sup)
    :ok = :sys.suspend(sup)

    # They want to start one as soon as crema's supervisor has looked whether there is one.
    calls =
      Task.async(fn ->
        await_requests(sup, 1)
        calls = for n <- 1..20, do: Task.async(fn -> Producer.produce_sync("a", "#{n}") end)
        await_requests(sup, 21)
        :ok = :sys.resume(sup)
        Task.await_many(calls, 30_000)
      end)

    own = start_supervised!(Producer)
    results = Task.await(calls, 30_000)
    assert Process.whereis(:till) == own
    # Those of one that was ended again are told of it.
    assert Enum.all?(results, &(&1 == :ok or match?({:error, {_code, %{message: _}}}, &1)))
    assert :ok = Producer.produce_sync("a", "21")
  end

  defp await_requests(pid, count) do
    {:message_queue_len, length} = Process.info(pid, :message_queue_len)

    unless length >= count do
      Process.sleep(2)
      await_requests(pid, count)
    end
  end
end
