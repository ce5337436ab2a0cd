defmodule Crema.ReaderTest do
  use ExUnit.Case, async: true

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"read" => 2, "followed" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})

    {:ok, _} =
      Crema.produce_many(
        producer,
        for(n <- 1..4000, do: %{topic: "read", partition: rem(n, 2), value: "#{n}"})
      )

    {:ok, bootstrap: bootstrap, producer: producer}
  end

  defp numbers(messages), do: Enum.map(messages, &String.to_integer(&1.value))

  test "a stream is a topic's messages, as often as it is enumerated", %{bootstrap: bootstrap} do
    stream = Crema.stream(bootstrap_servers: bootstrap, topic: "read")

    for _ <- 1..2 do
      assert stream |> numbers() |> Enum.sort() == Enum.to_list(1..4000)
    end

    assert %Crema.Message{key: nil, headers: [], partition: 0, offset: 0, token: nil} =
             Enum.find(stream, &(&1.partition == 0))

    # The same as maps, if they are asked for.
    opts = %{bootstrap_servers: bootstrap, topic: "read", to: 1, message: :map}
    assert [%{value: _} = map, _] = opts |> Crema.stream() |> Enum.to_list()
    assert Map.keys(map) == Map.keys(%Crema.Message{}) -- [:__struct__, :token]
  end

  test "a stream is lazy, and halts where its consumer does", %{bootstrap: bootstrap} do
    opts = [bootstrap_servers: bootstrap, topic: "read", partitions: [1], batch_messages: 10]
    # Making it connects nobody.
    _unused = Crema.stream(bootstrap_servers: "127.0.0.1:1", topic: "read")
    assert opts |> Crema.stream() |> Enum.take(3) |> numbers() == [1, 3, 5]
    assert opts |> Crema.stream() |> Stream.drop(1990) |> numbers() == Enum.to_list(3981..3999//2)
    # Two at a time, in step.
    pairs = Stream.zip(Crema.stream(opts), Crema.stream(opts))
    assert Enum.all?(Enum.take(pairs, 100), fn {a, b} -> a.offset == b.offset end)

    assert_raise RuntimeError, fn -> Enum.each(Crema.stream(opts), fn _ -> raise "halt" end) end
    assert no_readers?()
  end

  test "a stream without an end goes on with what comes", context do
    %{bootstrap: bootstrap, producer: producer} = context
    test = self()

    task =
      Task.async(fn ->
        [bootstrap_servers: bootstrap, topic: "followed", to: :infinity]
        |> Crema.stream()
        |> Stream.each(&send(test, {:read, &1.value}))
        |> Enum.take(2)
      end)

    for value <- ["1", "2"] do
      {:ok, _} = Crema.produce(producer, %{topic: "followed", value: value})
      assert_receive {:read, ^value}, 10_000
    end

    assert [_, _] = Task.await(task, 10_000)
  end

  test "what cannot be read raises", %{bootstrap: bootstrap} do
    stream = Crema.stream(bootstrap_servers: bootstrap, topic: "read", from: 100_000)
    error = assert_raise Crema.Error, fn -> Enum.to_list(stream) end
    assert %{code: :offset_out_of_range, details: %{low: 0, high: 2000}} = error
    assert_raise Crema.Error, fn -> Enum.to_list(Crema.stream(topic: "read")) end
  end

  test "a fold tells where it stopped, and goes on from there", %{bootstrap: bootstrap} do
    opts = %{bootstrap_servers: bootstrap, topic: "read"}

    stop = fn message, acc ->
      acc = [String.to_integer(message.value) | acc]
      {if(length(acc) == 1500, do: :stop, else: :ok), acc}
    end

    assert {:ok, first, positions} = Crema.Reader.fold(opts, [], stop)
    assert positions |> Map.values() |> Enum.sum() == 1500
    assert {:ok, all, ends} = Crema.Reader.fold(Map.put(opts, :from, positions), first, stop)
    assert Enum.sort(all) == Enum.to_list(1..4000)
    assert ends == %{{"read", 0} => 2000, {"read", 1} => 2000}
  end

  test "a reader goes through a topic batch by batch", %{bootstrap: bootstrap} do
    opts = [bootstrap_servers: bootstrap, topic: "read", partitions: [{"read", 0}], to: 7]
    {:ok, reader} = Crema.Reader.open(opts)
    assert {:ok, messages, reader} = Crema.Reader.next(reader)
    assert numbers(messages) == [2, 4, 6, 8, 10, 12, 14]
    assert Crema.Reader.positions(reader) == %{{"read", 0} => 7}
    assert {:done, reader} = Crema.Reader.next(reader, 1000)
    assert :ok = Crema.Reader.close(reader)
  end

  # A reader's process monitors the one that has opened it.
  defp no_readers? do
    {:monitored_by, pids} = Process.info(self(), :monitored_by)
    not Enum.any?(pids, &match?({:ok, :reader, _, _, _}, :crema_registry.lookup(&1)))
  end
end
