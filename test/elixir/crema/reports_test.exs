defmodule Crema.ReportsTest do
  use ExUnit.Case, async: true

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 2}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    :ok = Crema.await_ready(producer, 10_000)
    %{} = Crema.produce!(producer, %{topic: "espresso"})
    {:ok, producer: producer}
  end

  test "several references are awaited by one deadline", %{producer: producer} do
    refs =
      for n <- 1..10 do
        {:ok, ref} = Crema.produce_async(producer, %{topic: "espresso", value: "v", label: n})
        ref
      end

    results = Crema.await_many(refs, 10_000)
    assert Enum.map(results, fn {:ok, %{label: label}} -> label end) == Enum.to_list(1..10)
    assert [{:error, {:unknown_reference, _}} | _] = Crema.await_many(refs, 0)
    assert_raise Crema.Error, fn -> Crema.await_many!(refs, 0) end

    {:ok, one} = Crema.produce_async(producer, %{topic: "espresso", label: :one})
    {:ok, two} = Crema.produce_many_async(producer, [%{topic: "espresso", label: :two}])
    assert [%{label: :one}, [{:ok, %{label: :two}}]] = Crema.await_many!([one, two], 10_000)
  end

  test "a look tells whether the report has come" do
    {:ok, producer} = Crema.Producer.start_link(bootstrap_servers: "127.0.0.1:1")
    {:ok, ref} = Crema.produce_async(producer, %{topic: "espresso", value: "v"})
    refute Crema.completed?(ref)
    :ok = Crema.purge(producer)
    :ok = Crema.flush(producer, 10_000)
    assert Crema.completed?(ref)
    assert {:error, {:purge_queue, _}} = Crema.await(ref, 0)
    :ok = Crema.Producer.stop(producer, 0)
  end

  test "a callback gets the result of its message", %{producer: producer} do
    me = self()
    message = %{topic: "espresso", value: "v", label: {:any, "term"}}

    :ok = Crema.produce_async(producer, message, report: &send(me, {:reported, &1}))
    assert_receive {:reported, {:ok, %{topic: "espresso", label: {:any, "term"}}}}, 10_000

    :ok = Crema.produce_many_async(producer, [message], report: {__MODULE__, :tell, [me]})
    assert_receive {:told, {:ok, %{topic: "espresso"}}}, 10_000

    assert {:error, {:bad_call, _}} = Crema.produce_async(producer, message, report: me)
  end

  def tell(result, pid), do: send(pid, {:told, result})

  test "a tombstone has a key and no value", %{producer: producer} do
    assert {:ok, %{topic: "espresso", partition: 1, label: :mine}} =
             Crema.tombstone(producer, "espresso", "42", partition: 1, label: :mine)

    assert %{topic: "espresso"} = Crema.tombstone!(producer, "espresso", "42")
    assert {:ok, ref} = Crema.tombstone_async(producer, :espresso, "42")
    assert %{topic: "espresso"} = Crema.await!(ref, 10_000)

    assert {:error, {:bad_message, %{field: :key}}} = Crema.tombstone(producer, "espresso", nil)
    error = assert_raise Crema.Error, fn -> Crema.tombstone!(producer, "espresso", "") end
    assert error.code == :bad_message

    gone = for n <- 1..3, do: %{topic: "espresso", key: "#{n}", label: n}
    assert {:ok, [{:ok, _}, {:ok, _}, {:ok, _}]} = Crema.tombstone_many(producer, gone)
    assert [{:ok, %{label: 1}}, {:ok, _}, {:ok, _}] = Crema.tombstone_many!(producer, gone)
    assert_raise Crema.Error, fn -> Crema.tombstone_many!(producer, [%{topic: "espresso"}]) end
    assert {:ok, ref} = Crema.tombstone_many_async(producer, gone)
    assert [_, _, _] = Crema.await!(ref, 10_000)

    assert {:error, {:bad_message, %{field: :value, index: 1}}} =
             Crema.tombstone_many(producer, [hd(gone), Map.put(hd(gone), :value, "v")])
  end

  test "each message has a result of its own, also where the call raises", %{producer: producer} do
    good = %{topic: "espresso", value: "v"}

    assert [{:ok, %{offset: _}}, {:error, {:unknown_partition, %{sent: false}}}] =
             Crema.produce_many!(producer, [good, Map.put(good, :partition, 9)])

    assert_raise Crema.Error, fn -> Crema.produce_many!(producer, [good, %{value: "v"}]) end
  end
end
