defmodule Crema.TopicTest do
  use ExUnit.Case, async: true

  defmodule Strict do
    @behaviour :crema_validator

    @impl true
    def validate(%{drink: _}, _data, _args), do: :ok
    def validate(_metadata, _data, args), do: {:error, args}
  end

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"orders" => 1, "sales" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    {:ok, producer: start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})}
  end

  test "a handle is a producer that knows its topic", %{producer: producer} do
    assert {:ok, orders} =
             Crema.topic(producer, "orders", serializer: :json, validator: {Strict, :no_drink})

    assert {:ok, %{topic: "orders"}} = Crema.produce(orders, %{value: %{drink: "lungo"}})
    assert {:error, {:bad_message, %{reason: :no_drink}}} = Crema.produce(orders, %{value: %{}})
    assert :ok = Crema.flush(orders, 10_000)
    assert {:error, {:bad_options, _}} = Crema.topic(producer, "orders", serializer: :xml)
  end

  test "messages are pushed through a pipeline into batches", %{producer: producer} do
    options = [serializer: :term, pipeline: 2, batch: {:fixed, 3}]
    assert {:ok, orders} = Crema.topic(producer, :orders, options)

    refs =
      for n <- 1..4 do
        assert {:ok, ref} = Crema.push(orders, {:order, n}, ["data of ", "parts"])
        ref
      end

    offsets = for ref <- refs, do: Crema.await!(ref, 10_000).offset
    assert offsets == Enum.sort(offsets)

    assert {:ok, ref} = Crema.push(orders, %{value: nil, key: "k"})
    assert :ok = Crema.close_topic(orders, 10_000)
    assert {:ok, %{topic: "orders"}} = Crema.await(ref, 10_000)
  end

  test "messages are buffered until the buffer is flushed", %{producer: producer} do
    assert :ok = Crema.buffer(producer, %{topic: "sales", value: "1"})
    assert :ok = Crema.buffer_many(producer, [%{topic: "sales", value: "2"}])
    assert Crema.buffer_size(producer) == 2
    assert {:ok, [{:ok, %{offset: 0}}, {:ok, %{offset: 1}}]} = Crema.flush_buffer(producer)

    assert :ok = Crema.buffer(producer, %{topic: "sales", value: "3"})
    assert {:ok, ref} = Crema.flush_buffer_async(producer)
    assert [{:ok, %{offset: 2}}] = Crema.await!(ref, 10_000)
    assert Crema.flush_buffer!(producer) == []
    assert {:ok, []} = Crema.flush_buffer(producer, 10_000)

    assert :ok = Crema.buffer(producer, %{value: "without a topic"})
    assert_raise Crema.Error, fn -> Crema.flush_buffer!(producer) end
    assert {:ok, 1} = Crema.purge_buffer(producer)
  end
end
